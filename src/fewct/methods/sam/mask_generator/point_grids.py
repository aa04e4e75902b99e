"""Grids of points to prompt, and crops of a picture."""

import math
from itertools import product
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

Points = Annotated[NDArray[np.float64], "n 2"]


def point_grid(n_per_side: int) -> Points:
    """Return points at the centres of n x n equal fields.

    Returns:
        float64 (n * n, 2): x, y in [0, 1], row by row.

    Example:
        >>> point_grid(2).tolist()
        [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]]
    """
    offset = 1 / (2 * n_per_side)
    places = np.linspace(offset, 1 - offset, n_per_side)
    return np.stack(np.meshgrid(places, places), axis=-1).reshape(-1, 2)


def layer_grids(n_per_side: int, n_layers: int, downscale: int) -> list[Points]:
    """Return the grid of the whole picture and of the crops of each layer, coarser from layer to layer."""
    return [point_grid(n_per_side // downscale**layer) for layer in range(n_layers + 1)]


def coarse_to_fine(n_points: int) -> list[Annotated[NDArray[np.int64], "n"]]:
    """Divide the points of a grid into levels: first a quarter of the rows and columns, then half, then all.

    Args:
        n_points: Number of points of a square `point_grid`.

    Returns:
        For each level the points that are new in it, as indices into the grid.

    Example:
        >>> [len(level) for level in coarse_to_fine(32 * 32)]
        [64, 256, 704]
    """
    n = math.isqrt(n_points)
    covered = np.zeros((n, n), dtype=np.bool_)
    levels = []
    for stride in (4, 2, 1):
        on_line = np.arange(n) % stride == stride // 2
        new = on_line[:, None] & on_line & ~covered
        covered |= new
        levels.append(np.flatnonzero(new))
    return levels


def crop_boxes(
    shape: tuple[int, int], n_layers: int, overlap_ratio: float
) -> tuple[Annotated[NDArray[np.int64], "n 4"], Annotated[NDArray[np.int64], "n"]]:
    """Return the whole picture and, for each layer, a grid of crops that overlap, as the official code cuts.

    Args:
        shape: (rows, columns) of the picture.
        n_layers: Layer i has 2^i x 2^i crops.
        overlap_ratio: Overlap of the crops of the first layer, as a share of the picture's shorter side;
            half as much in each next.

    Returns:
        int64 (n, 4): x0, y0, x1, y1, one past the last pixel; and int64 (n,): the layer of each, 0 for the
        whole picture.

    Example:
        >>> boxes, layers = crop_boxes((100, 100), 1, 0.2)
        >>> boxes[1:].tolist()
        [[0, 0, 60, 60], [0, 40, 60, 100], [40, 0, 100, 60], [40, 40, 100, 100]]
    """
    rows, columns = shape
    boxes, layers = [[0, 0, columns, rows]], [0]
    for layer in range(1, n_layers + 1):
        n = 2**layer
        overlap = int(overlap_ratio * min(shape) * 2 / n)
        height, width = (math.ceil((overlap * (n - 1) + side) / n) for side in shape)
        for i, j in product(range(n), range(n)):
            left, top = i * (width - overlap), j * (height - overlap)
            boxes.append([left, top, min(left + width, columns), min(top + height, rows)])
            layers.append(layer)
    return np.array(boxes, dtype=np.int64), np.array(layers, dtype=np.int64)
