"""Scores as in Table 1 of the founding paper, for comparison with it and with nothing else.

Each proposed mask is compared with the union of all true structures, and the metrics are averaged over all
(mask, image) pairs. A perfect prediction scores about one over the number of structures, and one mask over
everything scores 1: see `docs/concepts/paper-scores.md`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewct.errors import InputError, as_slice_labels, check_same_shape
from fewct.imaging.labelmap import labels_on_grid
from fewct.imaging.masks import proposals_from_labels
from fewct.metrics import (
    Overlap,
    adjusted_rand_index,
    contingency,
    foreground_overlap,
    mean_defined,
    rand_index,
)
from fewct.types import LabelMap, Mask, MaskProposals


@dataclass(frozen=True)
class MaskScores(Overlap):
    """One mask against a union of structures, or the mean over many masks; what is undefined is NaN.

    Args:
        ari: Adjusted Rand index of the two binary images. The paper's "Rand index" of 0.0067 can only be
            this one: the plain index of two masks that both miss most of the slice is far higher.
        rand_index: The plain Rand index of the two.
    """

    ari: float
    rand_index: float


@dataclass(frozen=True)
class PaperScores:
    """Means over all pairs of a mask and its image.

    Args:
        meant: Against the union of the true structures.
        coded: Against what the paper's code took for the union; see `union_as_coded`.
        n_pairs: Number of (mask, image) pairs, of `n_images` images.
    """

    meant: MaskScores
    coded: MaskScores
    n_pairs: int
    n_images: int


def union_as_meant(labels: NDArray[Any]) -> Mask:
    """Return the mask of all structures together, bool (rows, columns).

    Raises:
        InputError: If `labels` is no label map of a slice.
    """
    return as_slice_labels(labels) > 0


def union_as_coded(labels: NDArray[Any]) -> Mask:
    """Return the union after COCO's run lengths, which are made for binary masks, as in the paper's code.

    Run lengths name no values: reading down the columns, a new run starts wherever the value changes, and
    runs are background, foreground, background, ... in turn. Where two structures of a label map touch, the
    change from one to the other starts a "background" run: all that follows is inverted, up to the next such
    place.

    Args:
        labels: Label map (rows, columns), 0 for background.

    Returns:
        The decoded mask, bool (rows, columns): `union_as_meant` where no structures touch along a column.

    Raises:
        InputError: If it is no label map of a slice.

    Example:
        The second structure is taken for background, the background below it for a structure.

        >>> union_as_coded(np.array([[0], [1], [1], [2], [2], [0]])).ravel()
        array([False,  True,  True, False, False,  True])
    """
    flat = as_slice_labels(labels).ravel(order="F")
    runs_before = np.cumsum(np.diff(flat, prepend=0) != 0)
    mask: Mask = (runs_before % 2 == 1).reshape(labels.shape, order="F")
    return mask


def score_mask(union: Mask, mask: Mask) -> MaskScores:
    """Compare one mask, bool (rows, columns), with the union of all structures.

    Raises:
        InputError: If the shapes differ.

    Example:
        >>> truth = np.array([[0, 1, 1, 2, 2, 3, 3, 4, 4, 0]])
        >>> score_mask(union_as_meant(truth), truth == 1).iou
        0.25
    """
    table = contingency(union, mask)
    overlap = vars(foreground_overlap(table))
    return MaskScores(**overlap, ari=adjusted_rand_index(table), rand_index=rand_index(table))


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


def _mean(scores: Iterable[MaskScores]) -> MaskScores:
    """Return the mean of each metric over the pairs on which it is defined."""
    columns = np.array([astuple(row) for row in scores]).reshape(-1, len(fields(MaskScores))).T
    return MaskScores(*(mean_defined(column) for column in columns))
