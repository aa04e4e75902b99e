"""The square input of SAM's image encoder: where a slice lies in it, and how grey is normalised."""

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fewct.imaging.intensity import ranks
from fewct.imaging.resample import resize
from fewct.methods.sam.conventions import Normalization, Picture, Pixels
from fewct.types import CTSlice

MEANS, DEVIATIONS = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # of red, green, blue in photographs


@dataclass(frozen=True)
class InputFrame:
    """A picture in the square input of the network: its longest side fills it, the rest is padding.

    The network's masks, of side `mask_px`, lie over the whole input.
    """

    shape: tuple[int, int]
    image_size: int
    mask_px: int

    @property
    def inner(self) -> tuple[int, int]:
        """(rows, columns) of the input that the picture fills."""
        rows, columns = (max(1, int(side * self.image_size / max(self.shape) + 0.5)) for side in self.shape)
        return rows, columns

    def to_input(self, points_xy: NDArray[np.floating]) -> Annotated[NDArray[np.float32], "*points 2"]:
        """Return points (..., 2), x, y in pixels of the picture, as pixels of the input."""
        scale = np.array(self.inner[::-1]) / np.array(self.shape[::-1])
        scaled: NDArray[np.float32] = (points_xy * scale).astype(np.float32)
        return scaled

    @cached_property
    def upsampling(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Matrices (rows, mask_px) and (columns, mask_px) that bring the network's masks to the picture.

        As in the official code: linearly to the size of the input, the padding cut off, linearly to the
        picture. A mask becomes `first @ mask @ second.T`.
        """
        to_input = linear_resampling(self.image_size, self.mask_px)
        first, second = (
            (linear_resampling(side, inside) @ to_input[:inside]).astype(np.float32)
            for side, inside in zip(self.shape, self.inner, strict=True)
        )
        return first, second


def linear_resampling(new: int, old: int) -> Annotated[NDArray[np.float64], "new old"]:
    """Return the matrix that resamples `old` places to `new` ones linearly, by the centres of pixels.

    Example:
        >>> linear_resampling(4, 2).tolist()
        [[1.0, 0.0], [0.75, 0.25], [0.25, 0.75], [0.0, 1.0]]
    """
    places = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    before = places.astype(np.int64)
    matrix = np.zeros((new, old))
    matrix[np.arange(new), before] = 1 - (places - before)
    matrix[np.arange(new), np.minimum(before + 1, old - 1)] += places - before
    return matrix


def preprocess(picture: Picture, frame: InputFrame, normalization: Normalization) -> Pixels:
    """Return the input of the image encoder: a picture resized, normalised and padded.

    Args:
        normalization: "sam": linear resampling, the means and deviations of photographs, zeros after that as
            padding. "medsam": the mean of the pixels where they become fewer, from 0 (darkest) to 1
            (brightest), zeros as padding. "ranks": two channels from -1 to 1, grey and the rank of a pixel's
            grey among those of the patient; -1 as padding.

    Returns:
        float32 (channels, image_size, image_size): three channels, or two for "ranks".
    """
    if normalization == "ranks":
        return _grey_and_ranks(picture, frame)
    fewer = normalization == "medsam" and max(picture.shape) > frame.image_size
    method = Image.Resampling.BOX if fewer else Image.Resampling.BILINEAR
    rows, columns = frame.inner
    resized = np.asarray(Image.fromarray(picture).resize((columns, rows), method), dtype=np.float32)
    pixels = np.zeros((3, frame.image_size, frame.image_size), dtype=np.float32)
    if normalization == "medsam":
        span = max(float(resized.max() - resized.min()), 1e-8)
        pixels[:, :rows, :columns] = (resized - resized.min()) / np.float32(span)
    else:
        for channel, mean, deviation in zip(pixels, MEANS, DEVIATIONS, strict=True):
            channel[:rows, :columns] = (resized - np.float32(mean)) / np.float32(deviation)
    return pixels


def _grey_and_ranks(picture: Picture, frame: InputFrame) -> Pixels:
    from fewct.imaging.body import body_mask  # here: settings are listed without SciPy

    grey = picture.astype(np.float32)
    body = body_mask(CTSlice(grey, "grey"))
    pixels = np.full((2, frame.image_size, frame.image_size), -1, dtype=np.float32)
    for channel, values in zip(pixels, (grey / np.float32(255), ranks(grey, body)), strict=True):
        channel[: frame.inner[0], : frame.inner[1]] = 2 * resize(values, frame.inner) - 1
    return pixels
