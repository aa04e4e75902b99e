"""What the U-Net sees of a slice: one function for training and for use."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from fewct.imaging.intensity import normalise, robust_uint8
from fewct.types import CTSlice, Image, Mask

Number = TypeVar("Number", np.float32, np.uint8)

STRIDE = 32
"""Sides of the network's input are multiples of this."""


def preprocess(image: CTSlice, body: Mask) -> Image:
    """Return the intensities that the network sees.

    Args:
        image: Slice; NaN marks padding.
        body: bool (rows, columns): the patient; where it is empty, percentiles are taken among all pixels.

    Returns:
        float32 (rows, columns) in [-1, 1]: the soft tissue window for Hounsfield units, robust percentiles of
        the body for grey values.

    Raises:
        InputError: If a grey slice holds infinities.
    """
    if image.unit == "hu":
        return normalise(image) * np.float32(2) - np.float32(1)
    grey = robust_uint8(image.pixels, body if body.any() else None)
    return grey.astype(np.float32) / np.float32(127.5) - np.float32(1)


def working_shape(shape: Sequence[int], size_px: int) -> tuple[int, int]:
    """Return the rows and columns of a slice whose longest side is brought to `size_px`.

    Example:
        >>> working_shape((512, 256), 128)
        (128, 64)
    """
    rows, columns = (max(1, round(side * size_px / max(shape))) for side in shape)
    return rows, columns


def resize_nearest(values: NDArray[np.uint8], shape: Sequence[int]) -> NDArray[np.uint8]:
    """Resample marks to another number of rows and columns, each from the nearest pixel."""
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(np.int64)
        for new, old in zip(shape, values.shape, strict=True)
    )
    return values[np.ix_(rows, columns)]


def pad(values: NDArray[Number], shape: Sequence[int], value: int) -> NDArray[Number]:
    """Fill up with a value at the lower and right ends to a shape (rows, columns)."""
    widths = [(0, new - old) for new, old in zip(shape, values.shape, strict=True)]
    return np.pad(values, widths, constant_values=value)
