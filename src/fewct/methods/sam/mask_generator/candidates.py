"""Candidate masks of the mask generator: upsampled, packed in little memory, suppressed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray

from fewct.imaging.mask_merging import containment_matrix, iou_matrix
from fewct.imaging.masks import boxes_from_masks
from fewct.methods.sam.conventions import Logits
from fewct.methods.sam.mask_generator.point_grids import Points
from fewct.methods.sam.mask_generator.settings import Suppression
from fewct.methods.sam.preprocessing import InputFrame
from fewct.types import Boxes, Mask, MaskProposals

EDGE_PX = 20  # a mask that comes this close to the edge of a crop was cut by it


@dataclass(frozen=True, eq=False)
class GeneratedMasks:
    """Masks on a slice, one bit a pixel of their boxes.

    Args:
        shape: (rows, columns) of the slice.
        boxes_xyxy: int64 (n, 4): x0, y0, x1, y1, one past the last pixel.
        packed: For each mask its pixels inside the box, row by row, as `numpy.packbits` gives them.
        predicted_iou: float32 (n,): predicted intersection over union with a structure.
        stability: float32 (n,): intersection over union of the masks at a higher and a lower threshold of the
            logits.
        points_xy: float64 (n, 2): the point that each was prompted with, in pixels of the slice.
        crop_boxes_xyxy: int64 (n, 4): the crop that each was found in.
    """

    shape: tuple[int, int]
    boxes_xyxy: Boxes
    packed: tuple[NDArray[np.uint8], ...]
    predicted_iou: Annotated[NDArray[np.float32], "n"]
    stability: Annotated[NDArray[np.float32], "n"]
    points_xy: Annotated[NDArray[np.float64], "n 2"]
    crop_boxes_xyxy: Boxes

    def __len__(self) -> int:
        return len(self.packed)

    @classmethod
    def in_crop(
        cls, proposals: MaskProposals, stability: Sequence[float], points_xy: Points, crop: NDArray[np.int64]
    ) -> Self:
        """Return masks whose scores are predicted IoU, and whose points are in pixels of their crop."""
        return cls(
            proposals.shape,
            proposals.boxes_xyxy,
            tuple(np.packbits(mask) for mask in proposals.crops),
            proposals.scores,
            np.array(stability, dtype=np.float32),
            points_xy + crop[:2],
            np.tile(crop, (len(proposals), 1)),
        )

    @property
    def proposals(self) -> MaskProposals:
        """The masks, with their predicted IoU as scores."""
        crops = []
        for (x0, y0, x1, y1), bits in zip(self.boxes_xyxy.tolist(), self.packed, strict=True):
            flat = np.unpackbits(bits, count=(y1 - y0) * (x1 - x0))
            crops.append(flat.reshape(y1 - y0, x1 - x0).astype(np.bool_))
        return MaskProposals(self.shape, self.boxes_xyxy, tuple(crops), self.predicted_iou)

    def with_masks(self, proposals: MaskProposals) -> "GeneratedMasks":
        """Return the same with other masks, as many and in the same order."""
        packed = tuple(np.packbits(crop) for crop in proposals.crops)
        return replace(self, shape=proposals.shape, boxes_xyxy=proposals.boxes_xyxy, packed=packed)

    def keep(self, index: NDArray[Any]) -> "GeneratedMasks":
        """Return what an index array (integers in any order, or a bool mask) selects."""
        selected = np.arange(len(self))[index]
        return GeneratedMasks(
            self.shape,
            self.boxes_xyxy[selected],
            tuple(self.packed[i] for i in selected),
            self.predicted_iou[selected],
            self.stability[selected],
            self.points_xy[selected],
            self.crop_boxes_xyxy[selected],
        )


def no_masks(shape: tuple[int, int]) -> GeneratedMasks:
    """Return no masks on a slice (rows, columns)."""
    boxes, scores = np.zeros((0, 4), dtype=np.int64), np.zeros(0, dtype=np.float32)
    return GeneratedMasks(shape, boxes, (), scores, scores, np.zeros((0, 2)), boxes)


def concatenate(parts: Sequence[GeneratedMasks], shape: tuple[int, int]) -> GeneratedMasks:
    """Return the masks of several parts, in their order."""
    parts = [no_masks(shape), *parts]
    return GeneratedMasks(
        shape,
        np.concatenate([part.boxes_xyxy for part in parts]),
        tuple(bits for part in parts for bits in part.packed),
        np.concatenate([part.predicted_iou for part in parts]),
        np.concatenate([part.stability for part in parts]),
        np.concatenate([part.points_xy for part in parts]),
        np.concatenate([part.crop_boxes_xyxy for part in parts]),
    )


@dataclass(frozen=True, eq=False)
class UpsampledLogits:
    """Part of a mask's logits on the picture, from row `top` and column `left`; the mask lies within it."""

    values: Annotated[NDArray[np.float32], "rows columns"]
    top: int
    left: int

    def above(self, threshold: float) -> tuple[NDArray[np.int64], Mask]:
        """Return the box (x0, y0, x1, y1) of the values above a threshold and which these are in it."""
        mask = self.values > threshold
        box = boxes_from_masks(mask[None])[0]
        x0, y0, x1, y1 = box.tolist()
        return box + np.array([self.left, self.top] * 2), mask[y0:y1, x0:x1]


