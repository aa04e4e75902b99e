"""All metrics of a prediction against truth: of the whole, of each slice and of each structure."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewct.errors import UsageError, as_labels, check_same_shape
from fewct.imaging.labelmap import labels_on_grid
from fewct.metrics import (
    Contingency,
    Scores,
    best_iou,
    contingency,
    match_structures,
    mean_defined,
    merge_tables,
    score,
    surface_scores,
)
from fewct.result import Segmentation
from fewct.types import AnyLabels, LabelMap


@dataclass(frozen=True)
class StructureScore:
    """Metrics of one true structure. In a scan, pixels are voxels.

    Args:
        true_id: Label in truth.
        size_px: Its pixels in truth.
        best_iou: Its highest IoU with a predicted structure.
        pred_id: Label of the predicted structure matched to it, 0 if it has none.
        iou: Of that match, 0 if it has none; so are `dice`, `precision` and `recall`.
        surface_dice: Normalised surface Dice of the match, 0 if it has none; NaN if the spacing is unknown.
        hausdorff_95_mm: 95 % Hausdorff distance of the match; NaN if it has none or the spacing is unknown.
    """

    true_id: int
    size_px: int
    best_iou: float
    pred_id: int
    iou: float
    dice: float
    precision: float
    recall: float
    surface_dice: float
    hausdorff_95_mm: float


@dataclass(frozen=True)
class Evaluation:
    """Metrics of a prediction against truth.

    Args:
        overall: Metrics of all pixels together; for a scan, of its structures in three dimensions.
        slices: Metrics of each slice for itself; for a single slice, `overall`.
        structures: One row for each true structure, by label.
        tolerance_mm: The tolerance of the surface Dice.
    """

    overall: Scores
    slices: tuple[Scores, ...]
    structures: tuple[StructureScore, ...]
    tolerance_mm: float

    def __repr__(self) -> str:
        ari, iou = self.overall.ari_foreground, self.overall.mean_best_iou
        found = f"foreground ARI {ari:.3f}, mean best IoU {iou:.3f}"
        return f"Evaluation({found}, {len(self.structures)} structures)"

    @property
    def surface_dice(self) -> float:
        """Mean surface Dice over true structures, a missed one counting 0; NaN if the spacing is unknown."""
        return mean_defined(np.array([row.surface_dice for row in self.structures]))

    @property
    def hausdorff_95_mm(self) -> float:
        """Mean 95 % Hausdorff distance over the matched structures; NaN if there are none, or no spacing."""
        return mean_defined(np.array([row.hausdorff_95_mm for row in self.structures]))

    @property
    def mean_over_slices(self) -> Mapping[str, float]:
        """Mean of each metric over the slices on which it is defined, by name (see `Scores.as_dict`)."""
        metrics = [scores.as_dict() for scores in self.slices]
        return {name: mean_defined(np.array([row[name] for row in metrics])) for name in metrics[0]}

    @property
    def n_slices_defined(self) -> Mapping[str, int]:
        """Number of slices on which each metric is defined, by name: those that `mean_over_slices` is of."""
        metrics = [scores.as_dict() for scores in self.slices]
        return {name: sum(row[name] == row[name] for row in metrics) for name in metrics[0]}

    def as_dict(self) -> dict[str, Any]:
        """Return everything but the single slices, as plain dictionaries and lists."""
        surface = {"surface_dice": self.surface_dice, "hausdorff_95_mm": self.hausdorff_95_mm}
        return {
            "overall": {**self.overall.as_dict(), **surface, "tolerance_mm": self.tolerance_mm},
            "mean_over_slices": dict(self.mean_over_slices),
            "n_slices_defined": dict(self.n_slices_defined),
            "structures": [asdict(row) for row in self.structures],
        }


def evaluate(
    *,
    truth: LabelMap | NDArray[Any],
    prediction: LabelMap | NDArray[Any],
    partial: bool = False,
    tolerance_mm: float = 2.0,
) -> Evaluation:
    """Compare a prediction with truth.

    Where both have a geometry and their grids differ (order or direction of axes, spacing, field of
    view), the prediction is placed on truth's grid by nearest neighbour. Where one has none, the two
    must have the same shape. Surface metrics need a spacing: truth's, or else the prediction's.

    Args:
        truth: Labels (rows, columns) or (slices, rows, columns), 0 for background.
        prediction: Labels, likewise.
        partial: Truth holds only some of the structures and 0 means unknown: give upper bounds, too.
        tolerance_mm: Distance up to which surfaces count as the same, in mm.

    Returns:
        Metrics of the whole, of each slice and of each true structure.

    Raises:
        InputError: If one is not a label map, the shapes differ and a geometry is missing, or the two
            cannot lie in one place.
        UsageError: If the two are swapped, which shows where truth is a result of `segment` and the
            prediction is not; or if the tolerance is negative.

    Example:
        >>> truth = np.array([[0, 0, 1, 1, 2, 2]])
        >>> evaluation = evaluate(truth=truth, prediction=np.array([[0, 0, 5, 5, 3, 0]]))
        >>> evaluation.overall.mean_best_iou
        0.75
        >>> [row.pred_id for row in evaluation.structures]
        [5, 3]
    """
    if isinstance(truth, Segmentation) and not isinstance(prediction, Segmentation):
        raise UsageError(
            "truth and prediction",
            expected="the result of segment as the prediction",
            found="it as truth: the two are swapped",
            fix="Call evaluate(truth=labels, prediction=result).",
        )
    true, pred = _as_label_map(truth, "truth"), _as_label_map(prediction, "prediction")
    pred_labels = labels_on_grid(pred, true.geometry, true.labels.shape)
    check_same_shape(true.labels, pred_labels, ("truth", "prediction"))
    geometry = true.geometry or pred.geometry
    spacing_mm = None if geometry is None else geometry.spacing_mm[-true.labels.ndim :]
    if true.labels.ndim == 2:
        table = contingency(true.labels, pred_labels)
        overall = score(table, partial=partial)
        slices: tuple[Scores, ...] = (overall,)
    else:
        tables = [contingency(*pair) for pair in zip(true.labels, pred_labels, strict=True)]
        table = merge_tables(tables)
        overall = score(table, partial=partial)
        slices = tuple(score(one, partial=partial) for one in tables)
    rows = _structure_scores(table, true.labels, pred_labels, spacing_mm, tolerance_mm)
    return Evaluation(overall, slices, rows, tolerance_mm)


def _as_label_map(labels: LabelMap | NDArray[Any], name: str) -> LabelMap:
    """Return labels, checked, with the geometry that they have."""
    if isinstance(labels, LabelMap):
        return labels
    return LabelMap(as_labels(np.asarray(labels), name))


def _structure_scores(
    table: Contingency,
    truth: AnyLabels,
    prediction: AnyLabels,
    spacing_mm: tuple[float, ...] | None,
    tolerance_mm: float,
) -> tuple[StructureScore, ...]:
    """Return the table of true structures."""
    matching = match_structures(table)
    true_ids, pred_ids = matching.true_ids.tolist(), matching.pred_ids.tolist()
    pairs = list(zip(true_ids, pred_ids, strict=True))
    surface_dice, hausdorff_95_mm = surface_scores(truth, prediction, pairs, spacing_mm, tolerance_mm)
    columns = (
        true_ids,
        table.true_sizes[table.true_ids > 0].tolist(),
        best_iou(table).tolist(),
        pred_ids,
        matching.iou.tolist(),
        matching.dice.tolist(),
        matching.precision.tolist(),
        matching.recall.tolist(),
        surface_dice.tolist(),
        hausdorff_95_mm.tolist(),
    )
    return tuple(StructureScore(*row) for row in zip(*columns, strict=True))
