"""Scores as in Table 1 of the founding paper, for comparison with it and with nothing else.

Each proposed mask is compared with the union of all true structures, and the metrics are averaged over all
(mask, image) pairs. A perfect answer does not score 1 there but about one over the number of structures, and
one mask over everything scores 1: `docs/concepts/paper-scores.md` shows it.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewct.errors import InputError, as_slice_labels, check_same_shape
from fewct.imaging.labelmap import labels_on_grid
from fewct.imaging.masks import proposals_from_labels
from fewct.metrics import adjusted_rand_index, contingency, foreground_overlap, mean_defined, rand_index
from fewct.metrics.contingency import Contingency
from fewct.types import LabelMap, Mask, MaskProposals


@dataclass(frozen=True)
class MaskScores:
    """One mask against a union of structures, or the mean over many masks; what is undefined is NaN.

    Args:
        iou: Intersection over union.
        dice: Dice coefficient, "DSC" in the paper.
        precision: Share of the mask that lies in the union.
        recall: Share of the union that the mask covers.
        ari: Adjusted Rand index of the two binary images. The paper's "Rand index" of 0.0067 can only be
            this one: the plain index of two masks that both miss most of the slice is far higher.
        rand_index: The plain Rand index of the two.
    """

    iou: float
    dice: float
    precision: float
    recall: float
    ari: float
    rand_index: float


@dataclass(frozen=True)
class PaperScores:
    """Means over all pairs of a mask and its image.

    Args:
        meant: Against the union of the true structures.
        coded: Against what the paper's code took for the union; see `union_as_coded`.
        n_pairs: Number of (mask, image) pairs.
        n_images: Number of images.
    """

    meant: MaskScores
    coded: MaskScores
    n_pairs: int
    n_images: int


def union_as_meant(labels: NDArray[Any]) -> Mask:
    """Return the mask of all structures together.

    Args:
        labels: Label map (rows, columns), 0 for background.

    Raises:
        InputError: If it is no label map of a slice.

    Example:
        >>> union_as_meant(np.array([[0, 1, 2, 2, 0]]))
        array([[False,  True,  True,  True, False]])
    """
    return as_slice_labels(labels) > 0


def union_as_coded(labels: NDArray[Any]) -> Mask:
    """Return what is left of the union after run lengths made for binary masks, as in the paper's code.

    COCO's run lengths name no values: a new run starts wherever the value changes, reading down the columns,
    and runs are background, foreground, background, ... in turn. That holds for two values. Where two
    structures of a label map touch, the change from one to the other starts a "background" run; all that
    follows is inverted, until the next such place inverts it back.

    Args:
        labels: Label map (rows, columns), 0 for background.

    Returns:
        The decoded mask, bool (rows, columns): `union_as_meant` where no structures touch along a column.

    Raises:
        InputError: If it is no label map of a slice.

    Example:
        The second structure touches the first and is taken for background, the background below it for
        a structure.

        >>> union_as_coded(np.array([[0], [1], [1], [2], [2], [0]])).ravel()
        array([False,  True,  True, False, False,  True])
    """
    flat = as_slice_labels(labels).ravel(order="F")
    runs_before = np.cumsum(np.diff(flat, prepend=0) != 0)
    mask: Mask = (runs_before % 2 == 1).reshape(labels.shape, order="F")
    return mask


def score_mask(union: Mask, mask: Mask) -> MaskScores:
    """Compare one mask with the union of all structures.

    Args:
        union: bool (rows, columns), from `union_as_meant` or `union_as_coded`.
        mask: One proposal, bool (rows, columns).

    Raises:
        InputError: If the shapes differ.

    Example:
        A structure found exactly covers its share of the union, and no more.

        >>> truth = np.array([[0, 1, 1, 2, 2, 3, 3, 4, 4, 0]])
        >>> score_mask(union_as_meant(truth), truth == 1).iou
        0.25
    """
    return _scores(contingency(union, mask))


def paper_scores(truth: Sequence[NDArray[Any]], proposals: Sequence[MaskProposals]) -> PaperScores:
    """Score the proposals of some images as the paper's Table 1 did.

    Args:
        truth: Label map (rows, columns) of each image.
        proposals: The masks proposed on each image, in the same order.

    Returns:
        The means over all pairs of a mask and its image; NaN without any mask.

    Raises:
        InputError: If the numbers of images differ, or the shapes do.

    Example:
        >>> from fewct.imaging.masks import proposals_from_labels
        >>> truth = np.array([[0, 1, 1, 2, 2, 3, 3, 4, 4, 0]])
        >>> perfect = paper_scores([truth], [proposals_from_labels(truth)])
        >>> one_blob = paper_scores([truth], [proposals_from_labels(truth > 0)])
        >>> perfect.meant.iou, one_blob.meant.iou
        (0.25, 1.0)
    """
    if len(truth) != len(proposals):
        raise InputError(
            "proposals",
            expected=f"masks for each of {len(truth)} images",
            found=f"masks for {len(proposals)}",
            fix="Score the same images in the same order.",
        )
    meant: list[MaskScores] = []
    coded: list[MaskScores] = []
    for labels, masks in zip(truth, proposals, strict=True):
        unions = union_as_meant(labels), union_as_coded(labels)
        for index in range(len(masks)):
            mask = masks.mask(index)
            for union, scores in zip(unions, (meant, coded), strict=True):
                scores.append(score_mask(union, mask))
    return PaperScores(_mean(meant), _mean(coded), len(meant), len(truth))


def score_as_paper(truth: LabelMap, prediction: LabelMap | Sequence[MaskProposals]) -> PaperScores:
    """Score a prediction of a slice or scan as the paper's Table 1 did, slice by slice.

    Args:
        truth: The true label map.
        prediction: A label map, each structure of which is a mask on each of its slices, placed on truth's
            grid where both places are known; or proposals, one record a slice.

    Raises:
        InputError: If the two cannot be compared.
    """
    stack = truth.labels.reshape((-1, *truth.labels.shape[-2:]))
    if not isinstance(prediction, LabelMap):
        return paper_scores(list(stack), prediction)
    predicted = labels_on_grid(prediction, truth.geometry, truth.labels.shape)
    check_same_shape(truth.labels, predicted, ("truth", "prediction"))
    return paper_scores(
        list(stack), [proposals_from_labels(labels) for labels in predicted.reshape(stack.shape)]
    )


def _scores(table: Contingency) -> MaskScores:
    """Return the metrics of two binary images from their table."""
    overlap = foreground_overlap(table)
    return MaskScores(
        overlap.iou,
        overlap.dice,
        overlap.precision,
        overlap.recall,
        ari=adjusted_rand_index(table),
        rand_index=rand_index(table),
    )


def _mean(scores: Iterable[MaskScores]) -> MaskScores:
    """Return the mean of each metric over the pairs on which it is defined."""
    columns = np.array([[getattr(row, field.name) for field in fields(MaskScores)] for row in scores])
    if not columns.size:
        return MaskScores(*[math.nan] * len(fields(MaskScores)))
    return MaskScores(*(mean_defined(column) for column in columns.T))
