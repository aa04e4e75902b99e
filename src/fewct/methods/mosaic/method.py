"""The default method: its settings and its steps."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from fewct.errors import FewctError, InputError, UsageError
from fewct.imaging.labelmap import Cleanup, clean
from fewct.types import CTSlice, Image, Labels, MergeTree, SliceSegmentation

if TYPE_CHECKING:
    from fewct.methods.mosaic.maps import Maps


@dataclass(frozen=True)
class Mosaic:
    """Cut a slice into regions, merge them across weak borders, keep what is structure.

    Two maps tell where borders and structures are: from a small network, or from image gradients and tissue
    densities. The border map is flooded from its minima (watershed); neighbouring regions merge in the order
    of the mean border between them; the merge tree is cut at a level. What is no structure and what lies
    outside the body take no part. Scores tell how far the level may move until a structure merges with a
    neighbour.

    Raises:
        UsageError: If a setting is out of its range.
    """

    name: ClassVar[str] = "mosaic"
    summary: ClassVar[str] = "boundary and structure maps, a merge tree, a cut at a level"

    maps: Literal["network", "gradients"] = "network"
    """Where borders and structures come from: a trained network, or image gradients and densities alone."""
    weights: str = ""
    """Folder that `fewct train mosaic` or `fewct adapt` wrote, an ONNX file, or a name that `fewct models
    list` shows; empty: the network that comes with fewct. On the command line a folder of `fewct adapt`
    brings its settings, too; in Python see `load_adapted`."""
    level: float = 0.45
    """Strength of border, in [0, 1], below which neighbours are one structure; higher gives fewer."""
    pairs: float = 0.5
    """Share, in [0, 1], of what pairs of pixels on both sides of a border say, against the border itself."""
    depth: float = 0.1
    """Depth of a minimum of the boundary map, in [0, 1], that starts a region; lower gives finer regions."""
    min_region_mm2: float = 20.0
    """Regions smaller than this, in mm2, join a neighbour before any others merge."""
    structure: float = 0.62
    """Share, in [0, 1], from which a pixel of the structure map belongs to a structure."""
    certainty: float = 0.83
    """Mean of the structure map, in [0, 1], below which a whole structure is background."""
    cleanup: Cleanup = field(default_factory=lambda: Cleanup(min_area="0.03%", body_only=True))

    def __post_init__(self) -> None:
        for setting in ("level", "pairs", "depth", "structure", "certainty"):
            if not 0 <= getattr(self, setting) <= 1:
                raise _out_of_range(setting, "a number in [0, 1]", getattr(self, setting))
        if not 0 <= self.min_region_mm2 < float("inf"):
            raise _out_of_range("min_region_mm2", "an area of 0 or more", self.min_region_mm2)

    @property
    def weights_sha256(self) -> str | None:
        """Hash of the network's weights; None where gradients take its place."""
        if self.maps == "gradients":
            return None
        from fewct.runtime.onnx_session import checked_sha256

        return checked_sha256(self.weights_file())

    def segment(self, image: CTSlice) -> SliceSegmentation:
        """Delineate one slice; the tree is that of the regions before the cut."""
        from fewct.imaging.merge_tree import nodes_at_level, paint, persistence

        maps = self.maps_of(image)
        tree = self.tree_of(image, maps)
        nodes = nodes_at_level(tree, self.level)
        labels, scores = paint(tree, nodes), persistence(tree)[np.unique(nodes)]
        labels = _without_uncertain(labels, maps.structure, self.certainty)
        return SliceSegmentation(*clean(labels, image, self.cleanup, scores), tree)

    def tree_of(self, image: CTSlice, maps: "Maps") -> MergeTree:
        """Return the order in which regions merge; neither `level`, `certainty` nor `cleanup` change it."""
        from fewct.imaging.agglomeration import merge_tree
        from fewct.imaging.merge_tree import oversegment
        from fewct.methods.mosaic.gradient_maps import pixel_size_mm
        from fewct.methods.mosaic.maps import region_pairs

        inside = (maps.structure >= self.structure) & (maps.structure > 0)
        min_leaf_px = max(1, round(self.min_region_mm2 / pixel_size_mm(image) ** 2))
        leaves = oversegment(maps.boundary, inside, depth=self.depth, min_leaf_px=min_leaf_px)
        apart = None if maps.affinities is None else region_pairs(leaves, maps.affinities)
        return merge_tree(leaves, maps.boundary, apart, self.pairs)

    def maps_of(self, image: CTSlice) -> "Maps":
        """Return what the slice is cut up by; of the settings, only `maps` and `weights` change it."""
        if self.maps == "gradients":
            from fewct.methods.mosaic.gradient_maps import gradient_maps

            return gradient_maps(image)
        from fewct.methods.mosaic.network_maps import network_maps

        return network_maps(image, self.weights_file())

    def weights_file(self) -> Path:
        """Return the ONNX file of the network.

        Raises:
            InputError: If the weights are absent.
        """
        if not self.weights:
            from fewct.methods.mosaic.network_maps import WEIGHTS

            return WEIGHTS
        from fewct.runtime.model_store import weights_path

        path = weights_path(self.weights)
        return path if path.suffix == ".onnx" else path / "model.onnx"


def _without_uncertain(labels: Labels, structure: Image, certainty: float) -> Labels:
    """Return the labels without regions whose mean of the structure map is too low; numbers stay."""
    areas = np.bincount(labels.ravel())
    means = np.bincount(labels.ravel(), structure.ravel()) / np.maximum(areas, 1)
    return np.where(means >= certainty, np.arange(len(areas)), 0).astype(np.int32)[labels]


def _out_of_range(setting: str, expected: str, found: float) -> UsageError:
    return UsageError(setting, expected=expected, found=f"{found}", fix="Leave it out for the default.")


ADAPTED = "adapted.json"


def load_adapted(folder: Path | str) -> Mosaic:
    """Return `mosaic` as a folder of `fewct adapt` has it: with its network and with its settings.

    Args:
        folder: The folder.

    Raises:
        InputError: If it holds no adaptation, or a damaged one.
    """
    path = Path(folder) / ADAPTED
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))["settings"]
        cleanup = Cleanup(**settings["cleanup"])
        return Mosaic(**(settings | {"cleanup": cleanup, "weights": f"{folder}"}))
    except (OSError, ValueError, TypeError, KeyError, FewctError) as error:
        raise InputError(
            path,
            expected="the settings of an adapted mosaic",
            found=f"{type(error).__name__}: {error}",
            fix="Name a folder that `fewct adapt` of this version wrote.",
        ) from error


def is_adapted(weights: str) -> bool:
    """Tell whether weights are named by a folder that `fewct adapt` wrote."""
    return bool(weights) and (Path(weights) / ADAPTED).is_file()


def settings_of(method: Mosaic) -> dict[str, Any]:
    """Return what `load_adapted` reads: all settings but where the weights lie."""
    return {name: value for name, value in asdict(method).items() if name != "weights"}
