"""Over-segmentation, and cuts through a merge tree.

A boundary map is flooded into many small regions, the leaves. Neighbouring regions then merge one pair at a
time (`imaging.agglomeration`). The order of merges is a tree; a cut through it is a label map, and moving the
cut needs no new computation on the image.
"""

from typing import Annotated, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import local_minima, reconstruction
from skimage.segmentation import watershed

from fewct.errors import check_range, check_same_shape
from fewct.types import Image, Labels, Mask, MergeTree

LeafNodes: TypeAlias = Annotated[NDArray[np.int64], "leaves"]

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
    check_range("depth", depth, 0, 1, fix="Start at 0.02.")
    check_range("min_leaf_px", min_leaf_px, 1)
    check_range("max_leaves", max_leaves, 1)
    box = (ndimage.find_objects(mask.astype(np.int8)) or [None])[0]
    if box is None:
        return np.zeros(mask.shape, dtype=np.int32)
    inside = np.pad(mask[box], 1)
    height = np.where(inside, np.pad(boundary[box], 1), _WALL)
    markers = _minima(height, inside, depth)
    while markers.max() > max_leaves and depth < 1:
        depth = min(1.0, max(2 * depth, 0.01))
        markers = _minima(height, inside, depth)
    leaves = watershed(height, markers, mask=inside)
    if min_leaf_px > 1:
        leaves = watershed(height, _large_leaves(leaves, min_leaf_px), mask=inside)
    placed = np.zeros(mask.shape, dtype=np.int32)
    placed[box] = leaves[1:-1, 1:-1]
    return placed


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
    check_range("level", level, 0, 1, fix="Lower levels give more structures.")
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
        >>> from fewct.imaging.agglomeration import merge_tree
        >>> boundary = np.array([[0, 0.5, 0, 0.25, 0]], dtype=np.float32)
        >>> tree = merge_tree(np.array([[1, 1, 2, 3, 3]], dtype=np.int32), boundary)
        >>> cut_level(tree, 0.3)
        array([[1, 1, 2, 2, 2]], dtype=int32)
    """
    return paint(tree, nodes_at_level(tree, level))


def persistence(tree: MergeTree) -> Annotated[NDArray[np.float64], "nodes"]:
    """Return for each node how far the level may move until it merges: its parent's level minus its own.

    The root, which nothing swallows, lasts up to level 1.
    """
    until = tree.levels[tree.parents]
    until[-1:] = 1.0
    lasting: Annotated[NDArray[np.float64], "nodes"] = until - tree.levels
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


def _top_nodes(tree: MergeTree, done: Annotated[NDArray[np.bool_], "nodes"]) -> LeafNodes:
    """Return for each leaf the highest node above it that is done; what is below a done node is done."""
    up = np.where(done[tree.parents], tree.parents, np.arange(len(tree.parents)))
    while True:
        jumped = up[up]
        if np.array_equal(jumped, up):
            return up[: tree.n_leaves]
        up = jumped
