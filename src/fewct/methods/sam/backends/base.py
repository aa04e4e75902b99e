"""What runs the networks of SAM: a protocol that torch and ONNX Runtime can both fulfil, in NumPy arrays."""

from dataclasses import dataclass
from typing import Annotated, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fewct.methods.sam.conventions import Normalization

PIXELS_AT_ONCE = 4 * 64**2
"""Pixels of embeddings that are decoded at a time: 4 prompts of the official grid stay in the cache.

It is not tuned while fewct runs: another number changes the last bits of logits, and results must repeat. On
one core, 4 prompts at a time took 56 ms each, 1 took 57, 8 took 63 and 16 took 78.
"""


@dataclass(frozen=True, eq=False)
class DecodedMasks:
    """Masks that a network drew for some prompts.

    Args:
        predicted_iou: float32 (prompts, masks): how well each would overlap with the structure.
        chosen: int64 (n, 2): prompt and mask of those that were wanted, in their order.
        logits: float32 (n, mask_px, mask_px): these masks; above 0 inside the structure.
    """

    predicted_iou: Annotated[NDArray[np.float32], "prompts masks"]
    chosen: Annotated[NDArray[np.int64], "n 2"]
    logits: Annotated[NDArray[np.float32], "n side side"]


class Backend(Protocol):
    """The networks of a checkpoint, ready for images and prompts."""

    @property
    def image_size(self) -> int:
        """Side of the square images that the image encoder takes."""
        ...

    @property
    def mask_px(self) -> int:
        """Side of the masks that the mask decoder gives; they lie over the whole input."""
        ...

    @property
    def normalization(self) -> Normalization:
        """How the network was trained to see grey."""
        ...

    def embed(
        self, pixels: Annotated[NDArray[np.float32], "channels side side"]
    ) -> Annotated[NDArray[np.float32], "channels rows columns"]:
        """Return the embedding of an image of `image_size`, normalised."""
        ...

    def encode_prompts(
        self,
        embedding: Annotated[NDArray[np.float32], "channels rows columns"],
        mask_input: Annotated[NDArray[np.float32], "side side"] | None,
    ) -> Any:
        """Return what all prompts on an image share, for `decode_masks`; `mask_input` holds logits."""
        ...

    def decode_masks(
        self,
        image_tokens: Any,
        points_xy: Annotated[NDArray[np.float32], "prompts points 2"],
        labels: Annotated[NDArray[np.int64], "prompts points"],
        multimask: bool,
        above: float = -np.inf,
    ) -> DecodedMasks:
        """Return the masks of prompts.

        Args:
            image_tokens: What `encode_prompts` gave.
            points_xy: x, y in pixels of the input.
            labels: `NO_POINT`, `OUTSIDE`, `INSIDE`, `TOP_LEFT` or `BOTTOM_RIGHT`.
            multimask: Whether to give the masks to choose from, or the one for prompts that leave no doubt.
            above: Only masks with a higher predicted IoU are drawn.
        """
        ...


class BackendWrapper:
    """A backend that asks another one; what differs is overridden.

    Args:
        backend: The networks.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.image_size = backend.image_size
        self.mask_px = backend.mask_px
        self.normalization: Normalization = backend.normalization

    def embed(
        self, pixels: Annotated[NDArray[np.float32], "seen side side"]
    ) -> Annotated[NDArray[np.float32], "channels rows columns"]:
        """Return the embedding of an image; see `Backend`."""
        return self.backend.embed(pixels)

    def encode_prompts(
        self,
        embedding: Annotated[NDArray[np.float32], "channels rows columns"],
        mask_input: Annotated[NDArray[np.float32], "side side"] | None,
    ) -> Any:
        """Return what all prompts on an image share; see `Backend`."""
        return self.backend.encode_prompts(embedding, mask_input)

    def decode_masks(
        self,
        image_tokens: Any,
        points_xy: Annotated[NDArray[np.float32], "prompts points 2"],
        labels: Annotated[NDArray[np.int64], "prompts points"],
        multimask: bool,
        above: float = -np.inf,
    ) -> DecodedMasks:
        """Return the masks of prompts; see `Backend`."""
        return self.backend.decode_masks(image_tokens, points_xy, labels, multimask, above)
