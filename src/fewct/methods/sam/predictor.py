"""Masks of one slice for prompts: points, boxes, a first guess."""

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fewct.errors import UsageError
from fewct.imaging.intensity import to_display
from fewct.methods.sam.backends.base import Backend
from fewct.methods.sam.preprocessing import InputFrame, preprocess
from fewct.methods.sam.prompts import mask_input_logits, point_prompts
from fewct.types import CTSlice


@dataclass(frozen=True, eq=False)
class Prediction:
    """Masks for each prompt, to choose from.

    Args:
        masks: bool (prompts, masks, rows, columns).
        predicted_iou: float32 (prompts, masks): how well the network thinks each overlaps with the structure.
        logits: float32 (prompts, masks, side, side): the same masks as the network gave them; one of them may
            be the first guess of the next prediction.
    """

    masks: Annotated[NDArray[np.bool_], "prompts masks rows columns"]
    predicted_iou: Annotated[NDArray[np.float32], "prompts masks"]
    logits: Annotated[NDArray[np.float32], "prompts masks side side"]


@dataclass(frozen=True, eq=False)
class EmbeddedImage:
    """A picture that the image encoder has seen.

    Args:
        frame: How the picture lies in the network's input.
        embedding: float32 (channels, rows, columns).
    """

    frame: InputFrame
    embedding: Annotated[NDArray[np.float32], "channels rows columns"]


def embed(backend: Backend, picture: Annotated[NDArray[np.uint8], "rows columns"]) -> EmbeddedImage:
    """Show a grey picture to the image encoder.

    Args:
        backend: The networks.
        picture: uint8 (rows, columns).
    """
    rows, columns = picture.shape
    frame = InputFrame((rows, columns), backend.image_size, backend.mask_px)
    return EmbeddedImage(frame, backend.embed(preprocess(picture, frame, backend.normalization)))


class Predictor:
    """One slice, embedded once, to which any number of prompts can be put.

    Args:
        backend: The networks.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self._image: EmbeddedImage | None = None
        self._image_tokens: Any = None

    def set_image(self, image: CTSlice, window: str | None = None) -> None:
        """Show a slice to the image encoder.

        Args:
            image: Slice; it is seen as `to_display` shows it to people, 8-bit grey.
            window: Name of a preset in `imaging.intensity.WINDOWS`, for Hounsfield units; soft tissue by
                default.

        Raises:
            UsageError: If there is no such preset, or one is named for a slice that is not in Hounsfield
                units.
            InputError: If a grey slice holds infinities.
        """
        self._image = embed(self.backend, to_display(image, window))
        self._image_tokens = self.backend.encode_prompts(self._image.embedding, None)

    def predict(
        self,
        points: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        boxes: ArrayLike | None = None,
        mask: NDArray[Any] | None = None,
        multimask: bool = True,
    ) -> Prediction:
        """Return masks for prompts on the slice. All points belong to one structure; each box is one.

        Args:
            points: (n, 2): x, y in pixels.
            labels: (n,): 1 for points inside the structure, 0 outside.
            boxes: (m, 4) or (4,): x0, y0, x1, y1 in pixels, x1 and y1 one past the last pixel.
            mask: A first guess: bool (rows, columns), or one of the logits of an earlier prediction.
            multimask: Whether to give three masks to choose from, best where a prompt leaves doubt, or one.

        Returns:
            For each prompt three masks or one.

        Raises:
            UsageError: If no slice was set, there is no prompt, or prompts contradict each other.
            InputError: If prompts are empty, not finite or outside the slice, a box has no area, or the mask
                has another size.
        """
        if self._image is None:
            raise UsageError("image", expected="a slice", found="none", fix="Call set_image first.")
        if points is None and boxes is None and mask is None:
            raise UsageError(
                "prompts",
                expected="points, boxes or a mask",
                found="none",
                fix="Use everything to find structures without prompts.",
            )
        frame = self._image.frame
        prompts = point_prompts(points, labels, boxes, frame.shape)
        image_tokens = self._image_tokens
        if mask is not None:
            image_tokens = self.backend.encode_prompts(self._image.embedding, mask_input_logits(mask, frame))
        decoded = self.backend.decode_masks(
            image_tokens, frame.to_input(prompts.points_xy), prompts.labels, multimask
        )
        logits = decoded.logits.reshape(*decoded.predicted_iou.shape, frame.mask_px, frame.mask_px)
        first, second = frame.upsampling
        masks = np.empty((*decoded.predicted_iou.shape, *frame.shape), dtype=np.bool_)
        for place in np.ndindex(
            decoded.predicted_iou.shape
        ):  # as float32, all at once take four times as much
            masks[place] = first @ logits[place] @ second.T > 0
        return Prediction(masks, decoded.predicted_iou, logits)
