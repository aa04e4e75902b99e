"""Distances between surfaces in millimetres: normalised surface Dice and 95 % Hausdorff distance.

The definitions are those of google-deepmind/surface-distance (Nikolov et al. 2021,
https://doi.org/10.2196/26151). A surface element stands at each corner of the pixel grid (half a pixel
off the pixels' centres) whose 4 pixels, or 8 voxels, are partly inside and partly outside. It weighs the
length of the contour, or the area of the surface, that marching squares or cubes draw there.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Annotated, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fewct.errors import InputError, UsageError, as_labels, check_range, check_same_shape
from fewct.metrics.overlap import Values

Box: TypeAlias = tuple[slice, ...]

LISTED_LABELS = 2**20


@dataclass(frozen=True, eq=False)
class SurfaceDistances:
    """Distances of the surface of each of two masks from the other's.

    Args:
        true_to_pred_mm: float64 (t,): for each surface element of truth the distance in mm to the
            nearest one of the prediction; NaN if the prediction is empty.
        pred_to_true_mm: float64 (p,): the same the other way round.
        true_weights: float64 (t,): length in mm (slices) or area in mm2 (scans) of each element of truth.
        pred_weights: float64 (p,): the same for the prediction.
    """

    true_to_pred_mm: Values
    pred_to_true_mm: Values
    true_weights: Values
    pred_weights: Values

    def surface_dice(self, tolerance_mm: float) -> float:
        """Return the share of both surfaces that lies within a tolerance of the other one.

        Returns:
            A value in [0, 1]; 0 if one mask is empty, NaN if both are.
        """
        within = self.true_weights[self.true_to_pred_mm <= tolerance_mm].sum()
        within += self.pred_weights[self.pred_to_true_mm <= tolerance_mm].sum()
        total = self.true_weights.sum() + self.pred_weights.sum()
        return float(within / total) if total else math.nan

    def hausdorff_95_mm(self) -> float:
        """Return the larger of the two distances in mm that 95 % of a surface does not exceed.

        Returns:
            A distance of 0 or more; NaN if one mask is empty.
        """
        if not (self.true_weights.size and self.pred_weights.size):
            return math.nan
        return max(
            _percentile_95(self.true_to_pred_mm, self.true_weights),
            _percentile_95(self.pred_to_true_mm, self.pred_weights),
        )


def surface_distances(
    truth: NDArray[np.bool_], prediction: NDArray[np.bool_], spacing_mm: Sequence[float]
) -> SurfaceDistances:
    """Return the distances between the surfaces of two masks.

    Args:
        truth: bool (rows, columns) or (slices, rows, columns).
        prediction: bool, of the same shape.
        spacing_mm: Distance between neighbouring pixels along each axis, in mm.

    Raises:
        InputError: If the arrays are not masks of one shape.
        UsageError: If the spacing is not one positive number an axis.

    Example:
        >>> truth, prediction = np.zeros((2, 20, 20), dtype=bool)
        >>> truth[5:15, 5:15] = True
        >>> prediction[5:15, 8:18] = True  # shifted by 3 columns of 0.5 mm
        >>> distances = surface_distances(truth, prediction, (1.0, 0.5))
        >>> distances.hausdorff_95_mm()
        1.5
        >>> distances.surface_dice(tolerance_mm=1.5)
        1.0
    """
    for name, mask in (("truth", truth), ("prediction", prediction)):
        if mask.dtype != np.bool_ or mask.ndim not in (2, 3):
            raise InputError(
                name,
                expected="a mask, bool (rows, columns) or (slices, rows, columns)",
                found=f"dtype {mask.dtype}, shape {mask.shape}",
                fix="Compare with a label first: labels == 1.",
            )
    check_same_shape(truth, prediction, ("truth", "prediction"))
    return _distances(truth, prediction, _grid(spacing_mm, truth.ndim))


def surface_scores(
    truth: NDArray[Any],
    prediction: NDArray[Any],
    pairs: Sequence[tuple[int, int]],
    spacing_mm: Sequence[float] | None,
    tolerance_mm: float,
) -> tuple[Values, Values]:
    """Return surface Dice and 95 % Hausdorff distance of pairs of structures, each cropped to its box.

    Args:
        truth: Label map, (rows, columns) or (slices, rows, columns).
        prediction: Label map of the same shape.
        pairs: Labels (true, predicted) to compare; a structure without a match has 0 for the other one.
        spacing_mm: Distance between neighbouring pixels along each axis, in mm; None if unknown.
        tolerance_mm: Distance up to which surfaces count as the same, in mm.

    Returns:
        Two arrays, float64 (pairs,): surface Dice, 0 where one of a pair is 0 or does not occur; and
        the distance in mm, NaN there. Both are all NaN if the spacing is unknown.

    Raises:
        InputError: If one is not a label map, or their shapes differ.
        UsageError: If the spacing is not one positive number an axis, or the tolerance is negative.

    Example:
        >>> labels = np.zeros((9, 9), dtype=np.int32)
        >>> labels[2:7, 2:7] = 4
        >>> surface_scores(labels, 2 * labels, [(4, 8), (4, 0)], (0.7, 0.7), tolerance_mm=0.0)
        (array([1., 0.]), array([ 0., nan]))
    """
    true, pred = as_labels(truth, "truth"), as_labels(prediction, "prediction")
    check_same_shape(true, pred, ("truth", "prediction"))
    check_range("tolerance_mm", tolerance_mm, fix="Give a distance in mm, such as 2.")
    if spacing_mm is None:
        return np.full(len(pairs), math.nan), np.full(len(pairs), math.nan)
    grid = _grid(spacing_mm, true.ndim)
    true_boxes, pred_boxes = _boxes(true), _boxes(pred)
    dice, hausdorff_mm = np.zeros(len(pairs)), np.full(len(pairs), math.nan)
    for i, (true_id, pred_id) in enumerate(pairs):
        if true_id not in true_boxes or pred_id not in pred_boxes:
            continue
        box = _union(true_boxes[true_id], pred_boxes[pred_id])
        distances = _distances(true[box] == true_id, pred[box] == pred_id, grid)
        dice[i] = distances.surface_dice(tolerance_mm)
        hausdorff_mm[i] = distances.hausdorff_95_mm()
    return dice, hausdorff_mm


@dataclass(frozen=True, eq=False)
class _Grid:
    """Spacing in mm along each axis, and the size of the surface element of each code (see `_codes`)."""

    spacing_mm: Values
    element_sizes: Values


def _grid(spacing_mm: Sequence[float], ndim: int) -> _Grid:
    """Return the grid with a spacing, if that is one positive number for each of the axes."""
    spacing = np.asarray(spacing_mm, dtype=np.float64)
    if spacing.shape != (ndim,) or not (np.isfinite(spacing) & (spacing > 0)).all():
        raise UsageError(
            "spacing_mm",
            expected=f"{ndim} positive numbers, one an axis",
            found=str(tuple(spacing_mm)),
            fix="Give the distance between neighbouring pixels along each axis, in mm.",
        )
    return _Grid(spacing, _element_lengths(spacing) if ndim == 2 else _element_areas(spacing))


def _element_lengths(spacing_mm: Values) -> Values:
    """Return the length of contour that marching squares draws for each code of 4 pixels, float64 (16,)."""
    row_mm, column_mm = spacing_mm
    half_diagonal = 0.5 * math.hypot(row_mm, column_mm)
    lengths = np.full(16, half_diagonal)  # one pixel differs from the three others
    lengths[[0b0000, 0b1111]] = 0.0
    lengths[[0b0110, 0b1001]] = 2 * half_diagonal
    lengths[[0b0011, 0b1100]] = column_mm
    lengths[[0b0101, 0b1010]] = row_mm
    return lengths


def _element_areas(spacing_mm: Values) -> Values:
    """Return the area of surface that marching cubes draws for each code of 8 voxels, float64 (256,).

    A code and its complement describe one surface; the smaller drawing of the two counts.
    """
    from skimage.measure import marching_cubes, mesh_surface_area

    areas = np.zeros(256)
    for code in range(1, 255):
        cube = np.unpackbits(np.uint8(code)).reshape(2, 2, 2).astype(np.float32)
        vertices, faces, _, _ = marching_cubes(cube, 0.5, method="lorensen")
        areas[code] = mesh_surface_area(vertices.astype(np.float64) * spacing_mm, faces)
    return np.minimum(areas, areas[::-1])


def _distances(truth: NDArray[np.bool_], prediction: NDArray[np.bool_], grid: _Grid) -> SurfaceDistances:
    """Return the distances between the surfaces of two masks."""
    true_codes, pred_codes = _codes(truth), _codes(prediction)
    inside = grid.element_sizes.size - 1
    on_true = (true_codes != 0) & (true_codes != inside)
    on_pred = (pred_codes != 0) & (pred_codes != inside)
    return SurfaceDistances(
        _nearest_mm(on_true, on_pred, grid.spacing_mm),
        _nearest_mm(on_pred, on_true, grid.spacing_mm),
        grid.element_sizes[true_codes[on_true]],
        grid.element_sizes[pred_codes[on_pred]],
    )


def _codes(mask: NDArray[np.bool_]) -> Annotated[NDArray[np.uint8], "*corners"]:
    """Return for each corner of the pixel grid which of the pixels around it are inside, one bit each.

    The first pixel (lowest row and column) has the highest bit. The result is one longer along each axis.
    """
    codes = np.zeros([n + 1 for n in mask.shape], dtype=np.uint8)
    for bit, shifts in enumerate(product((0, 1), repeat=mask.ndim)):
        window = tuple(slice(shift, shift + n) for shift, n in zip(shifts, mask.shape, strict=True))
        codes[window] |= mask.view(np.uint8) << bit
    return codes


def _nearest_mm(start: NDArray[np.bool_], goal: NDArray[np.bool_], spacing_mm: Values) -> Values:
    """Return for each element of `start`, in C order, the distance in mm to the nearest one of `goal`.

    The cost of a search tree grows with the surface, that of a distance transform with the volume. Cells
    split in the middle keep the search short where many elements are almost equally far.
    """
    from scipy.spatial import KDTree

    met = goal[start]
    distances = np.where(met, 0.0, math.nan)
    if met.all() or not goal.any():
        return distances
    seekers, goals = np.argwhere(start)[~met], np.argwhere(goal)
    tree = KDTree(goals * spacing_mm, leafsize=32, compact_nodes=False, balanced_tree=False)
    _, nearest = tree.query(seekers * spacing_mm)
    distances[~met] = np.sqrt((((seekers - goals[nearest]) * spacing_mm) ** 2).sum(axis=1))
    return distances


def _percentile_95(distances_mm: Values, weights: Values) -> float:
    """Return the distance that 95 % of the weight does not exceed."""
    order = np.lexsort((weights, distances_mm))
    reached = np.cumsum(weights[order]) / weights.sum()
    position = int(np.searchsorted(reached, 0.95))
    return float(distances_mm[order][min(position, len(order) - 1)])


def _boxes(labels: NDArray[np.int32]) -> dict[int, Box]:
    """Return the bounding box of each structure, by label."""
    from scipy.ndimage import find_objects

    if labels.max() > LISTED_LABELS:  # a list with an entry for each possible label would not fit
        ids, numbers = np.unique(labels, return_inverse=True)
        boxes = find_objects(numbers.reshape(labels.shape) + 1)
        return {int(label): box for label, box in zip(ids, boxes, strict=True) if label > 0}
    return {label: box for label, box in enumerate(find_objects(labels), start=1) if box is not None}


def _union(first: Box, second: Box) -> Box:
    """Return the smallest box around two boxes."""
    return tuple(
        slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(first, second, strict=True)
    )
