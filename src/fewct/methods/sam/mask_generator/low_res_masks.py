"""Masks at the resolution of the network: filtered and kept, not upsampled."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fewct.imaging.masks import boxes_from_masks
from fewct.methods.sam.backends.base import DecodedMasks
from fewct.methods.sam.mask_generator.candidates import GeneratedMasks, near_crop_edge, stability_score
from fewct.methods.sam.mask_generator.crops import EmbeddedCrop
from fewct.methods.sam.mask_generator.point_grids import Points
from fewct.methods.sam.mask_generator.small_regions import without_large_regions
from fewct.types import Mask, MaskProposals

COVERING_SHARE = 0.05
"""Share of the body up to which a mask is taken for one structure: points on it are not prompted any more."""


@dataclass(frozen=True, eq=False)
class LowResMask:
    """One mask as the network gave it; see `GeneratedMasks`, too.

    Args:
        logits: float32 (rows, columns): those around the mask.
        top: Their first row in the network's mask.
        left: Their first column.
        box_xyxy: int64 (4,): box of the mask, in the network's pixels.
        crop: bool: the mask inside that box.
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
    """The masks of a crop that passed the filters, and where no point is needed any more."""

    def __init__(self, crop: EmbeddedCrop) -> None:
        self.crop = crop
        frame = crop.frame
        self.inner = tuple(math.ceil(side * frame.mask_px / frame.image_size) for side in frame.inner)
        scale = np.array(frame.shape) / (np.array(frame.inner) * frame.mask_px / frame.image_size)
        self.scale_xy = scale[::-1]
        self.pixel_area = float(scale.prod())
        self.limits_px = crop.settings.cleanup.limits_px(crop.image, crop.body)
        self.covering_px = COVERING_SHARE * np.count_nonzero(crop.body)
        self.covered = np.zeros(self.inner, dtype=np.bool_)
        self.masks: list[LowResMask] = []

    def covers(self, points_xy: Points) -> NDArray[np.bool_]:
        """Tell which points, in pixels of the crop, lie on masks of single structures."""
        columns, rows = (points_xy / self.scale_xy).astype(np.int64).T
        found: NDArray[np.bool_] = self.covered[rows, columns]
        return found

    def add(self, decoded: DecodedMasks, points_xy: Points) -> None:
        """Keep the masks at some points that are stable, whole and within the limits."""
        rows, columns = self.inner
        inner_logits = decoded.logits[:, :rows, :columns]
        for (prompt, mask), logits in zip(decoded.indices.tolist(), inner_logits, strict=True):
            iou = float(decoded.predicted_iou[prompt, mask])
            found = self._filtered(logits, iou, points_xy[prompt])
            if found is not None:
                self.masks.append(found)
                x0, y0, x1, y1 = found.box_xyxy.tolist()
                if np.count_nonzero(found.crop) * self.pixel_area <= self.covering_px:
                    self.covered[y0:y1, x0:x1] |= found.crop

    def found(self) -> GeneratedMasks:
        """Return all masks as they are in the network's pixels, with boxes to compare them by."""
        boxes = np.array([mask.box_xyxy for mask in self.masks], dtype=np.int64).reshape(-1, 4)
        iou = np.array([mask.predicted_iou for mask in self.masks], dtype=np.float32)
        points = np.array([mask.point_xy for mask in self.masks]).reshape(-1, 2)
        rows, columns = self.inner
        proposals = MaskProposals((rows, columns), boxes, tuple(mask.crop for mask in self.masks), iou)
        return GeneratedMasks.in_crop(
            proposals, [mask.stability for mask in self.masks], points, self.crop.box
        )

    def logits(self, index: int) -> NDArray[np.float32]:
        """Return the logits of a mask over the whole input, far below 0 where they were not kept."""
        found = self.masks[index]
        whole = np.full((self.crop.frame.mask_px, self.crop.frame.mask_px), -1e3, dtype=np.float32)
        rows, columns = found.logits.shape
        whole[found.top : found.top + rows, found.left : found.left + columns] = found.logits
        return whole

    def _filtered(
        self, logits: NDArray[np.float32], predicted_iou: float, point_xy: NDArray[np.float64]
    ) -> LowResMask | None:
        """Return what to keep of a mask; None if not stable, cut by the crop, or too large or small."""
        crop, settings = self.crop, self.crop.settings
        stability = stability_score(logits, settings.stability_score_offset)
        if not stability >= crop.thresholds.stability:
            return None
        mask = logits > 0
        if settings.max_mask_region_area:
            mask = without_large_regions(mask, settings.max_mask_region_area / self.pixel_area)
            logits = np.where(mask | (logits <= 0), logits, np.float32(-1e3))
        smallest, largest = self.limits_px
        area = np.count_nonzero(mask) * self.pixel_area
        box = boxes_from_masks(mask[None])[0]
        on_slice = np.rint(box * np.tile(self.scale_xy, 2)).astype(np.int64) + np.tile(crop.box[:2], 2)
        cut = near_crop_edge(on_slice[None], crop.box, crop.image.shape)[0]
        if cut or area == 0 or not smallest <= area <= largest:
            return None
        x0, y0, x1, y1 = box.tolist()
        top, left = max(y0 - 2, 0), max(x0 - 2, 0)
        part = logits[top : y1 + 2, left : x1 + 2].copy()
        return LowResMask(part, top, left, box, mask[y0:y1, x0:x1], predicted_iou, stability, point_xy)
