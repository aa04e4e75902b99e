"""How well does `mosaic` do in every region of the body, and how well could it, with the trees it builds?

    python benchmarks/regions.py [--weights A.onnx B.onnx] [--levels 0.35 0.45] [--every 3] [--quick]
                                 [--sets hearts btcv_val] [--judge] [--out FILE.csv]

One row a set, network and level: means over the slices of people held out of training, with 95 % intervals
by patient. The ARI of the foreground is the mean over slices with at least two structures (`slices_of_two`);
of one it says nothing. The truth of all sets but abdomen_series is partial, so the ARI of all pixels stands
there only. abdomen_series is left out without `--judge`: nothing is chosen by it.

What the trees hold, with truth in hand: `best_regions` is the mean best IoU of all nodes of the tree with the
true structures (the chosen cut holds some of them); `best_level` and the two columns after it tell what a
level chosen for each slice would reach.
"""

import shlex
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from numpy.typing import NDArray

from fewct.imaging.region_tree import RegionTree
from fewct.methods import Mosaic
from fewct.metrics.bootstrap import cluster_means
from fewct.metrics.contingency import contingency
from fewct.metrics.overlap import mean_best_iou
from fewct.metrics.rand import FEWEST_STRUCTURES, adjusted_rand_index, foreground_ari
from fewct.types import Labels, MergeTree
from region_sets import COMPLETE, JUDGE, SETS, RegionCase, region_cases
from results_io import machine, save_results

GRID = tuple(round(0.1 + 0.05 * k, 2) for k in range(17))
"""Levels among which the best of each slice is chosen."""
SHIPPED = "shipped"
MEASURED = ("ari", "ari_foreground", "mean_best_iou")
ORACLE = ("best_regions", "best_level", "best_level_ari_foreground", "best_level_iou")


@dataclass(frozen=True)
class Options:
    """Measure `mosaic` in every region of the body."""

    weights: tuple[str, ...] = (SHIPPED,)
    """Networks as ONNX files or training folders; "shipped" is the one that comes with fewct."""
    levels: tuple[float, ...] = (Mosaic().level,)
    """Levels of the cut."""
    sets: tuple[str, ...] = tuple(name for name in SETS if name != JUDGE)
    """Sets of slices."""
    judge: bool = False
    """Measure abdomen_series as well."""
    every: int = 1
    """Takes every n-th slice of each set."""
    quick: bool = False
    """Takes fewer slices of the larger sets: under two minutes on one core."""
    mosaic: Mosaic = field(default_factory=Mosaic)
    """The other settings."""
    out: Path | None = None
    """CSV file to write; None: the table is only printed."""


@dataclass(frozen=True)
class SliceScores:
    """What one slice scores in one set.

    Args:
        n_true: True structures.
        at_level: For each level asked for, the values of `MEASURED`.
        oracle: The values of `ORACLE`.
    """

    name: str
    patient: str
    n_true: int
    at_level: tuple[tuple[float, ...], ...]
    oracle: tuple[float, ...]


def best_regions(tree: MergeTree, truth: Labels) -> Annotated[NDArray[np.float64], "structures"]:
    """Return for each true structure, by label, its highest IoU with a node of a merge tree."""
    sizes = np.bincount(truth.ravel())
    ids = np.flatnonzero(sizes[1:]) + 1
    columns = np.zeros(len(sizes), dtype=np.int64)
    columns[ids] = np.arange(1, len(ids) + 1)
    width, nodes = len(ids) + 1, len(tree.parents)
    pairs = tree.leaves.astype(np.int64) * width + columns[truth]
    counts = np.bincount(pairs.ravel(), minlength=(tree.n_leaves + 1) * width).reshape(-1, width)[1:]
    counts = np.concatenate([counts, np.zeros((nodes - tree.n_leaves, width), dtype=np.int64)])
    for node, parent in enumerate(tree.parents[:-1].tolist()):  # a merge comes after its parts
        counts[parent] += counts[node]
    both, areas = counts[:, 1:], counts.sum(axis=1, keepdims=True)
    iou: NDArray[np.float64] = both / (areas + sizes[ids] - both)
    return iou.max(axis=0, initial=0.0)


def cut_scores(truth: Labels, labels: Labels, *, complete: bool) -> tuple[float, ...]:
    """Return the values of `MEASURED` of one label map; NaN where one means nothing."""
    table = contingency(truth, labels)
    ari = adjusted_rand_index(table) if complete else np.nan
    return ari, foreground_ari(table), mean_best_iou(table)


