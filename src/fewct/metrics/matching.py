"""One-to-one matching of predicted structures to true ones, and panoptic quality."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewct.metrics.contingency import Contingency, Counts, as_table
from fewct.metrics.overlap import Overlap, Values, mean_defined, structure_overlaps


@dataclass(frozen=True, eq=False)
class Matching:
    """For each true structure the predicted one matched to it, each predicted one used at most once.

    Args:
        true_ids: int64 (n,): labels of the true structures, ascending.
        pred_ids: int64 (n,): label of each one's match, 0 where it has none.
        iou: float64 (n,): metric of each match, 0 where there is none; so are `dice`, `precision` and
            `recall`.
    """

    true_ids: Counts
    pred_ids: Counts
    iou: Values
    dice: Values
    precision: Values
    recall: Values

    def mean(self) -> Overlap:
        """Return the means over the true structures, a missed one counting 0; NaN without any."""
        return Overlap(
            mean_defined(self.iou),
            mean_defined(self.dice),
            mean_defined(self.precision),
            mean_defined(self.recall),
        )


@dataclass(frozen=True)
class PanopticQuality:
    """Panoptic quality, the product of recognition quality and segmentation quality.

    Args:
        pq: Panoptic quality, sum of the matches' IoU / (tp + fp / 2 + fn / 2), which is sq * rq.
        sq: Segmentation quality, mean IoU of the matches.
        rq: Recognition quality, tp / (tp + fp / 2 + fn / 2): the F1 score of the matches.
        tp: Matches: pairs of a true and a predicted structure with an IoU above 0.5.
        fp: Predicted structures without a match.
        fn: True structures without a match.
    """

    pq: float
    sq: float
    rq: float
    tp: int
    fp: int
    fn: int


def match_structures(truth: NDArray[Any] | Contingency, prediction: NDArray[Any] | None = None) -> Matching:
    """Match predicted structures to true ones, one to one, so that the sum of their IoU is the largest.

    It is the assignment problem, solved exactly (Hungarian method; Kuhn 1955,
    https://doi.org/10.1002/nav.3800020109). Structures that do not overlap are never matched.

    Returns:
        One entry for each true structure.

    Raises:
        InputError: If one is not a label map, or their shapes differ.

    Example:
        >>> matching = match_structures(np.array([[1, 1, 1, 2]]), np.array([[7, 7, 8, 8]]))
        >>> matching.pred_ids, matching.iou.round(2)
        (array([7, 8]), array([0.67, 0.5 ]))
    """
    from scipy.optimize import (
        linear_sum_assignment,
    )  # here and in `surface`: metrics are listed without SciPy

    pairs = structure_overlaps(truth, prediction)
    rows, columns = linear_sum_assignment(pairs.iou, maximize=True)
    overlapping = pairs.iou[rows, columns] > 0
    rows, columns = rows[overlapping], columns[overlapping]
    n = len(pairs.true_ids)
    pred_ids = np.zeros(n, dtype=np.int64)
    pred_ids[rows] = pairs.pred_ids[columns]
    metrics = np.zeros((4, n))
    metrics[:, rows] = [
        matrix[rows, columns] for matrix in (pairs.iou, pairs.dice, pairs.precision, pairs.recall)
    ]
    return Matching(pairs.true_ids, pred_ids, *metrics)


def panoptic_quality(
    truth: NDArray[Any] | Contingency,
    prediction: NDArray[Any] | None = None,
    *,
    ignore_unlabelled: bool = False,
) -> PanopticQuality:
    """Return panoptic quality of structures without class (Kirillov et al. 2019).

    A true and a predicted structure match if their IoU is above 0.5; no structure can have two such
    partners (https://doi.org/10.1109/CVPR.2019.00963).

    Args:
        truth: Label map, or the table of both.
        prediction: Label map of the same shape; None with a table.
        ignore_unlabelled: For partial truth, where 0 means unknown: leave those pixels out of the IoU,
            and do not count as false a predicted structure with most of its pixels (more than half)
            there, as the paper does with its void pixels. `pq` and `rq` are then upper bounds, and
            without this option, where they count as background, lower bounds; `sq`, a mean over other
            matches, has no bounds.

    Returns:
        The metrics. `sq` is NaN without matches; `pq` and `rq` are NaN if there is no structure in
        either map, 0 if they have no match.

    Raises:
        InputError: If one is not a label map, or their shapes differ.

    Example:
        >>> truth, prediction = np.array([[1, 1, 1, 0, 0]]), np.array([[1, 1, 0, 2, 2]])
        >>> panoptic_quality(truth, prediction)
        PanopticQuality(pq=0.4444444444444444, sq=0.6666666666666666, rq=0.6666666666666666, tp=1, fp=1, fn=0)
        >>> panoptic_quality(truth, prediction, ignore_unlabelled=True).rq
        1.0
    """
    table = as_table(truth, prediction)
    counted = table.labelled() if ignore_unlabelled else table
    pairs = structure_overlaps(counted)
    matched = pairs.iou > 0.5
    tp, total_iou = int(matched.sum()), float(pairs.iou[matched].sum())
    sizes = table.pred_sizes[np.searchsorted(table.pred_ids, pairs.pred_ids)]
    counted_sizes = counted.pred_sizes[counted.pred_ids > 0]
    fp = int((~matched.any(axis=0) & (2 * counted_sizes >= sizes)).sum())
    fn = len(pairs.true_ids) - tp
    weight = tp + fp / 2 + fn / 2
    return PanopticQuality(
        pq=total_iou / weight if weight else math.nan,
        sq=total_iou / tp if tp else math.nan,
        rq=tp / weight if weight else math.nan,
        tp=tp,
        fp=fp,
        fn=fn,
    )
