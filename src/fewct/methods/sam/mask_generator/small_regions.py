"""Connected regions inside a mask: small holes and islands, large regions. Corners connect."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fewct.types import Mask

CORNERS_TOO = np.ones((3, 3), dtype=np.bool_)


def without_small_regions(mask: Mask, area_px: float) -> Mask:
    """Fill holes and drop islands smaller than an area, as the official code does.

    Args:
        mask: bool (rows, columns).
        area_px: Smallest area of a hole or an island that stays.

    Returns:
        bool (rows, columns). The largest island stays in any case.

    Example:
        >>> ring = np.array([[1, 1, 1, 0, 0], [1, 0, 1, 0, 1], [1, 1, 1, 0, 0]], dtype=bool)
        >>> without_small_regions(ring, 2).astype(int).tolist()
        [[1, 1, 1, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 0, 0]]
    """
    holes, sizes = _regions(~mask)
    filled = mask | _chosen(holes, sizes < area_px)
    islands, sizes = _regions(filled)
    stays = sizes >= area_px
    if len(sizes) and not stays.any():
        stays[np.argmax(sizes)] = True
    return _chosen(islands, stays)


def without_large_regions(mask: Mask, area_px: float) -> Mask:
    """Drop the regions of a mask that are larger than an area.

    Args:
        mask: bool (rows, columns).
        area_px: Largest area of a region that stays.

    Returns:
        bool (rows, columns).
    """
    islands, sizes = _regions(mask)
    return _chosen(islands, sizes <= area_px)


def _regions(mask: Mask) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return the regions of a mask, numbered from 1, and the area of each."""
    labels, count = ndimage.label(mask, CORNERS_TOO)
    return labels, np.bincount(labels.ravel(), minlength=count + 1)[1:]


def _chosen(labels: NDArray[np.int32], chosen: NDArray[np.bool_]) -> Mask:
    mask: Mask = np.concatenate([[False], chosen])[labels]
    return mask
