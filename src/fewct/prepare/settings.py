"""How data becomes MedSAM's NPZ."""

from dataclasses import dataclass

from fewct.errors import UsageError
from fewct.methods.sam.loading import IntensityChoice
from fewct.types import WindowName


@dataclass(frozen=True)
class MedSAMSettings:
    """What goes into MedSAM's NPZ; the defaults are the founding paper's.

    Raises:
        UsageError: If a threshold is below 0, or `intensities` is chosen without weights.
    """

    multi: bool = False
    """One entry a slice with a channel for each structure, instead of one entry for each structure."""
    min_original_px: int = 1000
    """Drop structures of fewer pixels before resizing: in the picture, or in all slices taken of a scan."""
    min_resized_px: int = 100
    """Drop a structure from a slice on which fewer pixels of it are left after resizing to 256 x 256."""
    window: WindowName | None = None
    """How Hounsfield units become grey; None: soft tissue. For grey data percentiles do that."""
    weights: str = ""
    """Checkpoint of SAM or MedSAM, file or folder, whose image embeddings are written, too. Needs torch."""
    intensities: IntensityChoice = "auto"
    """How the network was trained to see grey; name medsam for MedSAM, whose file looks like SAM's."""

    def __post_init__(self) -> None:
        for name in ("min_original_px", "min_resized_px"):
            if getattr(self, name) < 0:
                raise UsageError(
                    name, expected="0 or more pixels", found=f"{getattr(self, name)}", fix="0 drops nothing."
                )
        if self.intensities != "auto" and not self.weights:
            raise UsageError(
                "intensities",
                expected="weights of a network that sees them",
                found="none",
                fix="Name a checkpoint with --weights, or leave this out.",
            )
