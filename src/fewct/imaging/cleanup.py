"""Clean-up of a result: area limits, and what lies outside the body."""

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fewct.errors import InputError, UsageError, as_labels, check_same_shape
from fewct.imaging.labelmap import count_ids, filter_by_area, relabel_sequential
from fewct.imaging.masks import Area, boxes_from_masks, parse_area
from fewct.types import CTSlice, Labels, Mask, MaskProposals

MOSTLY = 0.5  # a structure with a smaller share of its pixels inside the body lies outside


@dataclass(frozen=True)
class Cleanup:
    """Which structures stay in a result.

    Raises:
        UsageError: If a limit cannot be read, or the smallest exceeds the largest.
    """

    min_area: str = "0px"
    """Drop structures smaller than this on a slice: a number in px, mm2, or % of the body."""
    max_area: str | None = None
    """Drop structures larger than this on a slice: a number in px, mm2, or % of the body; None: no limit."""
    body_only: bool = False
    """Drop what lies outside the patient: air around, table, head rests."""

    def __post_init__(self) -> None:
        smallest, largest = self._limits
        if smallest.unit == largest.unit and smallest.value > largest.value:
            raise self._crossing()

    @property
    def needs_body(self) -> bool:
        """Whether the patient must be found on the slice to apply this."""
        return self.body_only or any(limit.unit == "%" for limit in self._limits)

    def limits_px(self, image: CTSlice, body: Mask) -> tuple[float, float]:
        """Return the smallest and the largest area in pixels of a slice.

        Raises:
            UsageError: If a limit is in mm2 and the slice has no spacing, or the limits cross.
        """
        body_px = int(np.count_nonzero(body))
        smallest, largest = (limit.in_pixels(image.pixel_area_mm2, body_px) for limit in self._limits)
        if smallest > largest:
            raise self._crossing()
        return smallest, largest

    @property
    def _limits(self) -> tuple[Area, Area]:
        largest = Area(np.inf, "px") if self.max_area is None else parse_area(self.max_area)
        return parse_area(self.min_area), largest

    def _crossing(self) -> UsageError:
        return UsageError(
            "min_area and max_area",
            expected="a smallest area up to the largest one",
            found=f"{self.min_area} and {self.max_area}",
            fix="Raise max_area or lower min_area.",
        )


def clean(
    labels: NDArray[Any],
    image: CTSlice,
    cleanup: Cleanup,
    scores: ArrayLike | None = None,
    body: Mask | None = None,
) -> tuple[Labels, Annotated[NDArray[np.float32], "n"]]:
    """Remove what lies outside the body and outside the area limits, and number the rest 1 .. n.

    With `body_only`, structures mostly outside the body go, the others are clipped to it, and the limits
    apply to what is left.

    Args:
        labels: Label map (rows, columns).
        image: The slice that it belongs to.
        cleanup: What stays.
        scores: One for each id, so that structure k has `scores[k - 1]`; NaN by default.
        body: bool (rows, columns): the patient, as `body_mask` finds it; None to find it where it is needed.

    Returns:
        int32 (rows, columns) and float32 (n,), the scores of the structures left.

    Raises:
        InputError: If labels and slice differ in shape or a structure has no score.
        UsageError: If a limit is in mm2 and the slice has no spacing, or the limits cross.
    """
    labels = as_labels(labels)
    check_same_shape(labels, image.pixels, ("labels", "slice"))
    body = _body(image, cleanup) if body is None else body
    if cleanup.body_only:
        labels = _clip_labels(labels, body)
    cleaned, ids = relabel_sequential(filter_by_area(labels, *cleanup.limits_px(image, body)))
    return cleaned, _scores_of(ids, scores)


def clean_proposals(
    proposals: MaskProposals, image: CTSlice, cleanup: Cleanup, body: Mask | None = None
) -> MaskProposals:
    """Remove proposals outside the body and outside the area limits, before they are suppressed and merged.

    Args:
        proposals: Masks on the slice.
        image: The slice.
        cleanup: What stays.
        body: As for `clean`.

    Returns:
        The proposals left, in their order; with `body_only` clipped to the body. Empty ones go.

    Raises:
        InputError: If proposals and slice differ in shape.
        UsageError: If a limit is in mm2 and the slice has no spacing, or the limits cross.
    """
    if proposals.shape != image.shape:
        raise InputError(
            "proposals",
            expected=f"masks of the slice's shape {image.shape}",
            found=f"shape {proposals.shape}",
            fix="Resize the masks to the slice.",
        )
    body = _body(image, cleanup) if body is None else body
    smallest, largest = cleanup.limits_px(image, body)
    if cleanup.body_only:
        proposals = _clip(proposals, body)
    areas = proposals.areas
    return proposals.keep((areas > 0) & (areas >= smallest) & (areas <= largest))


def _body(image: CTSlice, cleanup: Cleanup) -> Mask:
    """Find the patient where a clean-up needs to know; else all of the slice."""
    if not cleanup.needs_body:
        return np.ones(image.shape, dtype=np.bool_)
    from fewct.imaging.body import body_mask  # here, as `fewct --help` shows `Cleanup` and needs no SciPy

    return body_mask(image)


def _clip_labels(labels: Labels, body: Mask) -> Labels:
    """Clip structures to the body; those mostly outside go."""
    ids, rank, areas = count_ids(labels)
    inside = np.bincount(rank[body], minlength=len(ids))
    stays = inside >= MOSTLY * areas
    return np.where(body & stays[rank], labels, 0).astype(np.int32)


def _scores_of(ids: NDArray[np.int64], scores: ArrayLike | None) -> NDArray[np.float32]:
    """Return the scores of some structures, NaN if there are none."""
    if scores is None:
        return np.full(len(ids), np.nan, dtype=np.float32)
    array = np.asarray(scores, dtype=np.float32)
    if array.ndim != 1 or len(array) < ids.max(initial=0):
        raise InputError(
            "scores",
            expected=f"one score for each id up to {ids.max(initial=0)}",
            found=f"shape {array.shape}",
            fix="Number the structures 1 .. n and pass n scores.",
        )
    return array[ids - 1]


def _clip(proposals: MaskProposals, body: Mask) -> MaskProposals:
    """Clip masks to the body; those mostly outside become empty."""
    boxes, crops = [], []
    for box, crop in zip(proposals.boxes_xyxy, proposals.crops, strict=True):
        x0, y0, x1, y1 = box.tolist()
        clipped = crop & body[y0:y1, x0:x1]
        if np.count_nonzero(clipped) < MOSTLY * np.count_nonzero(crop):
            clipped = np.zeros_like(clipped)
        left, top, right, bottom = boxes_from_masks(clipped[None])[0].tolist()
        boxes.append([x0 + left, y0 + top, x0 + right, y0 + bottom])
        crops.append(clipped[top:bottom, left:right])
    return MaskProposals(
        proposals.shape, np.array(boxes, dtype=np.int64).reshape(-1, 4), tuple(crops), proposals.scores
    )
