"""Boundary, foreground and affinity maps of a slice.

An affinity is the probability that two pixels, a given step apart, lie in the same structure. Boundaries tell
where a structure ends; affinities tell that both sides of a vessel, a fold or a streak are still one organ.
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
    """Probabilities that pairs of pixels lie in the same structure, on a grid of the slice's pixels.

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
    """Sum up the dissimilarity, 1 minus affinity, of all pairs of pixels that join two regions.

    Args:
        leaves: int32 (rows, columns): regions numbered 1 .. n on the slice's grid, 0 outside.
        affinities: Of the same slice.

    Returns:
        One row for each two regions that a pair of pixels joins.
    """
    places = leaves[np.ix_(affinities.rows, affinities.columns)]
    rows, columns = places.shape
    firsts, seconds, dissimilarities = [], [], []
    for (down, right), values in zip(STEPS, affinities.values, strict=True):
        first = places[: max(rows - down, 0), : max(columns - right, 0)]
        second = places[down:, right:]
        between = (first != second) & (first > 0) & (second > 0)
        firsts.append(first[between])
        seconds.append(second[between])
        dissimilarities.append(1 - values[: first.shape[0], : first.shape[1]][between])
    return RegionPairs.summed(
        np.concatenate(firsts), np.concatenate(seconds), np.concatenate(dissimilarities)
    )


@dataclass(frozen=True, eq=False)
class Maps:
    """The maps that a slice is over-segmented and merged by.

    Args:
        boundary: float32 (rows, columns) in [0, 1]: probability that a pixel lies on a border.
        foreground: float32 (rows, columns) in [0, 1]: probability that a pixel belongs to a structure; 0 for
            fat, skin, and outside the body.
        affinities: Probabilities that pairs of pixels lie in the same structure; None without a network.
    """

    boundary: Image
    foreground: Image
    affinities: Affinities | None = None
