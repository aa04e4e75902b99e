"""What each figure means, and what it means where truth is partial. Light: the command line imports it."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeAlias

TruthKind: TypeAlias = Literal["complete", "partial"]
OnPartial: TypeAlias = Literal["sound", "lower bound", "upper bound", "misleading"]


@dataclass(frozen=True)
class Figure:
    """One figure of a method on a slice.

    Args:
        title: What it is.
        on_partial: What it is worth where truth holds only some of the structures and 0 means unknown.
            Sound: nobody is punished for a structure that nobody annotated.
        higher_is_better: Whether more is better; None for a mere count.
    """

    title: str
    on_partial: OnPartial = "sound"
    higher_is_better: bool | None = True


FIGURES: Mapping[str, Figure] = MappingProxyType(
    {
        "ari": Figure("adjusted Rand index, all pixels", "misleading"),
        "ari_foreground": Figure("adjusted Rand index, truth-foreground pixels"),
        "rand_index": Figure("Rand index, all pixels", "misleading"),
        "rand_index_foreground": Figure("Rand index, truth-foreground pixels"),
        "mean_best_iou": Figure("mean best IoU of true structures"),
        "matched_iou": Figure("IoU, matched one to one"),
        "matched_dice": Figure("Dice, matched one to one"),
        "matched_precision": Figure("precision, matched one to one"),
        "matched_recall": Figure("recall, matched one to one"),
        "pq": Figure("panoptic quality", "lower bound"),
        "pq_upper": Figure("panoptic quality, unlabelled pixels left out", "upper bound"),
        "sq": Figure("segmentation quality of matches above IoU 0.5"),
        "rq": Figure("recognition quality (F1 of such matches)", "lower bound"),
        "rq_upper": Figure("recognition quality, unlabelled pixels left out", "upper bound"),
        "foreground_iou": Figure("IoU of all structures together", "lower bound"),
        "foreground_iou_upper": Figure("the same, unlabelled pixels left out", "upper bound"),
        "foreground_dice": Figure("Dice of all structures together", "lower bound"),
        "foreground_dice_upper": Figure("the same, unlabelled pixels left out", "upper bound"),
        "foreground_precision": Figure("precision of all structures together", "lower bound"),
        "foreground_precision_upper": Figure("the same, unlabelled pixels left out", "upper bound"),
        "foreground_recall": Figure("recall of all structures together"),
        "surface_dice": Figure("normalised surface Dice"),
        "hausdorff_95_mm": Figure("95 % Hausdorff distance of matches, mm", higher_is_better=False),
        "tp": Figure("matches above IoU 0.5"),
        "fp": Figure("predicted structures without such a match", "misleading", higher_is_better=False),
        "fn": Figure("true structures without such a match", higher_is_better=False),
        "n_true": Figure("true structures", "misleading", higher_is_better=None),
        "n_predicted": Figure("predicted structures", higher_is_better=None),
        "seconds": Figure("seconds a slice, one thread", higher_is_better=False),
        "peak_memory_mb": Figure("peak memory of the process, MB", higher_is_better=False),
    }
)
"""All figures of a row, in the order of the tables."""

MAIN: Mapping[TruthKind, str] = MappingProxyType({"complete": "ari_foreground", "partial": "mean_best_iou"})
"""The figure by which pictures compare methods. It is not the challenge's index on all pixels: background
fills most of a slice, and a method that finds nothing else scores high there."""


def meaningful(figure: str, truth: TruthKind) -> bool:
    """Tell whether a figure says anything on truth of a kind.

    Example:
        >>> meaningful("ari", "partial"), meaningful("mean_best_iou", "partial")
        (False, True)
    """
    if truth == "complete":
        return FIGURES[figure].on_partial != "upper bound"
    return FIGURES[figure].on_partial != "misleading"