class MaskUpsampler:
    """Upsamples the network's logits to a picture, in part.

    Linear resampling gives means of neighbours, so where all of these lie below a threshold, so does the
    result: only the rows and columns that depend on a logit above it are computed.
    """

    def __init__(self, frame: InputFrame) -> None:
        self.matrices = frame.upsampling
        touched = [matrix != 0 for matrix in self.matrices]
        self.first = [t.argmax(axis=1) for t in touched]
        self.stop = [t.shape[1] - t[:, ::-1].argmax(axis=1) for t in touched]

    def upsample(self, logits: Logits, threshold: float) -> UpsampledLogits | None:
        """Return the part of a mask's logits where any may lie above a threshold; None if none does."""
        high = logits > threshold
        spans = []
        for axis in (0, 1):
            places = np.flatnonzero(high.any(axis=1 - axis))
            if len(places) == 0:
                return None
            start = int(np.searchsorted(self.stop[axis], places[0], side="right"))
            end = int(np.searchsorted(self.first[axis], places[-1], side="right"))
            if start >= end:
                return None  # in the padding
            spans.append((start, end, int(self.first[axis][start]), int(self.stop[axis][end - 1])))
        (top, bottom, r0, r1), (left, right, c0, c1) = spans
        rows, columns = self.matrices[0][top:bottom, r0:r1], self.matrices[1][left:right, c0:c1]
        values = (rows @ logits[r0:r1, c0:c1] @ columns.T).astype(np.float32, copy=False)
        return UpsampledLogits(values, top, left)


def stability_score(values: NDArray[np.float32], offset: float) -> float:
    """Return the IoU of the masks of logits above `offset` and above `-offset`; NaN where both are empty."""
    union = np.count_nonzero(values > -offset)
    return np.count_nonzero(values > offset) / union if union else float("nan")


def near_crop_edge(boxes_xyxy: Boxes, crop: NDArray[np.int64], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Tell which boxes come close to an edge of their crop that is no edge of the slice.

    Args:
        boxes_xyxy: int64 (n, 4), in pixels of the slice.
        crop: int64 (4,): the crop.
        shape: (rows, columns) of the slice.
    """
    rows, columns = shape
    inclusive = boxes_xyxy - np.array([0, 0, 1, 1])  # as the official code measures
    near_crop = np.abs(inclusive - crop) <= EDGE_PX
    near_slice = np.abs(inclusive - np.array([0, 0, columns, rows])) <= EDGE_PX
    cut: NDArray[np.bool_] = (near_crop & ~near_slice).any(axis=1)
    return cut


def non_max_suppression(
    found: GeneratedMasks,
    scores: NDArray[np.floating],
    iou_threshold: float,
    by: Suppression,
    containment: float = 1.0,
) -> Annotated[NDArray[np.int64], "n"]:
    """Return which masks stay, best first: from the best down, all that overlap no better one too much.

    Args:
        found: Masks.
        scores: (n,), higher is better; of equals the first comes first.
        iou_threshold: Intersection over union above which the worse of two goes.
        by: "box": of the boxes, measured from first to last pixel as the official code does; "mask": of the
            masks.
        containment: With "mask": the share of a mask inside a better one above which it goes.
    """
    order = np.argsort(-scores, kind="stable")
    overlaps = _box_overlaps if by == "box" else _mask_overlaps
    kept: list[int] = []
    for i, row in zip(order.tolist(), overlaps(found, order, kept, containment), strict=False):
        if not (row > iou_threshold).any():
            kept.append(i)
    return np.array(kept, dtype=np.int64)


def _box_overlaps(
    found: GeneratedMasks, order: NDArray[np.int64], kept: list[int], _: float
) -> Iterator[NDArray[np.float64]]:
    """Give for one box after the other its overlap with those kept until then."""
    boxes = (found.boxes_xyxy - np.array([0, 0, 1, 1])).astype(np.float64)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    for i in order:
        others = boxes[kept]
        sides = np.minimum(boxes[i, 2:], others[:, 2:]) - np.maximum(boxes[i, :2], others[:, :2])
        shared = np.clip(sides, 0, None).prod(axis=1)
        union = areas[i] + areas[kept] - shared
        yield np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def _mask_overlaps(
    found: GeneratedMasks, order: NDArray[np.int64], kept: list[int], containment: float
) -> Iterator[NDArray[np.float64]]:
    """Give for one mask after the other its overlap with those kept until then; 2 where one contains it."""
    proposals = found.proposals
    overlaps = iou_matrix(proposals)
    if containment < 1:
        overlaps = np.where(containment_matrix(proposals) > containment, 2.0, overlaps)
    for i in order:
        yield overlaps[i, kept]
