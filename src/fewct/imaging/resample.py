"""Images brought to another number of rows and columns."""

from collections.abc import Sequence

import numpy as np

from fewct.types import Image


def resize(values: Image, shape: Sequence[int]) -> Image:
    """Resample to another number of rows and columns: averaged where they become fewer, else linear.

    What lies in the middle of the image stays in the middle; nothing moves by a part of a pixel.

    Args:
        values: float32 (rows, columns).
        shape: Rows and columns wanted.

    Returns:
        float32 of that shape; `values` itself if it has it already.

    Example:
        >>> resize(np.array([[0, 1, 4, 5]], dtype=np.float32), (1, 2))
        array([[0.5, 4.5]], dtype=float32)
    """
    if values.shape == tuple(shape):
        return values
    from scipy import ndimage

    widths = [max(1, round(old / new)) for new, old in zip(shape, values.shape, strict=True)]
    if max(widths) > 1:
        values = ndimage.uniform_filter(values, widths, mode="nearest")
    # an average over an even number of pixels stands half a pixel after the middle of what it averages
    axes = [
        (np.arange(new, dtype=np.float32) + 0.5) * old / new - 0.5 + 0.5 * (width % 2 == 0)
        for new, old, width in zip(shape, values.shape, widths, strict=True)
    ]
    places = np.meshgrid(*axes, indexing="ij")
    resampled = ndimage.map_coordinates(values, places, output=np.float32, order=1, mode="nearest")
    return np.asarray(resampled)
