"""Masks of one slice for prompts: points, boxes, a mask."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fewct.errors import InputError, UsageError
from fewct.imaging.intensity import to_display
from fewct.io.in_memory import ImageLike, as_image
from fewct.methods.sam.backends.base import Backend
from fewct.methods.sam.backends.load import NormalizationChoice, load_backend
from fewct.methods.sam.conventions import Embedding, Picture
from fewct.methods.sam.preprocessing import InputFrame, preprocess
from fewct.methods.sam.prompts import mask_input_logits, point_prompts
from fewct.types import CTSlice, UnitChoice


@dataclass(frozen=True, eq=False)
class Prediction:
    """Masks for each prompt, to choose from.

    Args:
        masks: bool (prompts, masks, rows, columns).
        predicted_iou: float32 (prompts, masks): predicted intersection over union with the structure.
        logits: float32 (prompts, masks, side, side): the same masks as the network gave them; one of them may
            be the `mask_input` of the next prediction.
    """

    masks: Annotated[NDArray[np.bool_], "prompts masks rows columns"]
    predicted_iou: Annotated[NDArray[np.float32], "prompts masks"]
    logits: Annotated[NDArray[np.float32], "prompts masks side side"]

    def __repr__(self) -> str:
        return f"Prediction(masks {self.masks.shape}, predicted IoU {self.predicted_iou.round(2).tolist()})"


@dataclass(frozen=True, eq=False)
class EmbeddedImage:
    """The embedding of a picture, float32 (channels, rows, columns), and how it lies in the input."""

    frame: InputFrame
    embedding: Embedding


def embed(backend: Backend, picture: Picture) -> EmbeddedImage:
    """Run the image encoder on a grey picture, uint8 (rows, columns)."""
    rows, columns = picture.shape
    frame = InputFrame((rows, columns), backend.image_size, backend.mask_px)
    return EmbeddedImage(frame, backend.embed(preprocess(picture, frame, backend.normalization)))


class Predictor:
    """One slice, embedded once, to which any number of prompts can be put.

    Args:
        weights: Checkpoint of SAM, MedSAM, MobileSAM or LiteMedSAM: a file, a folder of transformers or of an
            export, or a name in `fewct models list`; None: prompt-small, which comes with fewct. It is loaded
            with the first slice.
        image_size: Side of the network's input: 256, 512 or 1024; 0: what it was made for.
        normalization: How grey values are normalised; "medsam" for MedSAM, whose file looks like SAM's.

    Example:
        >>> from fewct.phantom import phantom_slice
        >>> predictor = Predictor()
        >>> predictor.set_image(phantom_slice(0)[0])
        >>> predictor.predict(box=[200, 200, 300, 300], multimask_output=False).masks.shape
        (1, 1, 512, 512)
    """

    def __init__(
        self,
        weights: str | Path | None = None,
        image_size: int = 0,
        normalization: NormalizationChoice = "auto",
    ) -> None:
        self.weights = str(weights or "")
        self.image_size = image_size
        self.normalization: NormalizationChoice = normalization
        self._image: EmbeddedImage | None = None
        self._image_tokens: Any = None

    @classmethod
    def from_backend(cls, backend: Backend) -> Self:
        """Return a predictor with networks that are loaded already."""
        predictor = cls()
        predictor.backend = backend
        return predictor

    @cached_property
    def backend(self) -> Backend:
        """The networks; see `load_backend` for what loading raises."""
        return load_backend(self.weights, self.image_size, self.normalization)

    def set_image(self, image: ImageLike, window: str | None = None, unit: UnitChoice = "auto") -> None:
        """Embed a slice, which takes the place of an earlier one.

        Args:
            image: Slice, its pixels (rows, columns), or a path; what the network gets is its `to_display`.
            window: Name of a preset in `imaging.intensity.WINDOWS`, for Hounsfield units; soft tissue by
                default.
            unit: Of an array: "hu", "grey", or "auto" to look at the values: "hu" where one lies below -200.

        Raises:
            UsageError: If there is no such preset, or one is named for a slice that is not in Hounsfield
                units, or a unit for a slice that has one.
            InputError: If it is no slice, looks like a mask or holds no real numbers, or a grey slice holds
                infinities; and as `load_backend`, with the first slice.
        """
        ct = as_image(image, unit=unit)
        if not isinstance(ct, CTSlice):
            raise InputError(
                "image",
                expected="one slice",
                found=f"a scan of shape {ct.shape}",
                fix="Take one of its slices.",
            )
        embedded = embed(self.backend, to_display(ct, window))
        self._image_tokens = self.backend.encode_prompts(embedded.embedding, None)
        self._image = embedded

    def predict(
        self,
        point_coords: ArrayLike | None = None,
        point_labels: ArrayLike | None = None,
        box: ArrayLike | None = None,
        mask_input: NDArray[Any] | None = None,
        multimask_output: bool = True,
    ) -> Prediction:
        """Return masks for prompts on the slice. All points belong to one structure; each box is one.

        Args:
            point_coords: (n, 2): x, y in pixels.
            point_labels: (n,): 1 for points inside the structure, 0 outside.
            box: (4,) or, for several structures, (m, 4): x0, y0, x1, y1 in pixels, x1 and y1 one past the
                last pixel.
            mask_input: A first guess: bool (rows, columns), or one of the logits of an earlier prediction.
            multimask_output: Whether to give three masks to choose from, best where a prompt is ambiguous, or
                one.

        Returns:
            For each prompt three masks or one.

        Raises:
            UsageError: If no slice was set, there is no prompt, or prompts contradict each other.
            InputError: If prompts are empty, not finite or outside the slice, a box has no area, or the mask
                has another size.
        """
        if self._image is None:
            raise UsageError("image", expected="a slice", found="none", fix="Call set_image first.")
        if point_coords is None and box is None and mask_input is None:
            raise UsageError(
                "prompts",
                expected="points, boxes or a mask",
                found="none",
                fix="Use everything to find structures without prompts.",
            )
        frame = self._image.frame
        prompts = point_prompts(point_coords, point_labels, box, frame.shape)
        image_tokens = self._image_tokens
        if mask_input is not None:
            logits = mask_input_logits(mask_input, frame)
            image_tokens = self.backend.encode_prompts(self._image.embedding, logits)
        points = frame.to_input(prompts.points_xy)
        decoded = self.backend.decode_masks(image_tokens, points, prompts.labels, multimask_output)
        logits = decoded.logits.reshape(*decoded.predicted_iou.shape, frame.mask_px, frame.mask_px)
        first, second = frame.upsampling
        masks = np.empty((*decoded.predicted_iou.shape, *frame.shape), dtype=np.bool_)
        for place in np.ndindex(masks.shape[:2]):  # as float32, all at once take four times as much
            masks[place] = first @ logits[place] @ second.T > 0
        return Prediction(masks, decoded.predicted_iou, logits)
