"""Boxes from one method, masks from another: the box mode of SAM and MedSAM, for whole slices.

Stands above the rooms of the methods, which know nothing of each other: their results meet here.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fewct.errors import InputError, UsageError
from fewct.imaging.intensity import to_display
from fewct.imaging.labelmap import Cleanup, clean, clean_proposals
from fewct.imaging.mask_merging import MergePolicy, merge_masks
from fewct.methods.sam.backends.base import Backend
from fewct.methods.sam.backends.load import NormalizationChoice, checkpoint_sha256, load_backend
from fewct.methods.sam.box_sources import (
    Source,
    SourceName,
    boxes_in_file,
    boxes_of_structures,
    file_sha256,
    source_method,
)
from fewct.methods.sam.conventions import Precision
from fewct.methods.sam.mask_generator.candidates import MaskUpsampler
from fewct.methods.sam.predictor import embed
from fewct.methods.sam.prompts import checked_boxes, point_prompts
from fewct.types import CTSlice, MaskProposals, SliceSegmentation

DEFAULT_SOURCE: SourceName = "mosaic"


@dataclass(frozen=True)
class BoxPrompted:
    """Draw a box around each structure that another method finds, and let MedSAM outline what is in it.

    MedSAM (https://doi.org/10.1038/s41467-024-44824-z) draws one mask for each box; a policy merges them into
    one label map. Boxes come from another method at its default settings, from a table, or from a label map.
    Scores are what the network thinks of each mask.

    Raises:
        UsageError: If a setting is out of its range, or two contradict each other.
    """

    name: ClassVar[str] = "medsam-boxes"
    summary: ClassVar[str] = "MedSAM, prompted by boxes of another method, of a table or of a label map"

    weights: str = ""
    """Checkpoint of SAM, MedSAM, MobileSAM or LiteMedSAM: a file, a folder of transformers or of an
    export, or a name in `fewct models list`; empty: prompt-small, which comes with fewct."""
    boxes_from: SourceName | None = None
    """Method whose structures get boxes; None: mosaic, where no file of boxes is named."""
    boxes_weights: str = ""
    """Weights of that method, for unet, which comes without, and for everything, if not prompt-small."""
    boxes: str = ""
    """File of boxes, CSV or JSON, or a label map whose structures get boxes."""
    pad_px: float = 0.0
    """Pixels by which boxes grow on each side."""
    jitter_px: float = 0.0
    """Pixels by which each side of a box then moves at most, at random: to see what bad boxes do."""
    seed: int = 0
    """Of the random moves, which are the same for each slice."""
    boxes_per_batch: int = 64
    """Boxes that are put to the network at a time; bounds the memory."""
    image_size: int = 0
    """Side of the image that the network sees: 256, 512 or 1024; 0: what it was made for."""
    normalization: NormalizationChoice = "auto"
    """How the network was trained to see grey; auto takes a file that looks like SAM's for MedSAM's."""
    precision: Precision = "float32"
    """What the image encoder computes in; bfloat16 is faster on processors that have it, and rounds."""
    cache: bool = False
    """Keep what the image encoder made of each slice in the cache folder, and take it from there."""
    merge: MergePolicy = "small-on-top"
    """Which of two masks that overlap takes the pixels."""
    cleanup: Cleanup = field(default_factory=lambda: Cleanup(min_area="0.03%", body_only=True))

    def __post_init__(self) -> None:
        for setting in ("pad_px", "jitter_px", "seed", "image_size"):
            if not 0 <= getattr(self, setting) < float("inf"):
                raise _out_of_range(setting, "0 or more", getattr(self, setting))
        if self.boxes_per_batch < 1:
            raise _out_of_range("boxes_per_batch", "1 or more", self.boxes_per_batch)
        if self.boxes and (self.boxes_from is not None or self.boxes_weights):
            raise UsageError(
                "boxes",
                expected="a file of boxes or a method that finds them",
                found=f"{self.boxes} and {self.boxes_from or self.boxes_weights}",
                fix="Leave out --boxes, or --boxes-from and --boxes-weights.",
            )
        self._source()

    @property
    def weights_sha256(self) -> str:
        """Hash of the checkpoint; after a `+` that of the file of boxes, or of their method's weights."""
        source = self._source()
        theirs = file_sha256(Path(self.boxes)) if source is None else source.weights_sha256
        ours = checkpoint_sha256(self.weights)
        return ours if theirs is None else f"{ours}+{theirs}"

    def segment(self, image: CTSlice) -> SliceSegmentation:
        """Delineate one slice; where there is no box, there is no structure.

        Raises:
            InputError: If weights are absent, damaged or of another network; the file of boxes is absent,
                damaged or does not tell of the image; or a box leaves the slice.
            MissingExtraError: If torch is not installed.
        """
        from fewct.methods.sam.box_prompted import masks_in_boxes

        backend = load_backend(
            self.weights, self.image_size, self.normalization, self.precision, self.cache, like_sam="medsam"
        )
        boxes = self._boxes_on(image)
        masks = masks_in_boxes(backend, image, boxes, boxes_per_batch=self.boxes_per_batch)
        masks = clean_proposals(masks, image, self.cleanup)
        labels, index = merge_masks(masks, self.merge)
        return SliceSegmentation(*clean(labels, image, self.cleanup, np.clip(masks.scores[index], 0, 1)))

    def _source(self) -> Source | None:
        """Return the method whose structures get boxes; None where a file holds them."""
        return None if self.boxes else source_method(self.boxes_from or DEFAULT_SOURCE, self.boxes_weights)

    def _boxes_on(self, image: CTSlice) -> Annotated[NDArray[np.float64], "n 4"]:
        """Return the boxes on a slice, x0, y0, x1, y1 in pixels, as they are put to the network."""
        from fewct.methods.sam.box_prompted import moved_boxes

        source = self._source()
        found = (
            boxes_in_file(image, Path(self.boxes)) if source is None else boxes_of_structures(image, source)
        )
        rng = np.random.default_rng(self.seed)
        try:
            return moved_boxes(found, image.shape, self.pad_px, self.jitter_px, rng)
        except InputError as error:  # boxes around structures are right, so a file holds this one
            name = "" if image.source is None else f", {image.source.name}"
            raise InputError(
                f"{self.boxes}{name}", expected=error.expected, found=error.found, fix=error.fix
            ) from error


def _out_of_range(setting: str, expected: str, found: float) -> UsageError:
    return UsageError(setting, expected=expected, found=f"{found}", fix="Leave it out for the default.")


def masks_in_boxes(
    backend: Backend,
    image: CTSlice,
    boxes: ArrayLike,
    window: str | None = None,
    boxes_per_batch: int = 64,
) -> MaskProposals:
    """Return one mask for each box: the one that a network draws for prompts that leave no doubt.

    Args:
        backend: The networks.
        image: Slice; it is seen as `to_display` shows it to people, 8-bit grey.
        boxes: (n, 4): x0, y0, x1, y1 in pixels, x1 and y1 one past the last pixel. None: the network is not
            asked.
        window: Name of a preset in `imaging.intensity.WINDOWS`, for Hounsfield units; soft tissue by default.
        boxes_per_batch: Boxes that are put to the network at a time; bounds the memory.

    Returns:
        As many masks as boxes, in their order, with predicted IoU as scores. A mask may leave its box, and
        may be empty.

    Raises:
        InputError: If a box is not finite, has no area or leaves the slice.
        UsageError: If there is no such window.
    """
    xyxy = np.asarray(boxes)
    nowhere, nothing = np.zeros(4, dtype=np.int64), np.zeros((0, 0), dtype=np.bool_)
    places, crops = [], []
    scores = [np.zeros(0, dtype=np.float32)]
    if xyxy.size:
        prompts = point_prompts(None, None, xyxy, image.shape)
        embedded = embed(backend, to_display(image, window))
        upsampler, image_tokens = (
            MaskUpsampler(embedded.frame),
            backend.encode_prompts(embedded.embedding, None),
        )
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
    """Return boxes grown on all sides, then each side moved at random, as a hurried hand would draw them.

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
