"""The U-Net as a method: its settings, and the two readings of its map."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

from fewct.errors import UsageError
from fewct.imaging.labelmap import Cleanup, clean
from fewct.types import CTSlice, Mask, SliceSegmentation

if TYPE_CHECKING:
    from fewct.types import Labels

Reading: TypeAlias = Literal["merged", "components"]


@dataclass(frozen=True)
class UNet:
    """Find what is structure with a U-Net (https://doi.org/10.1007/978-3-319-24574-4_28) of one's own.

    The network tells structure from the rest and knows no borders between structures that touch. Read as
    `merged`, all of it is one region, as the founding paper evaluated it; read as `components`, thin bridges
    are opened and each connected part is a structure. Scores are the mean probability in a structure. No
    weights come with fewct: train with `fewct train unet`.

    Raises:
        UsageError: If a setting is out of its range.
    """

    name: ClassVar[str] = "unet"
    summary: ClassVar[str] = "a U-Net for structure against the rest, which you train; connected components"

    weights: str = ""
    """Folder that `fewct train unet` or `fewct models export` wrote, an exported ONNX file, or a name that
    `fewct models list` shows."""
    reading: Reading = "components"
    """merged: all structure is one region; components: each connected part of it is one."""
    threshold: float = 0.5
    """Probability, in [0, 1], from which a pixel is structure."""
    opening_px: int = 2
    """Bridges up to twice this wide, in pixels, are cut before components are counted."""
    cleanup: Cleanup = field(default_factory=lambda: Cleanup(min_area="0.03%", body_only=True))

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise _out_of_range("threshold", "a number in [0, 1]", self.threshold)
        if self.opening_px < 0:
            raise _out_of_range("opening_px", "0 or more", self.opening_px)

    @property
    def weights_sha256(self) -> str:
        """Hash of the weights."""
        from fewct.runtime.onnx_session import checked_sha256

        return checked_sha256(self._weights_file())

    def segment(self, image: CTSlice) -> SliceSegmentation:
        """Delineate one slice.

        Raises:
            UsageError: If no weights are named.
            InputError: If the weights are absent, damaged or of another network.
        """
        from scipy import ndimage

        from fewct.methods.unet.inference import structure_map

        likely = structure_map(image, self._weights_file())
        found = likely >= self.threshold
        labels = (
            _components(found, self.opening_px) if self.reading == "components" else found.astype("int32")
        )
        scores = ndimage.mean(likely, labels, range(1, int(labels.max()) + 1))
        return SliceSegmentation(*clean(labels, image, self.cleanup, scores))

    def _weights_file(self) -> Path:
        if not self.weights:
            raise UsageError(
                "weights",
                expected="the folder of a trained U-Net",
                found="none",
                fix="Train one: fewct train unet --data DATA -o DIR; then pass --weights DIR.",
            )
        from fewct.runtime.model_store import weights_path

        path = weights_path(self.weights)
        return path if path.suffix == ".onnx" else path / "model.onnx"


def _components(found: Mask, opening_px: int) -> "Labels":
    """Return the connected parts (4-neighbours) of a mask, after opening with a disk."""
    import numpy as np
    from scipy import ndimage
    from skimage.morphology import disk

    opened = ndimage.binary_opening(found, disk(opening_px)) if opening_px else found
    return np.asarray(ndimage.label(opened)[0], dtype=np.int32)


def _out_of_range(setting: str, expected: str, found: float) -> UsageError:
    return UsageError(setting, expected=expected, found=f"{found}", fix="Leave it out for the default.")
