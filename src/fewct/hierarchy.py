"""Over-segmentation, region adjacency, the merge tree, and its cuts.

A boundary map is flooded into many small regions, the leaves. Neighbouring regions then merge one pair at a
time, the pair with the weakest shared border first. The order of merges is a tree; a cut through it is a
label map, and moving the cut needs no new computation on the image.
"""

from typing import TypeAlias

import higra
import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from skimage.morphology import local_minima, reconstruction
from skimage.segmentation import watershed

from fewct.errors import UsageError, check_same_shape
from fewct.types import Image, Labels, Mask, MergeTree

Edges: TypeAlias = Int64[NDArray[np.int64], "edges 2"]
EdgeValues: TypeAlias = Float64[NDArray[np.float64], " edges"]
LeafNodes: TypeAlias = Int64[NDArray[np.int64], " leaves"]

_BELOW_ONE = float(np.nextafter(1.0, 0.0))
_WALL = np.float32(2.0)  # above every boundary value
_CROSS = ndimage.generate_binary_structure(2, 1)


def oversegment(
    boundary: Image, mask: Mask, *, depth: float = 0.02, min_leaf_px: int = 1, max_leaves: int = 4000
) -> Labels:
    """Flood a boundary map from its minima into small regions.

    Args:
        boundary: float32 (rows, columns) in [0, 1]: how likely a pixel lies on a border.
        mask: bool (rows, columns): where regions may lie.
        depth: A region starts at each minimum that is deeper than this, in [0, 1]; 0 takes them all.
        min_leaf_px: Smaller regions are flooded by their neighbours, where they have any.
        max_leaves: Where there are more minima, the depth is raised until they fit; each connected part of
            the mask keeps at least one.

    Returns:
        int32 (rows, columns): leaves numbered 1 .. n, each 4-connected; 0 exactly outside the mask.

    Raises:
        InputError: If the two arrays differ in shape.
        UsageError: If `depth` is outside [0, 1], or one of the other two is below 1.

    Example:
        >>> boundary = np.array([[0, 0.9, 0.9, 0.2]], dtype=np.float32)
        >>> oversegment(boundary, np.ones((1, 4), dtype=bool))
        array([[1, 1, 2, 2]], dtype=int32)
    """
    check_same_shape(boundary, mask, ("boundary", "mask"))
    if not 0 <= depth <= 1:
        raise UsageError("depth", expected="a number in [0, 1]", found=f"{depth}", fix="Start at 0.02.")
    for name, value in (("min_leaf_px", min_leaf_px), ("max_leaves", max_leaves)):
        if value < 1:
            raise UsageError(name, expected="1 or more", found=f"{value}", fix=f"Raise {name}.")
    inside = np.pad(mask, 1)
    height = np.where(inside, np.pad(boundary, 1), _WALL)
    markers = _minima(height, inside, depth)
    while markers.max() > max_leaves and depth < 1:
        depth = min(1.0, max(2 * depth, 0.01))
        markers = _minima(height, inside, depth)
    leaves = watershed(height, markers, mask=inside)
    if min_leaf_px > 1:
        leaves = watershed(height, _large_leaves(leaves, min_leaf_px), mask=inside)
    return np.asarray(leaves[1:-1, 1:-1], dtype=np.int32)


def _minima(height: Image, inside: Mask, depth: float) -> Labels:
    """Number the minima that are deeper than `depth`; the frame of `height` is wall."""
    if depth > 0:
        raised = np.where(inside, height + np.float32(depth), height)
        height = reconstruction(raised, height, method="erosion", footprint=_CROSS)
    minima = local_minima(height, connectivity=1) & inside
    return np.asarray(ndimage.label(minima)[0], dtype=np.int32)


def _large_leaves(leaves: Labels, min_px: int) -> Labels:
    """Number the leaves of at least `min_px` pixels, and the largest of each connected part without one."""
    parts, n_parts = ndimage.label(leaves > 0)
    first, area = np.unique(leaves, return_index=True, return_counts=True)[1:]
    part_of_leaf = parts.ravel()[first]
    largest = np.zeros(n_parts + 1, dtype=np.int64)
    np.maximum.at(largest, part_of_leaf, area)
    stays = area >= np.minimum(min_px, largest[part_of_leaf])
    stays[0] = False  # 0 is the outside, which the frame always holds
    number = np.where(stays, np.cumsum(stays), 0).astype(np.int32)
    return np.asarray(number[leaves])


