"""Mask generator: masks for a grid of points on a slice, without prompts by people."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fewct.errors import UsageError
from fewct.imaging.body import body_mask
from fewct.imaging.intensity import to_display
from fewct.imaging.masks import boxes_from_masks
from fewct.methods.sam.backends.base import Backend
from fewct.methods.sam.mask_generator.candidates import (
    GeneratedMasks,
    UpsampledLogits,
    concatenate,
    near_crop_edge,
    non_max_suppression,
    stability_score,
)
from fewct.methods.sam.mask_generator.crops import EmbeddedCrop
from fewct.methods.sam.mask_generator.low_res_masks import LowResMasks
from fewct.methods.sam.mask_generator.point_grids import Points, coarse_to_fine, crop_boxes, layer_grids
from fewct.methods.sam.mask_generator.settings import MaskGeneratorSettings
from fewct.methods.sam.mask_generator.small_regions import without_small_regions
from fewct.types import CTSlice, Mask, MaskProposals


def generate_masks(
    backend: Backend,
    image: CTSlice,
    settings: MaskGeneratorSettings,
    point_grids: Sequence[Points] | None = None,
    body: Mask | None = None,
) -> GeneratedMasks:
    """Return masks for a grid of points on a slice; they may overlap.

    Args:
        image: Slice; the network takes it as `to_display` gives it.
        point_grids: For the slice and each layer of crops the points to prompt, float64 (n, 2): x, y in
            [0, 1), in place of the grids of `points_per_side`.
        body: bool (rows, columns): the patient, as `body_mask` finds it; None to find it.

    Returns:
        Masks, best first. Nothing in `fast` mode where no body is found.

    Raises:
        UsageError: If the grids are not one for the slice and each layer, or out of [0, 1); or an area
            limit is in mm2 and the slice has no spacing.
        InputError: If a grey slice holds infinities.
    """
    grids = _grids(settings, point_grids)
    picture = to_display(image)
    body = body_mask(image) if body is None else body
    boxes, layers = crop_boxes(image.shape, settings.crop_n_layers, settings.crop_overlap_ratio)
    parts = []
    for box, layer in zip(boxes, layers.tolist(), strict=True):
        x0, y0, x1, y1 = box.tolist()
        if settings.mode == "fast" and not body[y0:y1, x0:x1].any():
            continue
        crop, grid = EmbeddedCrop(backend, picture, box, image, body, settings), grids[layer]
        if settings.mode == "exact":
            parts.append(_exact(crop, grid))
        else:
            levels = coarse_to_fine(len(grid)) if point_grids is None else [np.arange(len(grid))]
            parts.append(_fast(crop, grid, levels))
    found = concatenate(parts, image.shape)
    if len(parts) > 1:
        areas = (found.crop_boxes_xyxy[:, 2:] - found.crop_boxes_xyxy[:, :2]).prod(axis=1)
        found = found.keep(_suppressed(found, 1 / areas, settings.crop_nms_thresh, settings))
    return _with_small_regions_cleaned(found, settings) if settings.min_mask_region_area else found


def _exact(crop: EmbeddedCrop, grid: Points) -> GeneratedMasks:
    """Return the masks that the official code finds on a crop."""
    points = grid * crop.frame.shape[::-1]
    step = crop.settings.points_per_batch
    parts = [_filtered(crop, points[start : start + step]) for start in range(0, len(points), step)]
    found = concatenate(parts, crop.image.shape)
    kept = _suppressed(found, found.predicted_iou, crop.settings.box_nms_thresh, crop.settings)
    return found.keep(kept)


def _filtered(crop: EmbeddedCrop, points: Points) -> GeneratedMasks:
    """Return the masks at some points that are stable, whole and within the limits."""
    settings, shape = crop.settings, crop.image.shape
    decoded = crop.decode(points)
    stable: list[int] = []
    scores: list[float] = []
    masks: list[tuple[NDArray[np.int64], Mask]] = []
    for i, logits in enumerate(decoded.logits):
        part = crop.upsampler.upsample(logits, -settings.stability_score_offset)
        stability = (
            float("nan") if part is None else stability_score(part.values, settings.stability_score_offset)
        )
        if part is not None and stability >= crop.thresholds.stability:
            stable.append(i)
            scores.append(stability)
            masks.append(part.above(0))
    indices = decoded.indices[stable]
    proposals = crop.place(masks, decoded.predicted_iou[tuple(indices.T)])
    found = GeneratedMasks.in_crop(proposals, scores, points[indices[:, 0]], crop.box)
    return crop.within_limits(found.keep(~near_crop_edge(found.boxes_xyxy, crop.box, shape)))


def _fast(crop: EmbeddedCrop, grid: Points, levels: Sequence[NDArray[np.int64]]) -> GeneratedMasks:
    """Return the masks of a crop, from a coarse grid to finer ones, filtered at the network's resolution."""
    settings, (x0, y0, x1, y1) = crop.settings, crop.box.tolist()
    points = grid * crop.frame.shape[::-1]
    columns, rows = points.astype(np.int64).T
    wanted = crop.body[y0:y1, x0:x1][rows, columns]
    low_res = LowResMasks(crop)
    for level in levels:
        queue = level[wanted[level]]
        while len(queue := queue[~low_res.covers(points[queue])]):
            now, queue = queue[: settings.points_per_batch], queue[settings.points_per_batch :]
            low_res.add(crop.decode(points[now]), points[now])
    rough = low_res.found()
    kept = _suppressed(rough, rough.predicted_iou, settings.box_nms_thresh, settings)
    upsampled = [crop.upsampler.upsample(low_res.logits(i), 0) for i in kept.tolist()]
    whole = [i for i, part in enumerate(upsampled) if part is not None]
    masks = [part.above(0) for part in upsampled if isinstance(part, UpsampledLogits)]
    found = rough.keep(kept[whole])
    return crop.within_limits(found.with_masks(crop.place(masks, found.predicted_iou)))


