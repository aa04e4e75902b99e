"""Grid search over the settings of `mosaic`: the grid, and the metrics of a slice for all of it at once.

The network runs once a slice, and a merge tree is built once for each `foreground_threshold`. A setting then
needs no pixels: a cut adds up rows of one table, the pixels that each leaf shares with each true structure,
and all metrics follow from that table.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fewct.imaging.body import body_mask
from fewct.imaging.cleanup import MOSTLY
from fewct.imaging.merge_tree import LeafNodes, nodes_at_level
from fewct.methods import Mosaic
from fewct.methods.mosaic.inference import MosaicSegmenter, tree_of
from fewct.metrics import Contingency, foreground_ari, mean_best_iou
from fewct.metrics.catalog import TruthKind
from fewct.metrics.overlap import foreground_overlap
from fewct.types import CTSlice, Image, Labels, Mask, MergeTree

SLICE_METRICS = ("ari_foreground", "mean_best_iou", "foreground_iou")
"""The metrics of each setting on each slice."""
OBJECTIVE_METRICS: Mapping[TruthKind, tuple[str, ...]] = MappingProxyType(
    {"complete": SLICE_METRICS, "partial": ("ari_foreground", "mean_best_iou")}
)
"""The metrics whose mean is the objective. The IoU of all structures together counts what is predicted where
truth is 0, which is wrong only if truth is complete."""

LEVELS = tuple(np.round(np.arange(0.1, 0.85, 0.05), 2).tolist())
STRUCTURES = (0.3, 0.45, 0.62, 0.8)
CERTAINTIES = (0.0, 0.5, 0.7, 0.83, 0.9)
MIN_AREAS = ("0.01%", "0.03%", "0.1%", "0.3%")
MAX_AREAS = (None, "40%", "20%")
NUMBERS = (LEVELS, STRUCTURES, CERTAINTIES)
AREAS: tuple[tuple[str | None, ...], ...] = (MIN_AREAS, MAX_AREAS)

Values: TypeAlias = Annotated[NDArray[np.float64], "settings metrics"]


class SettingsGrid(NamedTuple):
    """Settings to try, those that change least first.

    Args:
        settings: The first is the one begun with.
        steps: int64 (settings,): by how many places in the lists of values each differs from the first.
    """

    settings: tuple[Mosaic, ...]
    steps: Annotated[NDArray[np.int64], "settings"]


def settings_grid(base: Mosaic) -> SettingsGrid:
    """Return all combinations of the values to try, to which those of `base` are added.

    Example:
        >>> grid = settings_grid(Mosaic())
        >>> grid.settings[0] == Mosaic(), grid.steps[:3]
        (True, array([0, 1, 1]))
    """
    own = (
        base.level,
        base.foreground_threshold,
        base.min_foreground,
        base.cleanup.min_area,
        base.cleanup.max_area,
    )
    lists: list[list[Any]] = [
        *(sorted({*values, value}) for values, value in zip(NUMBERS, own[:3], strict=True)),
        *(list(dict.fromkeys((*values, value))) for values, value in zip(AREAS, own[3:], strict=True)),
    ]
    home = [values.index(value) for values, value in zip(lists, own, strict=True)]
    places = np.stack(np.meshgrid(*(np.arange(len(v)) for v in lists), indexing="ij"), -1).reshape(-1, 5)
    steps = np.abs(places - home).sum(axis=1)
    order = np.argsort(steps, kind="stable")
    chosen = [[values[k] for values, k in zip(lists, place, strict=True)] for place in places[order].tolist()]
    return SettingsGrid(tuple(_changed(base, *values) for values in chosen), steps[order])


def _changed(
    base: Mosaic, level: float, threshold: float, min_foreground: float, smallest: str, largest: str | None
) -> Mosaic:
    cleanup = replace(base.cleanup, min_area=smallest, max_area=largest)
    return replace(
        base, level=level, foreground_threshold=threshold, min_foreground=min_foreground, cleanup=cleanup
    )


def slice_metrics(
    segmenter: MosaicSegmenter, image: CTSlice, truth: Labels, settings: Sequence[Mosaic]
) -> Values:
    """Return the metrics of one labelled slice for each setting, as if it were segmented with each.

    Args:
        segmenter: Has the network of the settings open.
        image: The slice.
        truth: int32 (rows, columns): its structures, at least one; 0 for the rest.
        settings: They may differ only in `level`, `foreground_threshold`, `min_foreground` and the areas of
            `cleanup`.

    Returns:
        float64 (settings, metrics): `SLICE_METRICS` of each; the foreground ARI is NaN where there is a
        single true structure.

    Raises:
        UsageError: If an area is in mm2 and the slice has no spacing.
    """
    body = body_mask(image)
    maps = segmenter.maps_of(image, body)
    cleanup = settings[0].cleanup
    limits = {one: one.limits_px(image, body) for one in {method.cleanup for method in settings}}
    counted = body if cleanup.body_only else np.ones_like(body)
    metrics = np.full((len(settings), len(SLICE_METRICS)), np.nan)
    for numbers in _equal_in(settings, range(len(settings)), "foreground_threshold"):
        tree = tree_of(settings[numbers[0]], image, maps)
        leaves = _Regions.of_leaves(tree, maps.foreground, truth, counted)
        for same_level in _equal_in(settings, numbers, "level"):
            cut = leaves.merged(nodes_at_level(tree, settings[same_level[0]].level))
            known: dict[bytes, tuple[float, ...]] = {}
            for number in same_level:
                method = settings[number]
                kept = cut.kept(method.min_foreground, *limits[method.cleanup])
                key = kept.tobytes()
                if key not in known:
                    known[key] = _metrics(cut.table(kept))
                metrics[number] = known[key]
    return metrics


def objective(metrics: NDArray[np.float64], truth: TruthKind) -> NDArray[np.float64]:
    """Return what settings are chosen by, float64 (...): the mean of the defined `OBJECTIVE_METRICS`.

    It is NaN where none is defined.

    Args:
        metrics: float64 (..., metrics): `SLICE_METRICS`.
        truth: Kind of truth.
    """
    columns = [SLICE_METRICS.index(name) for name in OBJECTIVE_METRICS[truth]]
    chosen = metrics[..., columns]
    with np.errstate(invalid="ignore"):
        means: NDArray[np.float64] = np.nansum(chosen, axis=-1) / np.isfinite(chosen).sum(axis=-1)
    return means


def _equal_in(settings: Sequence[Mosaic], numbers: Sequence[int], field: str) -> list[list[int]]:
    """Return the numbers of settings in groups that share the value of a field."""
    groups: dict[float, list[int]] = {}
    for number in numbers:
        groups.setdefault(getattr(settings[number], field), []).append(number)
    return list(groups.values())


@dataclass(frozen=True, eq=False)
class _Regions:
    """Regions of a slice as counts.

    Args:
        true_ids: int64 (ids,): labels in truth, 0 among them if it occurs.
        true_sizes: int64 (ids,): their pixels.
        shared: int64 (regions, ids): pixels that count and that a region shares with each.
        areas: int64 (regions,): all pixels of each region.
        foreground: float64 (regions,): sum of the foreground map over them.
    """

    true_ids: Annotated[NDArray[np.int64], "ids"]
    true_sizes: Annotated[NDArray[np.int64], "ids"]
    shared: Annotated[NDArray[np.int64], "regions ids"]
    areas: Annotated[NDArray[np.int64], "regions"]
    foreground: Annotated[NDArray[np.float64], "regions"]

    @staticmethod
    def of_leaves(tree: MergeTree, foreground: Image, truth: Labels, counted: Mask) -> "_Regions":
        """Count the leaves of a tree; only `counted` pixels can end up in a structure."""
        true_ids, column, true_sizes = np.unique(truth, return_inverse=True, return_counts=True)
        width, rows = len(true_ids), tree.n_leaves + 1
        leaf = tree.leaves.ravel()
        codes = (leaf.astype(np.int64) * width + column.ravel())[counted.ravel()]
        return _Regions(
            true_ids.astype(np.int64),
            true_sizes,
            np.bincount(codes, minlength=rows * width).reshape(rows, width)[1:],
            np.bincount(leaf, minlength=rows)[1:],
            np.bincount(leaf, foreground.ravel(), minlength=rows)[1:].astype(np.float64),
        )

    def merged(self, nodes: LeafNodes) -> "_Regions":
        """Return the regions of a cut, which gives each leaf a node."""
        first, region = np.unique(nodes, return_index=True, return_inverse=True)[1:]
        shared = np.zeros((len(first), len(self.true_ids)), dtype=np.int64)
        np.add.at(shared, region, self.shared)
        return replace(
            self,
            shared=shared,
            areas=np.bincount(region, self.areas, len(first)).astype(np.int64),
            foreground=np.bincount(region, self.foreground, len(first)).astype(np.float64),
        )

    def kept(
        self, min_foreground: float, smallest: float, largest: float
    ) -> Annotated[NDArray[np.bool_], "regions"]:
        """Tell which regions `mosaic` keeps."""
        inside = self.shared.sum(axis=1)
        kept: Annotated[NDArray[np.bool_], "regions"] = (
            (self.foreground / self.areas >= min_foreground)
            & (inside >= MOSTLY * self.areas)
            & (inside >= smallest)
            & (inside <= largest)
        )
        return kept

    def table(self, kept: Annotated[NDArray[np.bool_], "regions"]) -> Contingency:
        """Return how truth meets the kept regions; all other pixels are background."""
        regions = self.shared[kept]
        background = self.true_sizes - regions.sum(axis=0)
        cells = np.concatenate([background[None], regions])
        present = cells.any(axis=1)
        rows, columns = np.nonzero(cells[present].T)
        ids = np.flatnonzero(present)
        return Contingency(self.true_ids, ids, rows, columns, cells[present].T[rows, columns])


def _metrics(table: Contingency) -> tuple[float, ...]:
    return (
        foreground_ari(table),
        mean_best_iou(table),
        foreground_overlap(table).iou,
    )