def region_adjacency(leaves: Labels, boundary: Image) -> tuple[Edges, EdgeValues, EdgeValues]:
    """Find which leaves share a border, and how strong it is.

    A border is made of the pairs of 4-neighbours that it parts; a pair is as strong as the higher of its
    two boundary values.

    Args:
        leaves: int32 (rows, columns): regions numbered 1 .. n, 0 outside.
        boundary: float32 (rows, columns) in [0, 1].

    Returns:
        int64 (edges, 2): the two nodes (leaf number - 1, the lower first); float64 (edges,): mean strength
        of the border; float64 (edges,): its length in pixel pairs.

    Raises:
        InputError: If the two arrays differ in shape.

    Example:
        >>> boundary = np.array([[0, 0.5, 0, 0]], dtype=np.float32)
        >>> region_adjacency(np.array([[1, 1, 2, 0]], dtype=np.int32), boundary)
        (array([[0, 1]]), array([0.5]), array([1.]))
    """
    check_same_shape(leaves, boundary, ("leaves", "boundary"))
    base = int(leaves.max()) + 1
    pairs, strengths = [], []
    for a, b in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        border = (leaves[a] != leaves[b]) & (leaves[a] > 0) & (leaves[b] > 0)
        one, other = leaves[a][border].astype(np.int64), leaves[b][border].astype(np.int64)
        pairs.append(np.minimum(one, other) * base + np.maximum(one, other))
        strengths.append(np.maximum(boundary[a][border], boundary[b][border]))
    keys, edge, lengths = np.unique(np.concatenate(pairs), return_inverse=True, return_counts=True)
    strength = np.bincount(edge, np.concatenate(strengths), minlength=len(keys)) / lengths
    return np.stack([keys // base - 1, keys % base - 1], axis=1), strength, lengths.astype(np.float64)


def merge_tree(leaves: Labels, boundary: Image) -> MergeTree:
    """Merge neighbouring regions, the pair with the weakest shared border first, until none are left.

    Average linkage on the region adjacency graph (higra): the level of a merge is the mean boundary value
    along the border of the two regions, raised to the level of what they are made of where it lies below.
    Levels of real merges stay below 1; the connected parts of the mask, which share no border, are joined
    at level 1.

    Args:
        leaves: int32 (rows, columns): regions numbered 1 .. n without gaps, 0 outside.
        boundary: float32 (rows, columns) in [0, 1].

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
    edges, strength, lengths = region_adjacency(leaves, boundary)
    n_leaves = int(leaves.max())
    if n_leaves < 2:
        return MergeTree(leaves, np.arange(n_leaves), np.zeros(n_leaves))
    adjacency = coo_array((lengths, (edges[:, 0], edges[:, 1])), shape=(n_leaves, n_leaves))
    part = connected_components(adjacency, directed=False)[1]
    one_of_each = np.unique(part, return_index=True)[1]
    joins = np.stack([np.full(len(one_of_each) - 1, one_of_each[0]), one_of_each[1:]], axis=1)
    graph = higra.UndirectedGraph(n_leaves)
    graph.add_edges(*np.concatenate([edges, joins]).T)
    tree, levels = higra.binary_partition_tree_average_linkage(
        graph,
        np.concatenate([np.minimum(strength, _BELOW_ONE), np.full(len(joins), float(_WALL))]),
        np.concatenate([lengths, np.ones(len(joins))]),
    )
    parents = tree.parents().astype(np.int64)
    return MergeTree(leaves, parents, np.minimum(_monotone(parents, levels), 1.0))


def _monotone(parents: NDArray[np.int64], levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Raise each level to the highest among its descendants; children come before their parents."""
    raised = levels.tolist()
    for node, parent in enumerate(parents.tolist()):
        raised[parent] = max(raised[parent], raised[node])
    return np.array(raised)


def nodes_at_level(tree: MergeTree, level: float) -> LeafNodes:
    """Return the region of each leaf when all merges below a level are done.

    Args:
        tree: Merge tree.
        level: In [0, 1]: 0 keeps the leaves apart, 1 leaves one region for each connected part.

    Returns:
        int64 (leaves,): node of the tree.

    Raises:
        UsageError: If `level` is outside [0, 1].
    """
    if not 0 <= level <= 1:
        raise UsageError(
            "level", expected="a number in [0, 1]", found=f"{level}", fix="Lower levels give more structures."
        )
    return _top_nodes(tree, tree.levels < level)


def cut_level(tree: MergeTree, level: float) -> Labels:
    """Cut the tree at a level: all merges below it are done.

    A cut at a lower level is a refinement of one at a higher level.

    Args:
        tree: Merge tree.
        level: In [0, 1]: 0 gives the leaves, 1 one region for each connected part.

    Returns:
        int32 (rows, columns): regions numbered 1 .. n, each 4-connected; 0 outside the tree.

    Raises:
        UsageError: If `level` is outside [0, 1].

    Example:
        >>> boundary = np.array([[0, 0.5, 0, 0.25, 0]], dtype=np.float32)
        >>> tree = merge_tree(np.array([[1, 1, 2, 3, 3]], dtype=np.int32), boundary)
        >>> cut_level(tree, 0.3)
        array([[1, 1, 2, 2, 2]], dtype=int32)
    """
    return paint(tree, nodes_at_level(tree, level))


def cut_count(tree: MergeTree, regions: int) -> Labels:
    """Cut the tree into a number of regions, undoing the last merges.

    Args:
        tree: Merge tree.
        regions: Number of regions, 1 or more. There are never more than leaves, nor fewer than connected
            parts.

    Returns:
        int32 (rows, columns): regions numbered 1 .. n, each 4-connected; 0 outside the tree.

    Raises:
        UsageError: If `regions` is below 1.
    """
    if regions < 1:
        raise UsageError("regions", expected="1 or more", found=f"{regions}", fix="Ask for at least one.")
    merges = np.arange(tree.n_leaves, len(tree.parents))
    last_first = merges[np.lexsort((merges, tree.levels[merges]))[::-1]]
    done = tree.levels < 1
    done[last_first[: regions - 1]] = False
    return paint(tree, _top_nodes(tree, done))


def cut_area(tree: MergeTree, max_px: int) -> Labels:
    """Cut the tree into the largest regions that do not exceed an area.

    Args:
        tree: Merge tree.
        max_px: Largest area in pixels; a leaf that exceeds it stays whole.

    Returns:
        int32 (rows, columns): regions numbered 1 .. n, each 4-connected; 0 outside the tree.

    Raises:
        UsageError: If `max_px` is below 1.
    """
    if max_px < 1:
        raise UsageError("max_px", expected="1 or more", found=f"{max_px}", fix="Give an area in pixels.")
    areas = node_areas(tree)
    return paint(tree, _top_nodes(tree, (areas <= max_px) & (tree.levels < 1)))


def node_areas(tree: MergeTree) -> Int64[NDArray[np.int64], " nodes"]:
    """Return the number of pixels of each node."""
    areas = np.zeros(len(tree.parents), dtype=np.int64)
    areas[: tree.n_leaves] = np.bincount(tree.leaves.ravel(), minlength=tree.n_leaves + 1)[1:]
    totals = areas.tolist()
    for node, parent in enumerate(tree.parents.tolist()[:-1]):
        totals[parent] += totals[node]
    return np.array(totals, dtype=np.int64)


def persistence(tree: MergeTree) -> Float64[NDArray[np.float64], " nodes"]:
    """Return for each node how far the level may move until it merges: its parent's level minus its own.

    The root, which nothing swallows, lasts up to level 1.
    """
    until = tree.levels[tree.parents]
    until[-1:] = 1.0
    lasting: Float64[NDArray[np.float64], " nodes"] = until - tree.levels
    return lasting


def paint(tree: MergeTree, nodes: LeafNodes) -> Labels:
    """Return the label map in which each leaf has its node's region.

    Args:
        tree: Merge tree.
        nodes: int64 (leaves,): node of each leaf.

    Returns:
        int32 (rows, columns): regions numbered 1 .. n by node, 0 outside the tree.
    """
    region = np.unique(nodes, return_inverse=True)[1] + 1
    return np.concatenate([[0], region])[tree.leaves].astype(np.int32)


def _top_nodes(tree: MergeTree, done: Bool[NDArray[np.bool_], " nodes"]) -> LeafNodes:
    """Return for each leaf the highest node above it that is done; what is below a done node is done."""
    up = np.where(done[tree.parents], tree.parents, np.arange(len(tree.parents)))
    while True:
        jumped = up[up]
        if np.array_equal(jumped, up):
            return up[: tree.n_leaves]
        up = jumped
