"""Label maps: numbering, area limits and placing on another grid."""

from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from fewct.errors import InputError, as_labels
from fewct.types import AnyLabels, Geometry, LabelMap


def relabel_sequential(labels: NDArray[Any]) -> tuple[AnyLabels, Annotated[NDArray[np.int64], "n"]]:
    """Number the structures 1 .. n without gaps, in the order of their ids.

    Args:
        labels: Label map (rows, columns) or (slices, rows, columns).

    Returns:
        int32, the shape of `labels`; and int64 (n,): the id that each structure had before.

    Raises:
        InputError: If `labels` is no label map.

    Example:
        >>> relabel_sequential(np.array([[0, 7, 7, 3]]))
        (array([[0, 2, 2, 1]], dtype=int32), array([3, 7]))
    """
    labels = as_labels(labels)
    ids, rank, _ = count_ids(labels)
    first = 1 if ids[0] > 0 else 0
    return (rank + first).reshape(labels.shape).astype(np.int32), ids[ids > 0].astype(np.int64)


def filter_by_area(labels: NDArray[Any], min_px: float = 0, max_px: float = np.inf) -> AnyLabels:
    """Set structures outside the area limits to background; ids stay as they are.

    Args:
        labels: Label map (rows, columns) or (slices, rows, columns).
        min_px: Smallest area that stays.
        max_px: Largest area that stays.

    Returns:
        int32, the shape of `labels`.

    Raises:
        InputError: If `labels` is no label map.

    Example:
        >>> filter_by_area(np.array([[0, 1, 2, 2, 3, 3, 3]]), min_px=2, max_px=2)
        array([[0, 0, 2, 2, 0, 0, 0]], dtype=int32)
    """
    labels = as_labels(labels)
    ids, rank, areas = count_ids(labels)
    stays = (areas >= min_px) & (areas <= max_px)
    return np.where(stays, ids, 0)[rank].reshape(labels.shape).astype(np.int32)


def place_on_grid(label_map: LabelMap, geometry: Geometry | None, shape: tuple[int, ...]) -> AnyLabels:
    """Place a label map on another pixel grid of the same patient, by nearest neighbour.

    Args:
        label_map: Labels with their geometry.
        geometry: Where the other grid stands.
        shape: Its (rows, columns) or (slices, rows, columns).

    Returns:
        int32 of `shape`; 0 where the label map does not reach. Exact where the grids differ only by the
        order and direction of their axes.

    Raises:
        InputError: If a geometry is unknown, the two have different frames of reference, or do not overlap.
    """
    theirs = label_map.geometry
    if theirs is None or geometry is None:
        raise InputError(
            "label map" if theirs is None else "target",
            expected="a known position in the patient",
            found="no geometry",
            fix="Use a format that stores it (DICOM, NIfTI, NRRD), or labels of the target's own shape.",
        )
    uids = (theirs.frame_of_reference_uid, geometry.frame_of_reference_uid)
    if None not in uids and uids[0] != uids[1]:
        raise InputError(
            "label map",
            expected=f"the target's frame of reference {uids[1]}",
            found=str(uids[0]),
            fix="Register the two scans first.",
        )
    labels = as_labels(label_map.labels)
    volume = labels.reshape((-1, *labels.shape[-2:]))
    to_theirs = np.linalg.inv(theirs.affine) @ geometry.affine
    placed = np.zeros((1, *shape) if len(shape) == 2 else shape, dtype=np.int32)
    overlap = False
    for index, target in enumerate(placed):
        voxels = _nearest_voxels(to_theirs, index, target.shape)
        inside = np.logical_and.reduce(
            [(v >= 0) & (v < n) for v, n in zip(voxels, volume.shape, strict=True)]
        )
        target[inside] = volume[tuple(np.broadcast_to(v, target.shape)[inside] for v in voxels)]
        overlap |= bool(inside.any())
    if not overlap:
        raise InputError(
            "label map",
            expected="labels that overlap the target in the patient",
            found="no voxel in common",
            fix="Check that both belong to the same scan and that neither header lost its origin.",
        )
    return placed.reshape(shape)


def _nearest_voxels(
    to_theirs: NDArray[np.float64], index: int, shape: tuple[int, ...]
) -> tuple[NDArray[np.int64], ...]:
    """Return the label map's nearest (slice, row, column) for each pixel of one slice of the target."""
    row, column = np.ogrid[: shape[0], : shape[1]]
    nudge = 0.5 + 1e-6  # halfway cases go one way, whatever the rounding of the affine
    return tuple(
        np.floor(m[0] * index + m[1] * row + m[2] * column + m[3] + nudge).astype(np.int64)
        for m in to_theirs[:3]
    )


def count_ids(labels: AnyLabels) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the ids in order, the place of each pixel's id among them, and their areas.

    Counting is much faster than sorting, unless the ids are spread so wide that counts would fill the memory.
    """
    if labels.max(initial=0) > max(labels.size, 1):
        ids, rank, areas = np.unique(labels, return_inverse=True, return_counts=True)
        return ids.astype(np.int64), rank.reshape(labels.shape), areas
    counts = np.bincount(labels.ravel())
    present = counts > 0
    return np.flatnonzero(present), (np.cumsum(present) - 1)[labels], counts[present]


SAME_PLACE_MM = 1e-4


def labels_on_grid(label_map: LabelMap, geometry: Geometry | None, shape: tuple[int, ...]) -> AnyLabels:
    """Return labels on another pixel grid, by nearest neighbour where both places are known.

    Args:
        label_map: The labels.
        geometry: Where the other grid stands; None if unknown.
        shape: Its (rows, columns) or (slices, rows, columns).

    Returns:
        Labels of that shape; as they are, of whatever shape, if one of the two places is unknown.

    Raises:
        InputError: If the two cannot lie in one place.
    """
    if geometry is None or label_map.geometry is None:
        return label_map.labels
    same_place = np.allclose(geometry.affine, label_map.geometry.affine, rtol=0, atol=SAME_PLACE_MM)
    if label_map.labels.shape == shape and same_place:
        return label_map.labels
    return place_on_grid(label_map, geometry, shape)
