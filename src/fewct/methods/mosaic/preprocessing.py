"""What the network sees of a slice and its neighbours: one function for training and for use."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from fewct.imaging.intensity import contrast_range, ranks, rescale
from fewct.types import CTSlice, Image, Mask

N_CHANNELS = 6
N_PLAIN_CHANNELS = 2  # the first ones, which tell of the slice itself
GAP_UNIT_MM = 10.0  # the distance of a neighbour that its channel calls 1


@dataclass(frozen=True, eq=False)
class Neighbour:
    """The next slice of a scan.

    Args:
        pixels: float32 (rows, columns) in the unit of the slice; NaN marks padding.
        distance_mm: How far away it is, above 0.
    """

    pixels: Image
    distance_mm: float


def preprocess(
    image: CTSlice, body: Mask, above: Neighbour | None = None, below: Neighbour | None = None
) -> Annotated[NDArray[np.float32], "channels rows columns"]:
    """Return the channels that the network sees.

    The first is the soft tissue window for Hounsfield units, and robust percentiles of the body for grey
    values. The second is the rank of a pixel's intensity among those of the body: it is the same for every
    window that does not clip, so that weak contrast and lungs are seen as well as any other. Then come how
    much brighter the slices above and below are in the first channel, and their distances; all 0 for a slice
    alone.

    Args:
        image: Slice; NaN marks padding.
        body: bool (rows, columns): the patient; where it is empty, ranks are taken among all pixels.
        above: Its neighbour towards the head, if there is one.
        below: Its neighbour towards the feet, if there is one.

    Returns:
        float32 (`N_CHANNELS`, rows, columns): contrast and ranks in [-1, 1], differences in [-2, 2],
        distances in units of `GAP_UNIT_MM`.

    Raises:
        InputError: If a grey slice holds infinities.
    """
    low, high = contrast_range(image, body)

    def contrast_of(pixels: Image) -> Image:
        scaled = rescale(pixels, low, high)
        return scaled if image.unit == "hu" else (np.rint(scaled * 255) / 255).astype(np.float32)

    contrast = contrast_of(image.pixels)
    channels = np.zeros((N_CHANNELS, *image.shape), dtype=np.float32)
    channels[0] = contrast * 2 - 1
    channels[1] = ranks(image.pixels, body) * 2 - 1
    for place, neighbour in enumerate((above, below)):
        if neighbour is not None:
            channels[2 + place] = 2 * (contrast_of(neighbour.pixels) - contrast)
            channels[4 + place] = neighbour.distance_mm / GAP_UNIT_MM
    return channels
