"""What the network sees of a slice: one function for training and for use."""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from fewct.imaging.intensity import normalise, ranks, robust_uint8
from fewct.types import CTSlice, Image, Mask

N_CHANNELS = 2


def preprocess(image: CTSlice, body: Mask) -> Annotated[NDArray[np.float32], "2 rows columns"]:
    """Return the two channels that the network sees.

    The first is the soft tissue window for Hounsfield units, and robust percentiles of the body for grey
    values. The second is the rank of a pixel's intensity among those of the body, in [0, 1]: it is the same
    for every window that does not clip, so that weak contrast and lungs are seen as well as any other.

    Args:
        image: Slice; NaN marks padding.
        body: bool (rows, columns): the patient; where it is empty, ranks are taken among all pixels.

    Returns:
        float32 (2, rows, columns) in [-1, 1].

    Raises:
        InputError: If a grey slice holds infinities.
    """
    contrast: Image
    if image.unit == "hu":
        contrast = normalise(image)
    else:
        grey = robust_uint8(image.pixels, body if body.any() else None)
        contrast = grey.astype(np.float32) / np.float32(255)
    return np.stack([contrast, ranks(image.pixels, body)]) * np.float32(2) - np.float32(1)