def _suppressed(
    found: GeneratedMasks, scores: NDArray[np.floating], threshold: float, settings: MaskGeneratorSettings
) -> NDArray[np.int64]:
    return non_max_suppression(found, scores, threshold, settings.suppression, settings.containment_thresh)


def _with_small_regions_cleaned(found: GeneratedMasks, settings: MaskGeneratorSettings) -> GeneratedMasks:
    """Return the masks without small holes and islands; those that had none win over those that had."""
    proposals = found.proposals
    boxes, crops, unchanged = [], [], []
    for i in range(len(found)):
        mask = proposals.mask(i)
        cleaned = without_small_regions(mask, settings.min_mask_region_area)
        box = boxes_from_masks(cleaned[None])[0]
        x0, y0, x1, y1 = box.tolist()
        boxes.append(box)
        crops.append(cleaned[y0:y1, x0:x1])
        unchanged.append(float(np.array_equal(mask, cleaned)))
    boxes_xyxy = np.array(boxes, dtype=np.int64).reshape(-1, 4)
    cleaned_up = found.with_masks(MaskProposals(found.shape, boxes_xyxy, tuple(crops), found.predicted_iou))
    threshold = max(settings.box_nms_thresh, settings.crop_nms_thresh)
    return cleaned_up.keep(_suppressed(cleaned_up, np.array(unchanged), threshold, settings))


def _grids(settings: MaskGeneratorSettings, point_grids: Sequence[Points] | None) -> list[Points]:
    layers = settings.crop_n_layers
    if point_grids is None:
        return layer_grids(settings.points_per_side, layers, settings.crop_n_points_downscale_factor)
    grids = [np.asarray(grid, dtype=np.float64) for grid in point_grids]
    if len(grids) != layers + 1 or any(
        grid.ndim != 2 or grid.shape[1] != 2 or not ((grid >= 0) & (grid < 1)).all() for grid in grids
    ):
        raise UsageError(
            "point_grids",
            expected=f"{layers + 1} arrays (n, 2) of x, y in [0, 1), for the slice and each layer of crops",
            found=f"{len(grids)} of shapes {[grid.shape for grid in grids]}",
            fix="Divide pixels by the number of columns and rows.",
        )
    return grids
