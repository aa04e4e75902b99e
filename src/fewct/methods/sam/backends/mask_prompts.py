"""Prompts drawn as a first guess, for networks that were trained with one for every prompt.

A box is drawn filled, points as spots: the network need not learn from sines and cosines where they lie.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from fewct.methods.sam.backends.base import BackendWrapper, DecodedMasks
from fewct.methods.sam.conventions import BOTTOM_RIGHT, INSIDE, OUTSIDE, TOP_LEFT
from fewct.runtime.threads import thread_count

SURE = 5.0  # logit inside a box and on a point, and less that far away
SPOT = 1 / 16
"""Standard deviation of a spot, over the side of the input."""


def mask_prompts(
    points_xy: Annotated[NDArray[np.float32], "prompts points 2"],
    labels: Annotated[NDArray[np.int64], "prompts points"],
    image_size: int,
    mask_px: int,
) -> Annotated[NDArray[np.float32], "prompts side side"]:
    """Return prompts as logits of masks: high in boxes and near points of the structure, low elsewhere.

    Args:
        points_xy: x, y in pixels of the input.
        labels: As in `backend`; a prompt has one box at most.
        image_size: Side of the input.
        mask_px: Side of the masks.

    Returns:
        float32 (prompts, mask_px, mask_px) in [-5, 5].

    Example:
        >>> box = np.array([[[0, 0], [4, 8]]], dtype=np.float32)
        >>> mask_prompts(box, np.array([[2, 3]]), 8, 4)[0, 0].tolist()
        [5.0, 5.0, -5.0, -5.0]
    """
    centres = (np.arange(mask_px, dtype=np.float32) + 0.5) * (image_size / mask_px)
    x, y = centres[None, None, :], centres[None, :, None]
    guess = np.full((len(points_xy), mask_px, mask_px), -SURE, dtype=np.float32)
    first, last = labels == TOP_LEFT, labels == BOTTOM_RIGHT
    for i in np.flatnonzero(first.any(axis=1) & last.any(axis=1)).tolist():
        (x0, y0), (x1, y1) = points_xy[i][first[i]][0], points_xy[i][last[i]][0]
        guess[i][((x > x0) & (x < x1) & (y > y0) & (y < y1))[0]] = SURE
    for kind, sign in ((INSIDE, 1), (OUTSIDE, -1)):
        for i, j in np.argwhere(labels == kind).tolist():
            px, py = points_xy[i, j]
            squared = ((x - px) ** 2 + (y - py) ** 2)[0]
            spot = 2 * SURE * np.exp(-squared / np.float32(2 * (SPOT * image_size) ** 2)) - SURE
            guess[i] = np.maximum(guess[i], spot) if sign > 0 else np.minimum(guess[i], -spot)
    return guess


class MaskPromptBackend(BackendWrapper):
    """A backend whose prompts, where no first guess comes with them, are drawn as one.

    Args:
        backend: The networks.
    """

    def encode_prompts(
        self,
        embedding: Annotated[NDArray[np.float32], "channels rows columns"],
        mask_input: Annotated[NDArray[np.float32], "side side"] | None,
    ) -> Any:
        """Return what all prompts share: without a first guess the embedding alone; see `Backend`."""
        return embedding if mask_input is None else (self.backend.encode_prompts(embedding, mask_input),)

    def decode_masks(
        self,
        image_tokens: Any,
        points_xy: Annotated[NDArray[np.float32], "prompts points 2"],
        labels: Annotated[NDArray[np.int64], "prompts points"],
        multimask: bool,
        above: float = -np.inf,
    ) -> DecodedMasks:
        """Return the masks of prompts, each with a first guess of its own; see `Backend`."""
        if isinstance(image_tokens, tuple):
            return self.backend.decode_masks(image_tokens[0], points_xy, labels, multimask, above)
        guesses = mask_prompts(points_xy, labels, self.image_size, self.mask_px)
        none = self.backend.decode_masks(
            self.backend.encode_prompts(image_tokens, None), points_xy[:0], labels[:0], multimask, above
        )

        def answer(i: int) -> DecodedMasks:
            some = slice(i, i + 1)
            own = self.backend.encode_prompts(image_tokens, guesses[i])
            drawn = self.backend.decode_masks(own, points_xy[some], labels[some], multimask, above)
            return replace(drawn, chosen=drawn.chosen + np.array([i, 0]))

        with ThreadPoolExecutor(thread_count()) as pool:
            parts = [none, *pool.map(answer, range(len(guesses)))]
        return DecodedMasks(
            np.concatenate([part.predicted_iou for part in parts]),
            np.concatenate([part.chosen for part in parts]),
            np.concatenate([part.logits for part in parts]),
        )
