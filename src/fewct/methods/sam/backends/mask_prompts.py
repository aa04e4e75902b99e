"""Prompts rasterised as mask inputs, for networks that were trained with one for every prompt.

A box becomes a filled mask, a point a Gaussian: the network need not learn where they lie from sines and
cosines.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from fewct.methods.sam.backends.base import BackendWrapper, DecodedMasks
from fewct.methods.sam.conventions import (
    BOTTOM_RIGHT,
    INSIDE,
    OUTSIDE,
    TOP_LEFT,
    Embedding,
    Logits,
    PointCoords,
    PointLabels,
)
from fewct.runtime.threads import thread_count

SURE = 5.0  # logit inside a box and on a point, and less that far away
SIGMA = 1 / 16
"""Standard deviation of a point's Gaussian, over the side of the input."""


def mask_prompts(
    points: PointCoords, labels: PointLabels, image_size: int, mask_px: int
) -> Annotated[NDArray[np.float32], "prompts side side"]:
    """Return prompts as logits of masks: high in boxes and near points of the structure, low elsewhere.

    Args:
        points: x, y in pixels of the input.
        labels: As in `conventions`; a prompt has one box at most.

    Returns:
        float32 (prompts, mask_px, mask_px) in [-5, 5].

    Example:
        >>> box = np.array([[[0, 0], [4, 8]]], dtype=np.float32)
        >>> mask_prompts(box, np.array([[2, 3]]), 8, 4)[0, 0].tolist()
        [5.0, 5.0, -5.0, -5.0]
    """
    centres = (np.arange(mask_px, dtype=np.float32) + 0.5) * (image_size / mask_px)
    x, y = centres[None, None, :], centres[None, :, None]
    masks = np.full((len(points), mask_px, mask_px), -SURE, dtype=np.float32)
    first, last = labels == TOP_LEFT, labels == BOTTOM_RIGHT
    for i in np.flatnonzero(first.any(axis=1) & last.any(axis=1)).tolist():
        (x0, y0), (x1, y1) = points[i][first[i]][0], points[i][last[i]][0]
        masks[i][((x > x0) & (x < x1) & (y > y0) & (y < y1))[0]] = SURE
    for kind, sign in ((INSIDE, 1), (OUTSIDE, -1)):
        for i, j in np.argwhere(labels == kind).tolist():
            px, py = points[i, j]
            squared = ((x - px) ** 2 + (y - py) ** 2)[0]
            gaussian = 2 * SURE * np.exp(-squared / np.float32(2 * (SIGMA * image_size) ** 2)) - SURE
            masks[i] = np.maximum(masks[i], gaussian) if sign > 0 else np.minimum(masks[i], -gaussian)
    return masks


class MaskPromptBackend(BackendWrapper):
    """A backend whose prompts, where no mask input comes with them, are rasterised as one."""

    def encode_prompts(self, embedding: Embedding, mask_input: Logits | None) -> Any:
        """Return what all prompts share: without a mask input the embedding alone; see `Backend`."""
        return embedding if mask_input is None else (self.backend.encode_prompts(embedding, mask_input),)

    def decode_masks(
        self, tokens: Any, points: PointCoords, labels: PointLabels, multimask: bool, above: float = -np.inf
    ) -> DecodedMasks:
        """Return the masks of prompts, each with a mask input of its own; see `Backend`."""
        if isinstance(tokens, tuple):
            return self.backend.decode_masks(tokens[0], points, labels, multimask, above)
        mask_inputs = mask_prompts(points, labels, self.image_size, self.mask_px)
        shared = self.backend.encode_prompts(tokens, None)
        none = self.backend.decode_masks(shared, points[:0], labels[:0], multimask, above)

        def decode(i: int) -> DecodedMasks:
            some = slice(i, i + 1)
            own = self.backend.encode_prompts(tokens, mask_inputs[i])
            return self.backend.decode_masks(own, points[some], labels[some], multimask, above)

        with ThreadPoolExecutor(thread_count()) as pool:
            return DecodedMasks.concatenate([none, *pool.map(decode, range(len(mask_inputs)))])
