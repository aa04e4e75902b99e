"""What runs the networks of SAM: a protocol that torch and ONNX Runtime both fulfil, in NumPy arrays."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from fewct.methods.sam.conventions import (
    Embedding,
    Logits,
    Normalization,
    Pixels,
    PointCoords,
    PointLabels,
)

PIXELS_AT_ONCE = 4 * 64**2
"""Pixels of embeddings that are decoded at a time: 4 prompts of the official grid stay in the cache.

It is not tuned while fewct runs: another number changes the last bits of logits, and results must repeat. On
one core, 4 prompts at a time took 56 ms each, 1 took 57, 8 took 63 and 16 took 78.
"""


@dataclass(frozen=True, eq=False)
class DecodedMasks:
    """Masks that a network decoded for some prompts.

    Args:
        predicted_iou: float32 (prompts, masks): predicted intersection over union with the structure.
        indices: int64 (n, 2): prompt and mask of those above the threshold, in their order.
        logits: float32 (n, mask_px, mask_px): these masks; above 0 inside the structure.
    """

    predicted_iou: Annotated[NDArray[np.float32], "prompts masks"]
    indices: Annotated[NDArray[np.int64], "n 2"]
    logits: Annotated[NDArray[np.float32], "n side side"]

    @classmethod
    def none(cls, masks: int, mask_px: int) -> Self:
        """Return no masks of no prompts, with so many masks for each."""
        logits = np.zeros((0, mask_px, mask_px), dtype=np.float32)
        return cls(np.zeros((0, masks), dtype=np.float32), np.zeros((0, 2), dtype=np.int64), logits)

    @classmethod
    def concatenate(cls, parts: Sequence[Self]) -> Self:
        """Return the masks of several batches of prompts, in their order."""
        starts = np.cumsum([0, *(len(part.predicted_iou) for part in parts[:-1])])
        return cls(
            np.concatenate([part.predicted_iou for part in parts]),
            np.concatenate(
                [part.indices + np.array([start, 0]) for part, start in zip(parts, starts, strict=True)]
            ),
            np.concatenate([part.logits for part in parts]),
        )


class Backend(Protocol):
    """The networks of a checkpoint, ready for images and prompts."""

    @property
    def image_size(self) -> int:
        """Side of the square input of the image encoder."""
        ...

    @property
    def mask_px(self) -> int:
        """Side of the masks that the mask decoder gives; they lie over the whole input."""
        ...

    @property
    def normalization(self) -> Normalization:
        """How grey values are normalised for the network."""
        ...

    def embed(self, pixels: Pixels) -> Embedding:
        """Return the embedding of a normalised image of `image_size`."""
        ...

    def encode_prompts(self, embedding: Embedding, mask_input: Logits | None) -> Any:
        """Return what all prompts on an image share, for `decode_masks`."""
        ...

    def decode_masks(
        self, tokens: Any, points: PointCoords, labels: PointLabels, multimask: bool, above: float = -np.inf
    ) -> DecodedMasks:
        """Return the masks of prompts.

        Args:
            tokens: What `encode_prompts` gave.
            points: x, y in pixels of the input.
            labels: `NO_POINT`, `OUTSIDE`, `INSIDE`, `TOP_LEFT` or `BOTTOM_RIGHT`.
            multimask: Whether to give the masks to choose from, or the one for unambiguous prompts.
            above: Only masks with a higher predicted IoU are decoded.
        """
        ...


class BackendWrapper:
    """A backend that passes all on to another one, but for what a subclass overrides."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.image_size = backend.image_size
        self.mask_px = backend.mask_px
        self.normalization: Normalization = backend.normalization

    def embed(self, pixels: Pixels) -> Embedding:
        """Return the embedding of an image; see `Backend`."""
        return self.backend.embed(pixels)

    def encode_prompts(self, embedding: Embedding, mask_input: Logits | None) -> Any:
        """Return what all prompts on an image share; see `Backend`."""
        return self.backend.encode_prompts(embedding, mask_input)

    def decode_masks(
        self, tokens: Any, points: PointCoords, labels: PointLabels, multimask: bool, above: float = -np.inf
    ) -> DecodedMasks:
        """Return the masks of prompts; see `Backend`."""
        return self.backend.decode_masks(tokens, points, labels, multimask, above)
