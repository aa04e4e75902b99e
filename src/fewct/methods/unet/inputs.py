"""What the U-Net sees of a slice: one function for training and for use."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fewct.intensity import normalise, robust_uint8
from fewct.types import CTSlice, Image, Mask

Number = TypeVar("Number", np.float32, np.uint8)

STRIDE = 32
"""Sides of the network's input are multiples of this."""


def network_input(image: CTSlice, body: Mask) -> Image:
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


def resize(values: Image, shape: Sequence[int]) -> Image:
    """Resample to another number of rows and columns: averaged where they become fewer, else linear."""
    if values.shape == tuple(shape):
        return values
    scale = [new / old for new, old in zip(shape, values.shape, strict=True)]
    if min(scale) < 1:
        values = ndimage.uniform_filter(values, [max(1, round(1 / s)) for s in scale])
    axes = [(np.arange(new, dtype=np.float32) + 0.5) / s - 0.5 for new, s in zip(shape, scale, strict=True)]
    places = np.meshgrid(*axes, indexing="ij")
    resampled = ndimage.map_coordinates(values, places, output=np.float32, order=1, mode="nearest")
    return np.asarray(resampled)


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
