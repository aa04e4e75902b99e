"""Masks as the generator has them, from plain arrays."""

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fewct.imaging.masks import proposals_from_masks
from fewct.methods.sam.mask_generator.candidates import GeneratedMasks, no_masks


def generated(masks: NDArray[np.bool_], scores: ArrayLike) -> GeneratedMasks:
    """Return masks (n, rows, columns) with scores (n,), found at no point of no crop."""
    values = np.asarray(scores, dtype=np.float32)
    known = replace(
        no_masks(masks.shape[1:]),
        predicted_iou=values,
        stability=values,
        points_xy=np.zeros((len(masks), 2)),
        crop_boxes_xyxy=np.zeros((len(masks), 4), dtype=np.int64),
    )
    return known.with_masks(proposals_from_masks(masks, values))
