"""Segment-everything as a method: its settings, and one label a pixel."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from fewct.imaging.labelmap import Cleanup, clean
from fewct.imaging.mask_merging import MergePolicy, merge_masks
from fewct.methods.sam.backends.base import Backend
from fewct.methods.sam.backends.load import NormalizationChoice, checkpoint_sha256, load_backend
from fewct.methods.sam.conventions import Precision
from fewct.methods.sam.mask_generator.settings import MaskGeneratorSettings
from fewct.types import CTSlice, SliceSegmentation


@dataclass(frozen=True)
class Everything(MaskGeneratorSettings):
    """Put a grid of points to Segment Anything (https://arxiv.org/abs/2304.02643) and merge the masks.

    Each point gives three masks; those that the network thinks good, that are stable and within the limits of
    area stay, near-duplicates go, and a policy merges what overlaps into one label map. Scores are what the
    network thinks of each mask.

    Raises:
        UsageError: If a setting is out of its range.
    """

    name: ClassVar[str] = "everything"
    summary: ClassVar[str] = "Segment Anything or a network of its kind, prompted by a grid of points"

    weights: str = ""
    """Checkpoint of SAM, MedSAM, MobileSAM or LiteMedSAM: a file, a folder of transformers or of an
    export, or a name in `fewct models list`; empty: prompt-small, which comes with fewct."""
    image_size: int = 0
    """Side of the image that the network sees: 256, 512 or 1024; 0: what it was made for."""
    normalization: NormalizationChoice = "auto"
    """How the network was trained to see grey; name medsam for MedSAM, whose file looks like SAM's."""
    precision: Precision = "float32"
    """What the image encoder computes in; bfloat16 is faster on processors that have it, and rounds."""
    cache: bool = False
    """Keep what the image encoder made of each slice in the cache folder, and take it from there."""
    merge: MergePolicy | None = None
    """Which of two masks that overlap takes the pixels; None: the smaller one, and for prompt-small that with
    the higher predicted IoU."""
    cleanup: Cleanup = field(default_factory=lambda: Cleanup(min_area="0.03%", body_only=True))

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("image_size", self.image_size >= 0, "0 or more")

    @property
    def weights_sha256(self) -> str:
        """Hash of the file of weights."""
        return checkpoint_sha256(self.weights)

    def segment(self, image: CTSlice) -> SliceSegmentation:
        """Delineate one slice.

        Raises:
            UsageError: If the network was exported for another size or other normalization.
            InputError: If the weights are absent, damaged or of another network.
            MissingExtraError: If torch is not installed.
        """
        backend = load_backend(self.weights, self.image_size, self.normalization, self.precision, self.cache)
        return self.segment_with(backend, image)

    def segment_with(self, backend: Backend, image: CTSlice) -> SliceSegmentation:
        """Delineate one slice with networks that are loaded, whatever `weights` says."""
        from fewct.methods.sam.mask_generator.generator import generate_masks

        found = generate_masks(backend, image, self)
        usual: MergePolicy = "score" if backend.normalization == "ranks" else "small-on-top"
        labels, index = merge_masks(found.proposals, self.merge or usual)
        scores = np.clip(found.predicted_iou[index], 0, 1)
        return SliceSegmentation(*clean(labels, image, self.cleanup, scores))
