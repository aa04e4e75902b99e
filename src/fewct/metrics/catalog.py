"""The catalog of metrics: title, validity on partial truth, direction. Light: the command line imports it."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeAlias

TruthKind: TypeAlias = Literal["complete", "partial"]
Validity: TypeAlias = Literal["sound", "lower bound", "upper bound", "misleading"]


@dataclass(frozen=True)
class Metric:
    """One metric of a method on a slice.

    Args:
        title: As tables show it.
        on_partial_truth: How it is to be read where truth holds only some of the structures and 0 means
            unknown. Sound: predicted structures that nobody annotated do not change it.
        higher_is_better: None for counts.
    """

    title: str
    on_partial_truth: Validity = "sound"
    higher_is_better: bool | None = True


METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        "ari": Metric("adjusted Rand index, all pixels", "misleading"),
        "ari_foreground": Metric("adjusted Rand index, truth-foreground pixels"),
        "rand_index": Metric("Rand index, all pixels", "misleading"),
        "rand_index_foreground": Metric("Rand index, truth-foreground pixels"),
        "mean_best_iou": Metric("mean best IoU of true structures"),
        "matched_iou": Metric("IoU, matched one to one"),
        "matched_dice": Metric("Dice, matched one to one"),
        "matched_precision": Metric("precision, matched one to one"),
        "matched_recall": Metric("recall, matched one to one"),
        "pq": Metric("panoptic quality", "lower bound"),
        "pq_upper": Metric("panoptic quality, unlabelled pixels left out", "upper bound"),
        "sq": Metric("segmentation quality of matches above IoU 0.5"),
        "rq": Metric("recognition quality (F1 of such matches)", "lower bound"),
        "rq_upper": Metric("recognition quality, unlabelled pixels left out", "upper bound"),
        "foreground_iou": Metric("IoU of all structures together", "lower bound"),
        "foreground_iou_upper": Metric("the same, unlabelled pixels left out", "upper bound"),
        "foreground_dice": Metric("Dice of all structures together", "lower bound"),
        "foreground_dice_upper": Metric("the same, unlabelled pixels left out", "upper bound"),
        "foreground_precision": Metric("precision of all structures together", "lower bound"),
        "foreground_precision_upper": Metric("the same, unlabelled pixels left out", "upper bound"),
        "foreground_recall": Metric("recall of all structures together"),
        "surface_dice": Metric("normalised surface Dice"),
        "hausdorff_95_mm": Metric("95 % Hausdorff distance of matches, mm", higher_is_better=False),
        "tp": Metric("matches above IoU 0.5"),
        "fp": Metric("predicted structures without such a match", "misleading", higher_is_better=False),
        "fn": Metric("true structures without such a match", higher_is_better=False),
        "n_true": Metric("true structures", "misleading", higher_is_better=None),
        "n_predicted": Metric("predicted structures", higher_is_better=None),
        "seconds": Metric("seconds a slice, one thread", higher_is_better=False),
        "peak_memory_mb": Metric("peak memory of the process, MB", higher_is_better=False),
    }
)
"""All metrics of a row, in the order of the tables."""

MAIN_METRIC: Mapping[TruthKind, str] = MappingProxyType(
    {"complete": "ari_foreground", "partial": "mean_best_iou"}
)
"""The metric by which figures compare methods. It is not the challenge's index on all pixels: background
fills most of a slice, and a method that predicts nothing else scores high there."""


def is_interpretable(metric: str, truth: TruthKind) -> bool:
    """Tell whether a metric means anything on a kind of truth.

    Example:
        >>> is_interpretable("ari", "partial"), is_interpretable("mean_best_iou", "partial")
        (False, True)
    """
    if truth == "complete":
        return METRICS[metric].on_partial_truth != "upper bound"
    return METRICS[metric].on_partial_truth != "misleading"
