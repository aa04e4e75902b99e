"""The default method: its settings, and the folder of an adaptation that brings some."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from fewct.errors import FewctError, InputError, UsageError, check_literals, check_range
from fewct.imaging.cleanup import Cleanup

if TYPE_CHECKING:
    from fewct.methods.mosaic.inference import MosaicSegmenter

ADAPTED = "adapted.json"
"""In a folder of `fewct adapt`, beside the network: the settings."""


@dataclass(frozen=True)
class Mosaic:
    """Over-segment a slice, merge regions across weak borders, keep what is structure.

    A small network, or image gradients and densities, give a boundary map and a foreground map. The boundary
    map is flooded from its minima (watershed); neighbouring regions merge in the order of the mean boundary
    between them (average linkage); the merge tree is cut at a level. Regions of low foreground and outside
    the body are background. Scores tell how far the level may move until a structure merges with a neighbour.

    Raises:
        UsageError: If a setting is out of its range, or `weights` is a folder of `fewct adapt`.
    """

    name: ClassVar[str] = "mosaic"
    summary: ClassVar[str] = "boundary and foreground maps, a merge tree, a cut at a level"

    boundary_source: Literal["network", "gradients"] = "network"
    """Where the maps come from: a trained network, or image gradients and densities alone."""
    weights: str = ""
    """Folder that `fewct train mosaic` wrote, an ONNX file, or a name that `fewct models list` shows; empty:
    the network that comes with fewct. On the command line also a folder of `fewct adapt`, which brings its
    settings; in Python see `Mosaic.adapted`."""
    level: float = 0.45
    """Strength of border, in [0, 1], below which neighbours are one structure; higher gives fewer."""
    affinity_weight: float = 0.5
    """Weight, in [0, 1], of affinities of pixels on both sides of a border, against the border itself."""
    minima_depth: float = 0.1
    """Depth of a minimum of the boundary map, in [0, 1], that starts a region; lower gives finer regions."""
    min_region_mm2: float = 20.0
    """Regions smaller than this, in mm2, join a neighbour before any others merge."""
    foreground_threshold: float = 0.62
    """Foreground probability, in [0, 1], from which a pixel belongs to a region."""
    min_foreground: float = 0.83
    """Mean foreground probability, in [0, 1], below which a whole region is background."""
    cleanup: Cleanup = field(default_factory=lambda: Cleanup(min_area="0.03%", body_only=True))

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", f"{self.weights}")
        check_literals(self)
        for name in ("level", "affinity_weight", "minima_depth", "foreground_threshold", "min_foreground"):
            check_range(name, getattr(self, name), 0, 1)
        check_range("min_region_mm2", self.min_region_mm2, 0)
        if is_adapted(self.weights):
            raise UsageError(
                "weights",
                expected="a network alone: a folder of `fewct train mosaic`, an ONNX file or a name",
                found=f"{self.weights}, an adaptation, which has settings as well",
                fix=f"Write Mosaic.adapted({self.weights!r}), or name its model.onnx for the network only.",
            )

    @classmethod
    def adapted(cls, folder: Path | str) -> "Mosaic":
        """Return `mosaic` as a folder of `fewct adapt` has it: with its network and its settings.

        Raises:
            InputError: If it holds no adaptation, or a damaged one.
        """
        path = Path(folder) / ADAPTED
        try:
            settings = json.loads(path.read_text(encoding="utf-8"))["settings"]
            cleanup = Cleanup(**settings["cleanup"])
            return cls(**(settings | {"cleanup": cleanup, "weights": f"{Path(folder) / 'model.onnx'}"}))
        except (OSError, ValueError, TypeError, KeyError, FewctError) as error:
            raise InputError(
                path,
                expected="the settings of an adapted mosaic",
                found=f"{type(error).__name__}: {error}",
                fix="Name a folder that `fewct adapt` of this version wrote.",
            ) from error

    @property
    def portable_settings(self) -> dict[str, Any]:
        """All settings but where the weights lie, as `adapted` reads them."""
        return {name: value for name, value in asdict(self).items() if name != "weights"}

    def load(self) -> "MosaicSegmenter":
        """Open the network.

        Raises:
            InputError: If the weights are absent, damaged or of another network.
        """
        from fewct.methods.mosaic.inference import MosaicSegmenter

        return MosaicSegmenter.of(self)


def is_adapted(weights: str) -> bool:
    """Tell whether weights are named by a folder that `fewct adapt` wrote."""
    return bool(weights) and (Path(weights) / ADAPTED).is_file()
