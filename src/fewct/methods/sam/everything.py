"""Segment-everything as a method: its settings."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from fewct.errors import check_literals, check_range
from fewct.imaging.cleanup import Cleanup
from fewct.imaging.mask_merging import MergePolicy
from fewct.methods.sam.backends.load import NormalizationChoice
from fewct.methods.sam.conventions import Precision
from fewct.methods.sam.mask_generator.settings import MaskGeneratorSettings

if TYPE_CHECKING:
    from fewct.methods.sam.inference import EverythingSegmenter


@dataclass(frozen=True)
class Everything(MaskGeneratorSettings):
    """Prompt Segment Anything (https://arxiv.org/abs/2304.02643) with a grid of points and merge the masks.

    Each point gives three masks; those of high predicted IoU that are stable and within the limits of area
    stay, near-duplicates go, and a policy merges what overlaps into one label map. Scores are predicted IoU.

    Raises:
        UsageError: If a setting is out of its range.
    """

    name: ClassVar[str] = "everything"
    summary: ClassVar[str] = "Segment Anything or a network of its kind, prompted by a grid of points"

    weights: str = ""
    """Checkpoint of SAM, MedSAM, MobileSAM or LiteMedSAM: a file, a folder of transformers or of an
    export, or a name in `fewct models list`; empty: prompt-small, which comes with fewct."""
    image_size: int = 0
    """Side of the network's input: 256, 512 or 1024; 0: what it was made for."""
    normalization: NormalizationChoice = "auto"
    """How grey values are normalised; name medsam for MedSAM, whose file looks like SAM's."""
    precision: Precision = "float32"
    """What the image encoder computes in; bfloat16 is faster on processors that have it, and rounds."""
    cache: bool = False
    """Keep embeddings of slices in the cache folder, and take them from there."""
    merge: MergePolicy | None = None
    """Which of two masks that overlap takes the pixels; None: the smaller one, and for prompt-small that with
    the higher predicted IoU."""
    cleanup: Cleanup = field(default_factory=lambda: Cleanup(min_area="0.03%", body_only=True))

    def __post_init__(self) -> None:
        check_literals(self)
        super().__post_init__()
        check_range("image_size", self.image_size)

    def load(self) -> "EverythingSegmenter":
        """Open the networks.

        Raises:
            UsageError: If the network was exported for another size or another normalization.
            InputError: If the weights are absent, damaged or of another network.
            MissingExtraError: If it is no export and torch is not installed.
        """
        from fewct.methods.sam.inference import EverythingSegmenter

        return EverythingSegmenter.of(self)
