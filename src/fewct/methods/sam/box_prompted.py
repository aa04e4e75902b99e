"""Masks in boxes as a method, the box mode of SAM and MedSAM for whole slices: its settings."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from fewct.errors import UsageError, check_literals, check_range
from fewct.imaging.cleanup import Cleanup
from fewct.imaging.mask_merging import MergePolicy
from fewct.methods.protocol import Method
from fewct.methods.sam.backends.load import NormalizationChoice
from fewct.methods.sam.box_sources import SourceName, source_method
from fewct.methods.sam.conventions import Precision

if TYPE_CHECKING:
    from fewct.methods.sam.inference import BoxPromptedSegmenter

DEFAULT_SOURCE: SourceName = "mosaic"


@dataclass(frozen=True)
class BoxPrompted:
    """Draw a box around each structure that another method finds, and let a promptable network segment it.

    SAM, MedSAM (https://doi.org/10.1038/s41467-024-44824-z) and their kin predict one mask for each box; a
    policy merges them into one label map. Boxes come from another method at its default settings, from a
    table, or from a label map. Scores are the predicted IoU of each mask.

    Raises:
        UsageError: If a setting is out of its range, or two contradict each other.
    """

    name: ClassVar[str] = "boxes"
    summary: ClassVar[str] = (
        "a promptable network with boxes of another method, a table or a label map as prompts"
    )

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
    """Boxes that are decoded at a time; bounds the memory."""
    image_size: int = 0
    """Side of the network's input: 256, 512 or 1024; 0: what it was made for."""
    normalization: NormalizationChoice = "auto"
    """How grey values are normalised; auto takes a file that looks like SAM's for MedSAM's."""
    precision: Precision = "float32"
    """What the image encoder computes in; bfloat16 is faster on processors that have it, and rounds."""
    cache: bool = False
    """Keep embeddings of slices in the cache folder, and take them from there."""
    merge: MergePolicy = "small-on-top"
    """Which of two masks that overlap takes the pixels."""
    cleanup: Cleanup = field(default_factory=lambda: Cleanup(min_area="0.03%", body_only=True))

    def __post_init__(self) -> None:
        check_literals(self)
        for setting in ("pad_px", "jitter_px", "seed", "image_size"):
            check_range(setting, getattr(self, setting))
        check_range("boxes_per_batch", self.boxes_per_batch, 1)
        if self.boxes and (self.boxes_from is not None or self.boxes_weights):
            raise UsageError(
                "boxes",
                expected="a file of boxes or a method that finds them",
                found=f"{self.boxes} and {self.boxes_from or self.boxes_weights}",
                fix="Leave out --boxes, or --boxes-from and --boxes-weights.",
            )
        _ = self.source_method  # which checks the settings of the method that finds boxes

    @property
    def source_method(self) -> Method | None:
        """The method whose structures get boxes; None where a file holds them."""
        return None if self.boxes else source_method(self.boxes_from or DEFAULT_SOURCE, self.boxes_weights)

    def load(self) -> "BoxPromptedSegmenter":
        """Open the networks, and the file of boxes or the method that finds them.

        Raises:
            InputError: If weights are absent, damaged or of another network, or the file of boxes is absent
                or damaged.
            MissingExtraError: If it is no export and torch is not installed.
        """
        from fewct.methods.sam.inference import BoxPromptedSegmenter

        return BoxPromptedSegmenter.of(self)
