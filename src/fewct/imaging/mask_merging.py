"""Masks that overlap: how much they do, suppression of duplicates, and merging into one label map."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fewct.errors import InputError, as_slice_labels, check_choice, check_same_shape
from fewct.imaging.masks import proposals_from_labels
from fewct.types import Labels, MaskProposals

MergePolicy: TypeAlias = Literal["small-on-top", "score", "hierarchy"]

TILE_PX = 64
NESTED_SHARE = 0.9  # a mask with this share of its pixels inside a larger one is nested in it


def intersection_matrix(proposals: MaskProposals) -> Annotated[NDArray[np.float64], "n n"]:
    """Count the pixels that each two masks share, tile by tile as matrix products.

    Returns:
        float64 (n, n), symmetric, whole numbers; the areas on the diagonal.
    """
    n = len(proposals)
    shared = np.zeros((n, n))
    boxes, (rows, columns) = proposals.boxes_xyxy, proposals.shape
    for top in range(0, rows, TILE_PX):
        for left in range(0, columns, TILE_PX):
            start, stop = np.array([left, top]), np.array([left + TILE_PX, top + TILE_PX])
            touching = np.flatnonzero((boxes[:, :2] < stop).all(axis=1) & (boxes[:, 2:] > start).all(axis=1))
            tile = np.zeros((len(touching), TILE_PX, TILE_PX), dtype=np.float32)
            for row, i in enumerate(touching.tolist()):
                _paste(tile[row], proposals.crops[i], boxes[i] - [left, top, left, top])
            flat = tile.reshape(len(touching), TILE_PX * TILE_PX)
            shared[np.ix_(touching, touching)] += flat @ flat.T
    return shared


def iou_matrix(proposals: MaskProposals) -> Annotated[NDArray[np.float64], "n n"]:
    """Return the intersection over union of each two masks.

    Returns:
        float64 (n, n) in [0, 1], symmetric; 0 where both masks are empty.
    """
    shared = intersection_matrix(proposals)
    areas = proposals.areas
    return _ratio(shared, areas[:, None] + areas[None, :] - shared)


def containment_matrix(proposals: MaskProposals) -> Annotated[NDArray[np.float64], "n n"]:
    """Return which share of mask i (row) lies inside mask j (column).

    Returns:
        float64 (n, n) in [0, 1]; 0 in the rows of empty masks.
    """
    shared = intersection_matrix(proposals)
    return _ratio(shared, np.broadcast_to(proposals.areas[:, None], shared.shape))


def by_content(proposals: MaskProposals, *keys: NDArray[Any]) -> NDArray[np.int64]:
    """Return the order of proposals by some keys, ascending, then by box and pixels, never by position.

    Args:
        proposals: What to sort.
        keys: Arrays (n,), the first one counts most; NaN comes last.

    Returns:
        int64 (n,) index.
    """

    def key(i: int) -> tuple[Any, ...]:
        firsts = [(bool(np.isnan(k[i])), float(np.nan_to_num(k[i]))) for k in keys]
        return *firsts, proposals.boxes_xyxy[i].tolist(), np.packbits(proposals.crops[i]).tobytes()

    return np.array(sorted(range(len(proposals)), key=key), dtype=np.int64)


def merge_masks(
    proposals: MaskProposals, policy: MergePolicy, min_px: float = 0, max_px: float = np.inf
) -> tuple[Labels, Annotated[NDArray[np.int64], "n"]]:
    """Merge masks that may overlap into one label map.

    The policy puts the masks in an order. From the first to the last, each takes the pixels that are still
    free. A mask whose area lies outside the limits takes no part; one that is left with fewer than `min_px`
    pixels takes none, and they go to the masks that follow. So the limits hold for the final map.

    - `small-on-top`: the smaller mask comes first; the higher score where areas are equal.
    - `score`: the higher score comes first; the smaller mask where scores are equal.
    - `hierarchy`: a mask nested in a larger one (90 % of its pixels inside) comes before it; between
      others the higher score counts. To make that an order, a nested mask counts with the highest score of
      itself and the masks around it.

    What is equal by all that is ordered by its box and pixels, so the order of the input does not matter.

    Args:
        proposals: Masks with scores; NaN counts as the lowest.
        policy: "small-on-top", "score" or "hierarchy".
        min_px: Smallest area of a structure.
        max_px: Largest area of a structure.

    Returns:
        int32 (rows, columns), structures numbered 1 .. n in the policy's order, and int64 (n,): the
        proposal that each structure comes from, so that structure k is (a part of)
        `proposals.mask(index[k - 1])`.

    Raises:
        UsageError: If there is no such policy.

    Example:
        >>> from fewct.imaging.masks import proposals_from_masks
        >>> masks = np.array([[[1, 1, 1, 1]], [[0, 1, 0, 0]]], dtype=bool)
        >>> labels, index = merge_masks(proposals_from_masks(masks, [0.9, 0.8]), "small-on-top")
        >>> labels.tolist(), index.tolist()
        ([[2, 1, 2, 2]], [1, 0])
    """
    check_choice("policy", policy, get_args(MergePolicy))
    areas = proposals.areas
    allowed = np.flatnonzero((areas >= min_px) & (areas <= max_px))
    candidates = proposals.keep(allowed)
    labels = np.zeros(proposals.shape, dtype=np.int32)
    index: list[int] = []
    for i in _order(candidates, policy).tolist():
        x0, y0, x1, y1 = candidates.boxes_xyxy[i]
        target = labels[y0:y1, x0:x1]
        free = candidates.crops[i] & (target == 0)
        if np.count_nonzero(free) >= max(min_px, 1):
            index.append(i)
            target[free] = len(index)
    return labels, allowed[np.array(index, dtype=np.int64)]


def join_label_maps(
    label_maps: Sequence[NDArray[Any]],
    policy: MergePolicy = "small-on-top",
    scores: Sequence[ArrayLike] | None = None,
    min_px: float = 0,
) -> tuple[Labels, Annotated[NDArray[np.int64], "n 2"]]:
    """Join several label maps of one slice, such as predictions structure by structure, into one.

    Each structure of each map is a mask of its own; `merge_masks` tells which one takes the pixels that
    several claim.

    Args:
        label_maps: One or more label maps or masks, all (rows, columns), 0 for background.
        policy: "small-on-top", "score" or "hierarchy", as for `merge_masks`.
        scores: For each map one score for each structure that occurs, by ascending id; NaN by default.
        min_px: Smallest area of a structure.

    Returns:
        int32 (rows, columns), structures numbered 1 .. n, and int64 (n, 2): the map that each structure comes
        from, counted from 0, and its id there.

    Raises:
        InputError: If there are no maps, one is no label map of a slice, they differ in shape, or the scores
            are not one a structure.
        UsageError: If there is no such policy.

    Example:
        >>> liver, vessel = np.array([[1, 1, 1, 0]]), np.array([[0, 5, 0, 0]])
        >>> labels, origins = join_label_maps([liver, vessel])
        >>> labels.tolist(), origins.tolist()
        ([[2, 1, 2, 0]], [[1, 5], [0, 1]])
    """
    if len(label_maps) == 0 or (scores is not None and len(scores) != len(label_maps)):
        raise InputError(
            "label_maps" if scores is None else "scores",
            expected="one or more label maps"
            if scores is None
            else f"scores for {len(label_maps)} label maps",
            found="none" if scores is None else f"scores for {len(scores)}",
            fix="Pass a list of arrays, one for each label map.",
        )
    parts: list[MaskProposals] = []
    origins: list[tuple[int, int]] = []
    for i, label_map in enumerate(label_maps):
        labels = as_slice_labels(label_map, f"label map {i}")
        check_same_shape(labels, label_maps[0], (f"label map {i}", "label map 0"))
        parts.append(proposals_from_labels(labels, None if scores is None else scores[i]))
        origins += [(i, structure) for structure in np.unique(labels[labels > 0]).tolist()]
    together = MaskProposals(
        parts[0].shape,
        np.concatenate([part.boxes_xyxy for part in parts]),
        tuple(crop for part in parts for crop in part.crops),
        np.concatenate([part.scores for part in parts]),
    )
    merged, index = merge_masks(together, policy, min_px)
    return merged, np.array(origins, dtype=np.int64).reshape(-1, 2)[index]


def _order(proposals: MaskProposals, policy: MergePolicy) -> NDArray[np.int64]:
    """Return the order in which masks take their pixels."""
    areas, scores = proposals.areas, proposals.scores
    if policy == "small-on-top":
        return by_content(proposals, areas, -scores)
    if policy == "hierarchy":
        return by_content(proposals, -_inherited_scores(proposals), areas, -scores)
    return by_content(proposals, -scores, areas)


def _inherited_scores(proposals: MaskProposals) -> NDArray[np.float64]:
    """Return for each mask the highest score of itself and of all that it is nested in."""
    areas = proposals.areas
    nested = (containment_matrix(proposals) >= NESTED_SHARE) & (areas[:, None] < areas[None, :])
    inherited = np.nan_to_num(proposals.scores.astype(np.float64), nan=-np.inf)
    for i in np.argsort(-areas, kind="stable"):
        inherited[i] = max(inherited[i], inherited[nested[i]].max(initial=-np.inf))
    return inherited


def _paste(tile: NDArray[np.float32], crop: NDArray[np.bool_], box: NDArray[np.int64]) -> None:
    """Copy the part of a crop that falls on a tile; `box` is relative to the tile."""
    x0, y0, x1, y1 = box.tolist()
    rows, columns = tile.shape
    top, left, bottom, right = max(y0, 0), max(x0, 0), min(y1, rows), min(x1, columns)
    tile[top:bottom, left:right] = crop[top - y0 : bottom - y0, left - x0 : right - x0]


def _ratio(part: NDArray[np.float64], whole: NDArray[Any]) -> NDArray[np.float64]:
    """Divide, with 0 for 0 / 0."""
    ratio: NDArray[np.float64] = part / np.maximum(whole, 1)
    return ratio
