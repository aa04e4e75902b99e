"""All metrics of a contingency table in one record."""

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from fewct.metrics.contingency import Contingency, as_table
from fewct.metrics.matching import PanopticQuality, match_structures, panoptic_quality
from fewct.metrics.overlap import Overlap, foreground_overlap, mean_best_iou
from fewct.metrics.rand import adjusted_rand_index, foreground_ari, rand_index


@dataclass(frozen=True)
class Scores:
    """The metrics of one pair of label maps, see `fewct.metrics.catalog`; what is undefined is NaN.

    Args:
        ari_foreground: As `fewct.metrics.foreground_ari`: NaN with fewer than two true structures.
        matched: Means over true structures after one-to-one matching; a missed one counts 0.
        foreground: Overlap of all structures together.
        panoptic: Panoptic quality at an IoU above 0.5.
        foreground_upper: For partial truth, the upper bound of `foreground`, which is then the lower;
            None for complete truth.
        panoptic_upper: The same for `panoptic`.
    """

    n_true: int
    n_predicted: int
    rand_index: float
    rand_index_foreground: float
    ari: float
    ari_foreground: float
    mean_best_iou: float
    matched: Overlap
    foreground: Overlap
    panoptic: PanopticQuality
    foreground_upper: Overlap | None = None
    panoptic_upper: PanopticQuality | None = None

    def as_dict(self) -> dict[str, float]:
        """Return all metrics by name, flat: `ari`, `matched_iou`, `foreground_dice`, `pq` and so on.

        For partial truth, the five that unlabelled pixels can raise come a second time, as
        `foreground_iou_upper`, `foreground_dice_upper`, `foreground_precision_upper`, `pq_upper` and
        `rq_upper`.

        Example:
            >>> import numpy as np
            >>> scores = score(np.array([[0, 1, 2]]), np.array([[0, 1, 1]])).as_dict()
            >>> scores["matched_dice"], scores["tp"]
            (0.3333333333333333, 0)
        """
        flat = {name: value for name, value in vars(self).items() if isinstance(value, int | float)}
        flat |= {f"matched_{name}": value for name, value in vars(self.matched).items()}
        flat |= {f"foreground_{name}": value for name, value in vars(self.foreground).items()}
        flat |= vars(self.panoptic)
        if self.foreground_upper is not None and self.panoptic_upper is not None:
            flat["foreground_iou_upper"] = self.foreground_upper.iou
            flat["foreground_dice_upper"] = self.foreground_upper.dice
            flat["foreground_precision_upper"] = self.foreground_upper.precision
            flat["pq_upper"] = self.panoptic_upper.pq
            flat["rq_upper"] = self.panoptic_upper.rq
        return flat


def score(
    truth: NDArray[Any] | Contingency, prediction: NDArray[Any] | None = None, *, partial: bool = False
) -> Scores:
    """Return all metrics that count pixels, from one contingency table.

    Args:
        truth: Label map, or the table of both.
        prediction: Label map of the same shape; None with a table.
        partial: Truth holds only some of the structures, and 0 means unknown: give upper bounds, too.

    Raises:
        InputError: If one is not a label map, or their shapes differ.

    Example:
        >>> import numpy as np
        >>> score(np.array([[0, 0, 1, 2]]), np.array([[0, 0, 5, 6]])).ari
        1.0
    """
    table = as_table(truth, prediction)
    return Scores(
        n_true=int((table.true_ids > 0).sum()),
        n_predicted=int((table.pred_ids > 0).sum()),
        rand_index=rand_index(table),
        rand_index_foreground=rand_index(table, foreground_only=True),
        ari=adjusted_rand_index(table),
        ari_foreground=foreground_ari(table),
        mean_best_iou=mean_best_iou(table),
        matched=match_structures(table).mean(),
        foreground=foreground_overlap(table),
        panoptic=panoptic_quality(table),
        foreground_upper=foreground_overlap(table, ignore_unlabelled=True) if partial else None,
        panoptic_upper=panoptic_quality(table, ignore_unlabelled=True) if partial else None,
    )
