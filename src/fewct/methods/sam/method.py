"""Segment-everything as a method: its settings, and one label a pixel."""

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

import numpy as np

from fewct.errors import MissingExtraError, UsageError
from fewct.labelmap import Cleanup, clean
from fewct.merging import MergePolicy, merge_masks
from fewct.methods.sam.settings import EverythingSettings
from fewct.types import CTSlice, Delineation

if TYPE_CHECKING:
    from fewct.methods.sam.backend import Backend

IntensityChoice: TypeAlias = Literal["auto", "sam", "medsam"]


@dataclass(frozen=True)
class Everything(EverythingSettings):
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
    """Checkpoint of SAM, MedSAM, MobileSAM or LiteMedSAM: a file, or a folder of transformers."""
    input_px: int = 0
    """Side of the image that the network sees: 256, 512 or 1024; 0: what it was made for."""
    intensities: IntensityChoice = "auto"
    """How the network was trained to see grey; name medsam for MedSAM, whose file looks like SAM's."""
    merge: MergePolicy = "small-on-top"
    """Which of two masks that overlap takes the pixels."""
    cleanup: Cleanup = field(default_factory=lambda: Cleanup(min_area="0.03%", body_only=True))

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check("input_px", self.input_px >= 0, "0 or more")

    @property
    def weights_sha256(self) -> str:
        """Hash of the file of weights."""
        from fewct.methods.sam.folders import weights_file

        with weights_file(self._checkpoint()).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    def segment(self, image: CTSlice) -> Delineation:
        """Delineate one slice.

        Raises:
            UsageError: If no weights are named.
            InputError: If the weights are absent, damaged or of another network.
            MissingExtraError: If torch is not installed.
        """
        from fewct.methods.sam.everything import find_everything

        backend = _load(self._checkpoint().resolve(), self.input_px, self.intensities)
        found = find_everything(backend, image, self)
        labels, index = merge_masks(found.proposals, self.merge)
        scores = np.clip(found.predicted_iou[index], 0, 1)
        return Delineation(*clean(labels, image, self.cleanup, scores))

    def _checkpoint(self) -> Path:
        if not self.weights:
            raise UsageError(
                "weights",
                expected="a checkpoint of SAM, MedSAM, MobileSAM or LiteMedSAM",
                found="none",
                fix="Get one from its authors' page and pass --weights FILE.",
            )
        return Path(self.weights)


@lru_cache(maxsize=1)
def _load(path: Path, input_px: int, intensities: IntensityChoice) -> "Backend":
    """Load a network, once for all slices of a scan."""
    try:
        from fewct.methods.sam.torch_backend import TorchBackend
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            path,
            expected="torch, which runs it",
            found=str(error),
            fix="Install it: pip install 'fewct[torch]'",
        ) from error
    return TorchBackend.load(path, input_px or None, None if intensities == "auto" else intensities)
