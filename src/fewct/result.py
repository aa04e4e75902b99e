"""What comes out: the structures of one slice, and the result for a slice or scan."""

import base64
import operator
from dataclasses import dataclass, replace
from html import escape
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray

from fewct.errors import InputError, UsageError, as_slice_labels
from fewct.imaging.structure_table import structure_table
from fewct.types import CTSlice, CTVolume, LabelMap, Labels, Manifest, MergeTree, Structure

if TYPE_CHECKING:
    from fewct.imaging.region_tree import RegionCut

ROWS_SHOWN = 12  # of the table of structures in a notebook


@dataclass(frozen=True, eq=False)
class SliceSegmentation:
    """What a method finds on one slice.

    Args:
        labels: int32 (rows, columns): structures numbered 1 .. n, 0 for the rest; without gaps above
            `n_fixed_ids`.
        scores: float32 (n,): confidence of each structure in [0, 1]; NaN where the method gives none, and for
            fixed ids that the slice lacks.
        cut: The merge tree that the labels were cut from, when the method has one.
        n_fixed_ids: Ids up to this one mean the same on every slice, and a slice may lack some; 0 for none.

    Raises:
        InputError: If labels are no label map of a slice, or a structure has no score.
    """

    labels: Labels
    scores: Annotated[NDArray[np.float32], "n"]
    cut: "RegionCut | None" = None
    n_fixed_ids: int = 0

    def __post_init__(self) -> None:
        labels = as_slice_labels(np.asarray(self.labels))
        scores = np.asarray(self.scores, dtype=np.float32)
        if scores.ndim != 1 or len(scores) < max(int(labels.max()), self.n_fixed_ids):
            raise InputError(
                "scores",
                expected=f"one score for each id up to {max(int(labels.max()), self.n_fixed_ids)}",
                found=f"shape {scores.shape}",
                fix="Number the structures 1 .. n and give n scores, NaN for those without.",
            )
        object.__setattr__(self, "labels", labels)
        object.__setattr__(self, "scores", scores)


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Segmentation(LabelMap):
    """The result for one slice or scan: a label map with its table, and how it came to be.

    The result of a slice keeps the merge tree, where the method has one: `at_level`, `split` and `merge`
    return another result at once, without running the network again.

    Args:
        structures: One row a structure, by id.
        manifest: How the result came to be.
        image: The input.
        cut: The merge tree that the labels were cut from; None for scans and for methods without.
    """

    structures: tuple[Structure, ...]
    manifest: Manifest
    image: CTSlice | CTVolume | None = None
    cut: "RegionCut | None" = None

    @property
    def tree(self) -> MergeTree | None:
        """The merge tree of a slice, when the method has one."""
        return None if self.cut is None else self.cut.regions.tree

    def at_level(self, level: float) -> "Segmentation":
        """Return what `fewct.segment` gives with this `level` and else the same settings.

        Splits and merges by hand are gone then.

        Args:
            level: Strength of border, in [0, 1], below which neighbours are one structure.

        Raises:
            UsageError: If the level is outside [0, 1], or the result has no merge tree.
        """
        return self._recut(self._cut.at_level(float(level)), level=float(level))

    def split(self, structure: int) -> "Segmentation":
        """Return the result with one structure split in two, or into what `merge` had joined.

        Args:
            structure: Its id, which the largest part keeps; others get the next free ids.

        Raises:
            UsageError: If there is no such structure, it cannot be split, or the result has no merge tree.
        """
        structure = operator.index(structure)
        return self._recut(self._cut.split(structure), edits=[*self._edits, ["split", structure]])

    def merge(self, first: int, second: int) -> "Segmentation":
        """Return the result with two structures as one, whose id is the first one's.

        Raises:
            UsageError: If there is no such structure, or the result has no merge tree.
        """
        first, second = operator.index(first), operator.index(second)
        return self._recut(self._cut.merge(first, second), edits=[*self._edits, ["merge", first, second]])

    @property
    def _cut(self) -> "RegionCut":
        if self.cut is None:
            scan = self.labels.ndim == 3
            raise UsageError(
                "result",
                expected="the result of one slice, with a merge tree",
                found="a scan" if scan else f"a result of {self.manifest.method}, which has none",
                fix="Segment a slice, such as scan[10]." if scan else "Use the method mosaic.",
            )
        return self.cut

    @property
    def _edits(self) -> list[Any]:
        return list(self.manifest.configuration.get("edits", []))

    def _recut(self, cut: "RegionCut", **settings: Any) -> "Segmentation":
        configuration = {**self.manifest.configuration, **settings}
        if "level" in settings:
            configuration.pop("edits", None)
        image = cut.regions.image
        return replace(
            self,
            labels=cut.labels,
            structures=structure_table(cut.labels, image, cut.scores),
            manifest=replace(self.manifest, configuration=configuration),
            cut=cut,
        )

    def __getstate__(self) -> dict[str, Any]:
        """Return what pickle keeps: a scan is read from its files, which stay behind."""
        return self.__dict__ | {"image": self.image if isinstance(self.image, CTSlice) else None}

    def __repr__(self) -> str:
        shape = " x ".join(map(str, self.labels.shape))
        return f"Segmentation({shape}, {len(self.structures)} structures, method {self.manifest.method})"

    def _repr_html_(self) -> str:
        """Show picture and table in a notebook."""
        picture = base64.b64encode(self._repr_png_()).decode()
        largest = sorted(self.structures, key=lambda row: -row.area_px)[:ROWS_SHOWN]
        sizes, of = ([row.volume_mm3 / 1000 for row in largest], "volume, ml")
        if self.labels.ndim == 2:
            sizes, of = [row.area_mm2 for row in largest], "area, mm²"
        if self.geometry is None:
            sizes, of = [row.area_px for row in largest], "size, px"
        rows = "".join(
            f"<tr><td>{row.id}</td><td>{size:.0f}</td><td>{row.mean_intensity:.0f}</td></tr>"
            for row, size in zip(largest, sizes, strict=True)
        )
        more = len(self.structures) - len(largest)
        rows += f"<tr><td colspan=3>and {more} smaller ones</td></tr>" if more else ""
        return (
            f"<p>{escape(repr(self))}</p><div style='display:flex;gap:1em;align-items:flex-start'>"
            f"<img style='max-width:32em' alt='{escape(repr(self))}' src='data:image/png;base64,{picture}'>"
            f"<table><tr><th>id</th><th>{of}</th><th>mean, {self.manifest.unit}</th></tr>{rows}</table></div>"
        )
