"""Regions that merge one pair of neighbours at a time: the region graph, and the tree of merges."""

import heapq
from dataclasses import dataclass
from typing import Annotated, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fewct.errors import check_same_shape
from fewct.types import Image, Labels, MergeTree

Edges: TypeAlias = Annotated[NDArray[np.int64], "edges 2"]
EdgeValues: TypeAlias = Annotated[NDArray[np.float64], "edges"]
_Graph: TypeAlias = list[dict[int, tuple[float, float, float, float]]]

_BELOW_ONE = float(np.nextafter(1.0, 0.0))
FEW_PAIRS = 20.0  # so many pairs of pixels weigh half of what many do


@dataclass(frozen=True, eq=False)
class RegionPairs:
    """What is known of pairs of regions, summed up.

    Args:
        nodes: int64 (edges, 2): the two regions (region number - 1), the lower first; each pair once.
        sums: float64 (edges,): sum of values in [0, 1].
        counts: float64 (edges,): number of values.
    """

    nodes: Edges
    sums: EdgeValues
    counts: EdgeValues

    @staticmethod
    def summed(first: NDArray[np.int32], second: NDArray[np.int32], values: ArrayLike) -> "RegionPairs":
        """Sum up values by pair of regions.

        Args:
            first: Region of each value, from 1.
            second: The other one.
            values: One for each.

        Example:
            >>> pairs = RegionPairs.summed(np.array([2, 1]), np.array([1, 2]), [0.5, 0.25])
            >>> pairs.nodes, pairs.sums, pairs.counts
            (array([[0, 1]]), array([0.75]), array([2.]))
        """
        one, other = first.astype(np.int64), second.astype(np.int64)
        base = int(max(one.max(initial=0), other.max(initial=0))) + 1
        keys, edge, counts = np.unique(
            np.minimum(one, other) * base + np.maximum(one, other), return_inverse=True, return_counts=True
        )
        sums = np.bincount(edge, np.asarray(values, dtype=np.float64), minlength=len(keys)).astype(np.float64)
        return RegionPairs(
            np.stack([keys // base - 1, keys % base - 1], axis=1), sums, counts.astype(np.float64)
        )


def region_borders(leaves: Labels, boundary: Image) -> RegionPairs:
    """Find which regions share a border, and how strong it is.

    A border is made of the pairs of 4-neighbours that it parts; a pair is as strong as the higher of its
    two boundary values.

    Args:
        leaves: int32 (rows, columns): regions numbered 1 .. n, 0 outside.
        boundary: float32 (rows, columns) in [0, 1].

    Returns:
        One row for each two neighbours: the sum of strengths and the length in pixel pairs.

    Raises:
        InputError: If the two arrays differ in shape.

    Example:
        >>> boundary = np.array([[0, 0.5, 0, 0]], dtype=np.float32)
        >>> borders = region_borders(np.array([[1, 1, 2, 0]], dtype=np.int32), boundary)
        >>> borders.nodes, borders.sums, borders.counts
        (array([[0, 1]]), array([0.5]), array([1.]))
    """
    check_same_shape(leaves, boundary, ("leaves", "boundary"))
    firsts, seconds, strengths = [], [], []
    for a, b in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        border = (leaves[a] != leaves[b]) & (leaves[a] > 0) & (leaves[b] > 0)
        firsts.append(leaves[a][border])
        seconds.append(leaves[b][border])
        strengths.append(np.maximum(boundary[a][border], boundary[b][border]))
    return RegionPairs.summed(np.concatenate(firsts), np.concatenate(seconds), np.concatenate(strengths))


def merge_tree(
    leaves: Labels, boundary: Image, apart: RegionPairs | None = None, share: float = 0.5
) -> MergeTree:
    """Merge neighbouring regions, the pair that is least apart first, until none are left.

    How far two regions are apart is the mean boundary value along their border, and, where pairs of pixels
    tell more, a weighted mean of that and of what the pairs say:

        d = (1 - w) * mean(boundary) + w * mean(apart),  w = share * n / (n + 20)

    for n pairs of pixels. Sums and counts add up when regions merge (average linkage), and only regions that
    share a border merge: generalised agglomeration of a signed graph, Bailoni et al. 2022,
    https://doi.org/10.1109/CVPR52688.2022.01137. The level of a merge is `d`, raised to the level of what the
    two are made of where it lies below. Levels of real merges stay below 1; the connected parts of the mask,
    which share no border, are joined at level 1.

    Args:
        leaves: int32 (rows, columns): regions numbered 1 .. n without gaps, 0 outside.
        boundary: float32 (rows, columns) in [0, 1].
        apart: What pairs of pixels, at any range, say of two regions: 0 one structure, 1 two.
        share: Weight of many pairs against the border, in [0, 1].

    Returns:
        The tree; without any node if there are no leaves.

    Raises:
        InputError: If the two arrays differ in shape.

    Example:
        >>> boundary = np.array([[0, 0.5, 0, 0.25, 0]], dtype=np.float32)
        >>> tree = merge_tree(np.array([[1, 1, 2, 3, 3]], dtype=np.int32), boundary)
        >>> tree.parents, tree.levels
        (array([4, 3, 3, 4, 4]), array([0.  , 0.  , 0.  , 0.25, 0.5 ]))
    """
    borders = region_borders(leaves, boundary)
    n_leaves = int(leaves.max(initial=0))
    graph = _graph(n_leaves, borders, apart)
    queue = [
        (_distance(values, share), a, b) for a in range(n_leaves) for b, values in graph[a].items() if a < b
    ]
    queue = [entry for entry in queue if entry[0] < np.inf]
    heapq.heapify(queue)
    parents = list(range(n_leaves))
    levels = [0.0] * n_leaves
    while queue:
        distance, a, b = heapq.heappop(queue)
        if parents[a] != a or parents[b] != b:
            continue
        new = len(parents)
        parents[a] = parents[b] = new
        parents.append(new)
        levels.append(max(min(distance, _BELOW_ONE), levels[a], levels[b]))
        _join(graph, a, b, new)
        for other, values in graph[new].items():
            if values[1]:
                heapq.heappush(queue, (_distance(values, share), other, new))
    _join_parts(parents, levels)
    return MergeTree(leaves, np.array(parents, dtype=np.int64), np.array(levels, dtype=np.float64))


def _graph(n_leaves: int, borders: RegionPairs, apart: RegionPairs | None) -> _Graph:
    """Return for each region its partners, with border sum and length, and sum and count of pairs."""
    graph: _Graph = [{} for _ in range(n_leaves)]
    for (a, b), total, length in _rows(borders):
        graph[a][b] = graph[b][a] = (total, length, 0.0, 0.0)
    if apart is not None:
        for (a, b), total, count in _rows(apart):
            strength, length = graph[a].get(b, (0.0, 0.0))[:2]
            graph[a][b] = graph[b][a] = (strength, length, total, count)
    return graph


def _rows(pairs: RegionPairs) -> "zip[tuple[list[int], float, float]]":
    return zip(pairs.nodes.tolist(), pairs.sums.tolist(), pairs.counts.tolist(), strict=True)


def _distance(values: tuple[float, float, float, float], share: float) -> float:
    """Return how far two regions are apart; infinity where they share no border."""
    strength, length, total, count = values
    if not length:
        return np.inf
    border = strength / length
    if not count:
        return border
    weight = share * count / (count + FEW_PAIRS)
    return (1 - weight) * border + weight * total / count


def _join(graph: _Graph, a: int, b: int, new: int) -> None:
    """Add a node whose partners are those of `a` and `b`, and take these two out of the graph."""
    joined = graph[a]
    for other, values in graph[b].items():
        before = joined.get(other)
        if before is not None:
            strength, length, total, count = values
            values = (before[0] + strength, before[1] + length, before[2] + total, before[3] + count)
        joined[other] = values
    joined.pop(a, None)
    joined.pop(b, None)
    for other, values in joined.items():
        partners = graph[other]
        partners.pop(a, None)
        partners.pop(b, None)
        partners[new] = values
    graph[a], graph[b] = {}, {}
    graph.append(joined)


def _join_parts(parents: list[int], levels: list[float]) -> None:
    """Join what is left without a parent at level 1, one by one."""
    roots = [node for node, parent in enumerate(parents) if node == parent]
    while len(roots) > 1:
        new = len(parents)
        parents[roots[0]] = parents[roots[1]] = new
        parents.append(new)
        levels.append(1.0)
        roots = [new, *roots[2:]]
