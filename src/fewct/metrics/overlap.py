"""IoU, Dice, precision and recall: of structures, of the whole foreground, of named classes."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fewct.metrics.contingency import Contingency, Counts, as_table

Values: TypeAlias = Annotated[NDArray[np.float64], "n"]
ValueMatrix: TypeAlias = Annotated[NDArray[np.float64], "n m"]


@dataclass(frozen=True)
class Overlap:
    """Overlap of two masks, each value in [0, 1].

    Args:
        iou: Intersection over union.
        dice: Twice the intersection over the sum of both sizes.
        precision: Intersection over the size of the prediction.
        recall: Intersection over the size of the truth.
    """

    iou: float
    dice: float
    precision: float
    recall: float


@dataclass(frozen=True, eq=False)
class StructureOverlaps:
    """The same four metrics for each true structure with each predicted one.

    Args:
        true_ids: int64 (n,): labels of the true structures, ascending, without background.
        pred_ids: int64 (m,): labels of the predicted structures, likewise.
        iou: float64 (n, m); so are `dice`, `precision` and `recall`.
    """

    true_ids: Counts
    pred_ids: Counts
    iou: ValueMatrix
    dice: ValueMatrix
    precision: ValueMatrix
    recall: ValueMatrix


def structure_overlaps(
    truth: NDArray[Any] | Contingency, prediction: NDArray[Any] | None = None
) -> StructureOverlaps:
    """Return IoU, Dice, precision and recall of each true structure with each predicted one.

    Returns:
        Four dense matrices (true structures, predicted structures). Background is in none of them.

    Raises:
        InputError: If one is not a label map, or their shapes differ.

    Example:
        >>> structure_overlaps(np.array([[1, 1, 2, 0]]), np.array([[3, 4, 4, 4]])).recall
        array([[0.5, 0.5],
               [0. , 1. ]])
    """
    table = as_table(truth, prediction)
    counts = np.zeros((len(table.true_ids), len(table.pred_ids)))
    counts[table.rows, table.columns] = table.counts
    true, pred = table.true_ids > 0, table.pred_ids > 0
    both = counts[np.ix_(true, pred)]
    true_sizes, pred_sizes = table.true_sizes[true, None], table.pred_sizes[None, pred]
    return StructureOverlaps(
        table.true_ids[true],
        table.pred_ids[pred],
        iou=both / (true_sizes + pred_sizes - both),
        dice=2 * both / (true_sizes + pred_sizes),
        precision=both / pred_sizes,
        recall=both / true_sizes,
    )


def best_iou(truth: NDArray[Any] | Contingency, prediction: NDArray[Any] | None = None) -> Values:
    """Return for each true structure its highest IoU with a predicted structure.

    One predicted structure may be the best of several true ones.

    Returns:
        float64 (true structures,), in the order of their labels; 0 where nothing overlaps.

    Raises:
        InputError: If one is not a label map, or their shapes differ.

    Example:
        >>> best_iou(np.array([[1, 1, 2, 0]]), np.array([[3, 3, 3, 0]]))
        array([0.66666667, 0.33333333])
    """
    best: Values = structure_overlaps(truth, prediction).iou.max(axis=1, initial=0.0)
    return best


def mean_best_iou(truth: NDArray[Any] | Contingency, prediction: NDArray[Any] | None = None) -> float:
    """Return the mean of `best_iou` over the true structures.

    Predicted structures without a true one do not count, so the mean is sound where truth is partial.

    Returns:
        A value in [0, 1]; NaN without true structures.

    Raises:
        InputError: If one is not a label map, or their shapes differ.
    """
    return mean_defined(best_iou(truth, prediction))


def foreground_overlap(
    truth: NDArray[Any] | Contingency,
    prediction: NDArray[Any] | None = None,
    *,
    ignore_unlabelled: bool = False,
) -> Overlap:
    """Return IoU, Dice, precision and recall of all structures together: foreground against background.

    Args:
        truth: Label map, or the table of both.
        prediction: Label map of the same shape; None with a table.
        ignore_unlabelled: For partial truth, where 0 means unknown: leave those pixels out. Each metric
            is then an upper bound, and without this option, where they count as background, a lower
            bound.

    Returns:
        The four metrics. NaN are: precision if nothing is predicted, recall if truth has no structure,
        IoU and Dice if both hold.

    Raises:
        InputError: If one is not a label map, or their shapes differ.

    Example:
        >>> foreground_overlap(np.array([[0, 0, 1, 2]]), np.array([[0, 1, 1, 1]]))
        Overlap(iou=0.6666666666666666, dice=0.8, precision=0.6666666666666666, recall=1.0)
        >>> foreground_overlap(np.array([[0, 0, 1, 2]]), np.array([[0, 1, 1, 1]]), ignore_unlabelled=True)
        Overlap(iou=1.0, dice=1.0, precision=1.0, recall=1.0)
    """
    table = as_table(truth, prediction)
    if ignore_unlabelled:
        table = table.labelled()
    in_truth, in_pred = table.true_ids[table.rows] > 0, table.pred_ids[table.columns] > 0
    true_size, pred_size = int(table.counts[in_truth].sum()), int(table.counts[in_pred].sum())
    both = int(table.counts[in_truth & in_pred].sum())
    return Overlap(
        iou=_ratio(both, true_size + pred_size - both),
        dice=_ratio(2 * both, true_size + pred_size),
        precision=_ratio(both, pred_size),
        recall=_ratio(both, true_size),
    )


def class_dice(
    truth: NDArray[Any] | Contingency,
    prediction: NDArray[Any] | None = None,
    *,
    classes: Sequence[int],
    annotated: Collection[int] | None = None,
) -> Values:
    """Return the Dice coefficient of each named class on one image: labels mean the same in both maps.

    Dice = 2 |truth and prediction| / (|truth| + |prediction|). Where only some classes were annotated, two
    calls bound the score: with `annotated` the other classes are unknown and left out (upper bound);
    without, they count as empty, and a prediction of them as wrong (lower bound).

    Args:
        truth: Label map, or the table of both.
        prediction: Label map of the same shape; None with a table.
        classes: The labels to score.
        annotated: The labels that were annotated on this image; None for all.

    Returns:
        float64 (classes,), in the order of `classes`. NaN where a class is in neither map, or was not
        annotated.

    Raises:
        InputError: If one is not a label map, or their shapes differ.

    Example:
        >>> truth, prediction = np.array([[1, 1, 0, 0]]), np.array([[1, 0, 2, 2]])
        >>> class_dice(truth, prediction, classes=[1, 2, 3])
        array([0.66666667, 0.        ,        nan])
        >>> class_dice(truth, prediction, classes=[1, 2, 3], annotated=[1])
        array([0.66666667,        nan,        nan])
    """
    table = as_table(truth, prediction)
    true_sizes = dict(zip(table.true_ids.tolist(), table.true_sizes.tolist(), strict=True))
    pred_sizes = dict(zip(table.pred_ids.tolist(), table.pred_sizes.tolist(), strict=True))
    same = table.true_ids[table.rows] == table.pred_ids[table.columns]
    shared = dict(zip(table.true_ids[table.rows[same]].tolist(), table.counts[same].tolist(), strict=True))
    return np.array(
        [
            _ratio(2 * shared.get(label, 0), true_sizes.get(label, 0) + pred_sizes.get(label, 0))
            if annotated is None or label in annotated
            else math.nan
            for label in classes
        ]
    )


def mean_class_dice(dice: ValueMatrix) -> float:
    """Return the mean over classes of the mean over images, without what is undefined.

    Args:
        dice: float64 (images, classes): one row of `class_dice` an image.

    Returns:
        A value in [0, 1]; NaN if no class is defined on any image.

    Example:
        >>> mean_class_dice(np.array([[1.0, 0.2, np.nan], [np.nan, 0.4, np.nan]]))
        0.65
    """
    return mean_defined(np.array([mean_defined(column) for column in np.asarray(dice).T]))


def mean_defined(values: Values) -> float:
    """Return the mean of the values that are not NaN; NaN if there are none."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else math.nan


def _ratio(part: int, whole: int) -> float:
    """Return part / whole, NaN for nothing of nothing."""
    return part / whole if whole else math.nan
