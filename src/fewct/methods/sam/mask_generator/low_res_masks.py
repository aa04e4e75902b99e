"""Masks at the size that the network gives them: judged, limited and remembered, not drawn in full."""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fewct.imaging.masks import boxes_from_masks
from fewct.methods.sam.backends.base import DecodedMasks
from fewct.methods.sam.mask_generator.candidates import (
    GeneratedMasks,
    near_crop_edge,
    no_masks,
    stability_score,
)
from fewct.methods.sam.mask_generator.point_grids import Points
from fewct.methods.sam.mask_generator.settings import MaskGeneratorSettings
from fewct.methods.sam.mask_generator.small_regions import without_large_regions
from fewct.methods.sam.preprocessing import InputFrame
from fewct.types import CTSlice, Mask, MaskProposals

COVERING_SHARE = 0.05
"""Share of the body up to which a mask is taken for one structure: points on it need no prompt any more."""


@dataclass(frozen=True, eq=False)
class LowResMask:
    """One mask as the network gave it.

    Args:
        logits: float32 (rows, columns): the part that is not surely outside.
        top: Its first row in the network's mask.
        left: Its first column.
        box_xyxy: int64 (4,): box of the mask, in the network's pixels.
        crop: bool: the mask inside that box.
        predicted_iou: How well the network thinks that it overlaps with a structure.
        stability: See `GeneratedMasks`.
        point_xy: float64 (2,): the point it was prompted with, in pixels of the crop of the slice.
    """

    logits: NDArray[np.float32]
    top: int
    left: int
    box_xyxy: NDArray[np.int64]
    crop: Mask
    predicted_iou: float
    stability: float
    point_xy: NDArray[np.float64]


class LowResMasks:
    """The masks of a crop that were good enough, and where no point is needed any more.

    Args:
        box: int64 (4,): where the crop lies on the slice.
        body: bool (rows, columns): the patient on the slice.
        stability: That a mask must reach.
    """

    def __init__(
        self,
        frame: InputFrame,
        box: NDArray[np.int64],
        image: CTSlice,
        body: Mask,
        settings: MaskGeneratorSettings,
        stability: float,
    ) -> None:
        self.frame = frame
        self.box = box
        self.image = image
        self.settings = settings
        self.stability_thresh = stability
        self.inner = tuple(math.ceil(side * frame.mask_px / frame.image_size) for side in frame.inner)
        scale = np.array(frame.shape) / (np.array(frame.inner) * frame.mask_px / frame.image_size)
        self.scale_xy = scale[::-1]
        self.pixel_area = float(scale.prod())
        self.limits_px = settings.cleanup.limits_px(image, body)
        self.covering_px = COVERING_SHARE * np.count_nonzero(body)
        self.covered = np.zeros(self.inner, dtype=np.bool_)
        self.masks: list[LowResMask] = []

    def covers(self, points_xy: Points) -> NDArray[np.bool_]:
        """Tell which points, in pixels of the crop, lie on masks of single structures."""
        columns, rows = (points_xy / self.scale_xy).astype(np.int64).T
        found: NDArray[np.bool_] = self.covered[rows, columns]
        return found

    def add(self, drawn: DecodedMasks, points_xy: Points) -> None:
        """Remember the masks at some points that are stable, whole and within the limits."""
        rows, columns = self.inner
        for (prompt, mask), logits in zip(
            drawn.indices.tolist(), drawn.logits[:, :rows, :columns], strict=True
        ):
            iou = float(drawn.predicted_iou[prompt, mask])
            found = self._judged(logits, iou, points_xy[prompt])
            if found is not None:
                self.masks.append(found)
                x0, y0, x1, y1 = found.box_xyxy.tolist()
                if np.count_nonzero(found.crop) * self.pixel_area <= self.covering_px:
                    self.covered[y0:y1, x0:x1] |= found.crop

    def found(self) -> GeneratedMasks:
        """Return all masks as they are in the network's pixels, with boxes to compare them by."""
        n = len(self.masks)
        boxes = np.array([s.box_xyxy for s in self.masks], dtype=np.int64).reshape(-1, 4)
        crops = tuple(s.crop for s in self.masks)
        iou = np.array([s.predicted_iou for s in self.masks], dtype=np.float32)
        points = np.array([s.point_xy for s in self.masks]).reshape(-1, 2)
        rows, columns = self.inner
        known = replace(
            no_masks(self.image.shape),
            predicted_iou=iou,
            stability=np.array([s.stability for s in self.masks], dtype=np.float32),
            points_xy=points + self.box[:2],
            crop_boxes_xyxy=np.tile(self.box, (n, 1)),
        )
        return known.with_masks(MaskProposals((rows, columns), boxes, crops, iou))

    def logits(self, index: int) -> NDArray[np.float32]:
        """Return the logits of a mask over the whole input; what was surely outside is far below 0."""
        found = self.masks[index]
        whole = np.full((self.frame.mask_px, self.frame.mask_px), -1e3, dtype=np.float32)
        rows, columns = found.logits.shape
        whole[found.top : found.top + rows, found.left : found.left + columns] = found.logits
        return whole

    def _judged(
        self, logits: NDArray[np.float32], predicted_iou: float, point_xy: NDArray[np.float64]
    ) -> LowResMask | None:
        """Return what to remember of a mask; None if not stable, cut by the crop, or too large or small."""
        settings = self.settings
        stability = stability_score(logits, settings.stability_score_offset)
        if not stability >= self.stability_thresh:
            return None
        mask = logits > 0
        if settings.max_mask_region_area:
            mask = without_large_regions(mask, settings.max_mask_region_area / self.pixel_area)
            logits = np.where(mask | (logits <= 0), logits, np.float32(-1e3))
        smallest, largest = self.limits_px
        area = np.count_nonzero(mask) * self.pixel_area
        box = boxes_from_masks(mask[None])[0]
        on_slice = np.rint(box * np.tile(self.scale_xy, 2)).astype(np.int64) + np.tile(self.box[:2], 2)
        cut = near_crop_edge(on_slice[None], self.box, self.image.shape)[0]
        if cut or area == 0 or not smallest <= area <= largest:
            return None
        x0, y0, x1, y1 = box.tolist()
        top, left = max(y0 - 2, 0), max(x0 - 2, 0)
        part = logits[top : y1 + 2, left : x1 + 2].copy()
        return LowResMask(part, top, left, box, mask[y0:y1, x0:x1], predicted_iou, stability, point_xy)
