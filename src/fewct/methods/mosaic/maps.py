"""Pairs of pixels at several ranges: which the network judges, and what they say of two regions.

An affinity tells how likely two pixels, a given step apart, lie in the same structure. Borders tell where a
structure ends; affinities tell that both sides of a vessel, a fold or a streak are still one organ.
"""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from fewct.imaging.agglomeration import RegionPairs
from fewct.types import Image, Labels

SPACING_PX = 2
"""The network gives affinities for every second pixel of its input along rows and columns."""
STEPS = ((0, 3), (3, 0), (0, 8), (8, 0), (0, 20), (20, 0))
"""Rows and columns from the first pixel of a pair to the second, in units of `SPACING_PX`."""


@dataclass(frozen=True, eq=False)
class Affinities:
    """How likely pairs of pixels lie in the same structure, on a grid of the slice's pixels.

    Args:
        values: float32 (steps, rows, columns) in [0, 1]: of the pair that begins at a place of the grid and
            ends `STEPS` further.
        rows: int64 (rows,): the slice's row of each row of the grid.
        columns: int64 (columns,): the slice's column of each column of the grid.
    """

    values: Annotated[NDArray[np.float32], "steps rows columns"]
    rows: Annotated[NDArray[np.int64], "rows"]
    columns: Annotated[NDArray[np.int64], "columns"]


def region_pairs(leaves: Labels, affinities: Affinities) -> RegionPairs:
    """Sum up how far apart all pairs of pixels say that two regions are: 1 minus their affinity.

    Args:
        leaves: int32 (rows, columns): regions numbered 1 .. n on the slice's grid, 0 outside.
        affinities: Of the same slice.

    Returns:
        One row for each two regions that a pair of pixels joins.
    """
    places = leaves[np.ix_(affinities.rows, affinities.columns)]
    rows, columns = places.shape
    firsts, seconds, apart = [], [], []
    for (down, right), values in zip(STEPS, affinities.values, strict=True):
        first = places[: max(rows - down, 0), : max(columns - right, 0)]
        second = places[down:, right:]
        between = (first != second) & (first > 0) & (second > 0)
        firsts.append(first[between])
        seconds.append(second[between])
        apart.append(1 - values[: first.shape[0], : first.shape[1]][between])
    return RegionPairs.summed(np.concatenate(firsts), np.concatenate(seconds), np.concatenate(apart))


@dataclass(frozen=True, eq=False)
class Maps:
    """What a slice is cut up by.

    Args:
        boundary: float32 (rows, columns) in [0, 1]: how likely a pixel lies on a border.
        structure: float32 (rows, columns) in [0, 1]: how likely a pixel belongs to a structure; 0 for fat,
            skin, and what lies outside the body.
        affinities: How likely pairs of pixels lie in the same structure; None where nothing tells.
    """

    boundary: Image
    structure: Image
    affinities: Affinities | None = None
