"""Promptable networks on whole slices: masks for a grid of points, or one mask for each box."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fewct.errors import InputError
from fewct.imaging.body import body_mask
from fewct.imaging.cleanup import clean, clean_proposals
from fewct.imaging.intensity import to_display
from fewct.imaging.mask_merging import MergePolicy, merge_masks
from fewct.methods.sam.backends.base import Backend
from fewct.methods.sam.backends.load import checkpoint_sha256, load_backend
from fewct.methods.sam.box_prompted import BoxPrompted
from fewct.methods.sam.box_sources import BoxSource, open_box_source
from fewct.methods.sam.everything import Everything
from fewct.methods.sam.mask_generator.candidates import GeneratedMasks, MaskUpsampler
from fewct.methods.sam.mask_generator.generator import generate_masks
from fewct.methods.sam.predictor import embed
from fewct.methods.sam.prompts import checked_boxes, point_prompts
from fewct.result import SliceSegmentation
from fewct.types import CTSlice, Mask, MaskProposals


@dataclass(frozen=True, eq=False)
class EverythingSegmenter:
    """Segment-everything with its networks open.

    Args:
        method: The settings.
        weights_sha256: Hash of their weights.
    """

    method: Everything
    backend: Backend
    weights_sha256: str

    @classmethod
    def of(cls, method: Everything) -> "EverythingSegmenter":
        """Open the networks of some settings; see `Everything.load`."""
        backend = load_backend(
            method.weights, method.image_size, method.normalization, method.precision, method.cache
        )
        return cls(method, backend, checkpoint_sha256(method.weights))

    def segment(self, image: CTSlice) -> SliceSegmentation:
        """Segment one slice."""
        body = body_mask(image)
        return self.merged(generate_masks(self.backend, image, self.method, body=body), image, body)

    def merged(self, found: GeneratedMasks, image: CTSlice, body: Mask) -> SliceSegmentation:
        """Merge masks that were found on a slice into one label map, and clean it.

        Args:
            found: The masks.
            image: The slice.
            body: bool (rows, columns): the patient, as `body_mask` finds it.
        """
        usual: MergePolicy = "score" if self.backend.normalization == "ranks" else "small-on-top"
        labels, index = merge_masks(found.proposals, self.method.merge or usual)
        scores = np.clip(found.predicted_iou[index], 0, 1)
        return SliceSegmentation(*clean(labels, image, self.method.cleanup, scores, body))


@dataclass(frozen=True, eq=False)
class BoxPromptedSegmenter:
    """A promptable network that is open, and the source of its boxes.

    Args:
        method: The settings.
        source: Where the boxes of a slice come from.
        weights_sha256: Hash of the network's weights; after a `+` that of what boxes come from.
    """

    method: BoxPrompted
    backend: Backend
    source: BoxSource
    weights_sha256: str

    @classmethod
    def of(cls, method: BoxPrompted) -> "BoxPromptedSegmenter":
        """Open what some settings name; see `BoxPrompted.load`."""
        source = open_box_source(method.source_method or method.boxes)
        backend = load_backend(
            method.weights,
            method.image_size,
            method.normalization,
            method.precision,
            method.cache,
            like_sam="medsam",
        )
        hashes = [checkpoint_sha256(method.weights), *([source.sha256] if source.sha256 else [])]
        return cls(method, backend, source, "+".join(hashes))

    def segment(self, image: CTSlice) -> SliceSegmentation:
        """Segment one slice; where there is no box, there is no structure.

        Raises:
            InputError: If the file of boxes is of another image, or a box leaves the slice.
        """
        method, body = self.method, body_mask(image)
        boxes = self.boxes_on(image)
        masks = masks_in_boxes(self.backend, image, boxes, boxes_per_batch=method.boxes_per_batch)
        masks = clean_proposals(masks, image, method.cleanup, body)
        labels, index = merge_masks(masks, method.merge)
        scores = np.clip(masks.scores[index], 0, 1)
        return SliceSegmentation(*clean(labels, image, method.cleanup, scores, body))

    def boxes_on(self, image: CTSlice) -> Annotated[NDArray[np.float64], "n 4"]:
        """Return the boxes on a slice, x0, y0, x1, y1 in pixels, as the network gets them."""
        method, rng = self.method, np.random.default_rng(self.method.seed)
        boxes = self.source.boxes_on(image)
        try:
            return moved_boxes(boxes, image.shape, method.pad_px, method.jitter_px, rng)
        except InputError as error:  # boxes around structures are right, so a file holds this one
            name = "" if image.source is None else f", {image.source.name}"
            raise InputError(
                f"{method.boxes}{name}", expected=error.expected, found=error.found, fix=error.fix
            ) from error


def masks_in_boxes(
    backend: Backend,
    image: CTSlice,
    boxes: ArrayLike,
    boxes_per_batch: int = 64,
) -> MaskProposals:
    """Return one mask for each box: the decoder's output for unambiguous prompts.

    Args:
        image: Slice; the network takes it as `to_display` gives it.
        boxes: (n, 4): x0, y0, x1, y1 in pixels, x1 and y1 one past the last pixel.
        boxes_per_batch: Boxes that are decoded at a time; bounds the memory.

    Returns:
        As many masks as boxes, in their order, with predicted IoU as scores. A mask may leave its box, and
        may be empty.

    Raises:
        InputError: If a box is not finite, has no area or leaves the slice.
    """
    xyxy = np.asarray(boxes)
    nowhere, nothing = np.zeros(4, dtype=np.int64), np.zeros((0, 0), dtype=np.bool_)
    places, crops = [], []
    scores = [np.zeros(0, dtype=np.float32)]
    if xyxy.size:
        prompts = point_prompts(None, None, xyxy, image.shape)
        embedded = embed(backend, to_display(image))
        upsampler = MaskUpsampler(embedded.frame)
        image_tokens = backend.encode_prompts(embedded.embedding, None)
        points = embedded.frame.to_input(prompts.points_xy)
        for start in range(0, len(points), boxes_per_batch):
            batch = slice(start, start + boxes_per_batch)
            decoded = backend.decode_masks(
                image_tokens, points[batch], prompts.labels[batch], multimask=False
            )
            scores.append(decoded.predicted_iou[:, 0])
            for logits in decoded.logits:
                part = upsampler.upsample(logits, 0)
                place, crop = (nowhere, nothing) if part is None else part.above(0)
                places.append(place)
                crops.append(crop)
    return MaskProposals(
        image.shape,
        np.array(places, dtype=np.int64).reshape(-1, 4),
        tuple(crops),
        np.concatenate(scores),
    )


def moved_boxes(
    boxes: ArrayLike, shape: tuple[int, int], pad_px: float, jitter_px: float, rng: np.random.Generator
) -> Annotated[NDArray[np.float64], "n 4"]:
    """Return boxes grown on all sides, then each side moved at random.

    Sides never cross the middle of their box, and stay on the slice.

    Args:
        boxes: (n, 4): x0, y0, x1, y1 in pixels.
        shape: (rows, columns) of the slice.
        pad_px: By how much each side moves outwards.
        jitter_px: By how much it moves then at most, outwards or inwards.
        rng: Draws the jitter.

    Raises:
        InputError: If a box is not finite, has no area or leaves the slice.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> moved_boxes([[1, 4, 5, 6]], (8, 8), pad_px=2, jitter_px=0, rng=rng).tolist()
        [[0.0, 2.0, 7.0, 8.0]]
    """
    if np.asarray(boxes).size == 0:
        return np.zeros((0, 4))
    xyxy = checked_boxes(boxes, shape)
    middles = (xyxy[:, :2] + xyxy[:, 2:]) / 2
    least = np.minimum(0.5, (xyxy[:, 2:] - xyxy[:, :2]) / 2)
    shifts = rng.uniform(-jitter_px, jitter_px, xyxy.shape) + pad_px * np.array([-1, -1, 1, 1])
    low = np.minimum(xyxy[:, :2] + shifts[:, :2], middles - least)
    high = np.maximum(xyxy[:, 2:] + shifts[:, 2:], middles + least)
    rows, columns = shape
    return np.concatenate([np.maximum(low, 0), np.minimum(high, [columns, rows])], axis=1)