def slice_scores(regions: RegionTree, case: RegionCase, levels: Sequence[float]) -> list[SliceScores]:
    """Cut one tree at all levels, and score the cuts and the tree in each set of the slice."""
    cuts = {level: regions.cut(level).labels for level in dict.fromkeys((*levels, *GRID))}
    result = []
    for name, truth in case.truths.items():
        scores = {level: cut_scores(truth, cut, complete=name in COMPLETE) for level, cut in cuts.items()}
        best = max(GRID, key=lambda level: (scores[level][2], -abs(level - levels[0])))
        oracle = (best_regions(regions.tree, truth).mean(), best, *scores[best][1:])
        n_true = len(np.unique(truth[truth > 0]))
        result.append(
            SliceScores(name, case.patient, n_true, tuple(scores[level] for level in levels), oracle)
        )
    return result


def measure(method: Mosaic, cases: Iterable[RegionCase], levels: Sequence[float]) -> list[SliceScores]:
    """Segment all slices once, and score their trees at all levels."""
    segmenter = method.load()
    scores = []
    for case in cases:
        cut = segmenter.segment(case.image).cut
        assert cut is not None
        scores += slice_scores(cut.regions, case, levels)
    return scores


def summary_rows(
    weights: str, scores: Sequence[SliceScores], levels: Sequence[float]
) -> list[dict[str, object]]:
    """Return one row a set and level: means over slices, and intervals by patient."""
    rows = []
    for name in (name for name in SETS if any(score.name == name for score in scores)):
        own = [score for score in scores if score.name == name]
        patients = [score.patient for score in own]
        for k, level in enumerate(levels):
            values = np.array([[(*score.at_level[k], *score.oracle) for score in own]], dtype=np.float64)
            means, ends, _ = cluster_means(values, patients)
            row: dict[str, object] = {"set": name, "weights": weights, "level": level, "slices": len(own)}
            row |= {
                "patients": len(set(patients)),
                "slices_of_two": sum(score.n_true >= FEWEST_STRUCTURES for score in own),
            }
            for m, metric in enumerate((*MEASURED, *ORACLE)):
                row[metric] = _text(means[0, m])
                if metric in ("ari_foreground", "mean_best_iou"):
                    row |= {f"{metric}_{end}": _text(ends[e, 0, m]) for e, end in enumerate(("low", "high"))}
            rows.append(row)
    return rows


def evaluate(
    weights: str = SHIPPED, levels: Sequence[float] = (Mosaic().level,), *, quick: bool = True
) -> list[dict[str, object]]:
    """Return the rows of one network on all sets but abdomen_series; see `Options`."""
    method = Mosaic(weights="" if weights == SHIPPED else weights)
    sets = tuple(name for name in SETS if name != JUDGE)
    return summary_rows(weights, measure(method, region_cases(sets, quick=quick), levels), levels)


def show(rows: Sequence[dict[str, object]]) -> None:
    """Print the table."""
    heads = ("set", "weights", "level", "slices", "slices_of_two", *MEASURED, *ORACLE)
    titles = (
        "set",
        "weights",
        "level",
        "n",
        "n >= 2",
        "ARI",
        "fg",
        "IoU",
        "regions",
        "best at",
        "its fg",
        "its IoU",
    )
    widths = (18, 24, *(8 for _ in titles[2:]))
    print("".join(f"{title:>{width}}" for title, width in zip(titles, widths, strict=True)))
    for row in rows:
        cells = (f"{row[head]}" for head in heads)
        print("".join(f"{cell[-width + 1 :]:>{width}}" for cell, width in zip(cells, widths, strict=True)))


def _text(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.4f}"


def main() -> None:
    options = tyro.cli(Options)
    sets = tuple(name for name in SETS if name in options.sets or (options.judge and name == JUDGE))
    rows = []
    for weights in options.weights:
        method = replace(options.mosaic, weights="" if weights == SHIPPED else weights)
        cases = region_cases(sets, options.every, quick=options.quick)
        rows += summary_rows(weights, measure(method, cases, options.levels), options.levels)
    print(machine())
    show(rows)
    if options.out is not None:
        save_results(options.out, rows, shlex.join(["python", "benchmarks/regions.py", *sys.argv[1:]]))


if __name__ == "__main__":
    main()
