"""Does a level chosen for each slice from its merge tree beat one level for all slices?

    python benchmarks/level_by_slice.py [--weights FILE.onnx] [--val-every 2] [--train-every 4] [--out CSV]

What a level is worth on a slice is the mean of its foreground ARI, where that is defined, and its mean best
IoU, as in `fewct adapt`. For each level of a grid, a linear function of statistics of the tree predicts
that, less its mean over the levels; the level with the highest prediction is taken. The function is learned
by ridge regression on people that networks learn from, each set with the same weight, and so is the one best
level for all; both are judged on the sets of regions.py, of people held out. `by slice, crossed` learns on
the held-out people themselves, in eight folds by person: it tells whether the trees of train are to blame.
`oracle` is the best level of each slice, with truth in hand.
"""

import shlex
import sys
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from numpy.typing import NDArray

from fewct.imaging.merge_tree import nodes_at_level
from fewct.methods import Mosaic
from fewct.metrics.overlap import mean_defined
from fewct.types import MergeTree
from region_sets import JUDGE, SETS, region_cases
from regions import GRID, SHIPPED, SliceScores, slice_scores
from results_io import machine, save_results

STATISTICS: Mapping[str, tuple[int, ...]] = {
    "regions at three levels": (0, 1, 2, 3),
    "quantiles of merges": (4, 5, 6),
    "all": (0, 1, 2, 3, 4, 5, 6),
}
"""Which of `statistics` a function sees."""
METRICS = ("ari_foreground", "mean_best_iou", "mean_of_both")
RIDGE = 3.0
N_FOLDS = 8

Features = Annotated[NDArray[np.float64], "statistics"]
Choice = Callable[[Features], int]


@dataclass(frozen=True)
class Options:
    """Compare one level for all slices with a level for each."""

    weights: str = SHIPPED
    """Network; see regions.py."""
    val_every: int = 2
    """Takes every n-th slice of the held-out people."""
    train_every: int = 4
    """Takes every n-th slice of the others."""
    out: Path | None = None
    """CSV file to write; None: the table is only printed."""


@dataclass(frozen=True, eq=False)
class Example:
    """One slice in one set.

    Args:
        metrics: `METRICS` at each level of `GRID`; the last is the mean of what is defined of the others.
        features: The `statistics` of its tree.
    """

    scores: SliceScores
    metrics: Annotated[NDArray[np.float64], "levels 3"]
    features: Features

    @property
    def worth(self) -> Annotated[NDArray[np.float64], "levels"]:
        """What levels are chosen by."""
        return self.metrics[:, -1]


def statistics(tree: MergeTree) -> Features:
    """Return log leaf count, log shares of regions left at 0.25, 0.45 and 0.65, quartiles of the merges."""
    counts = [len(np.unique(nodes_at_level(tree, level))) for level in (0.0, 0.25, 0.45, 0.65)]
    logs = np.log1p(counts)
    merges = tree.levels[tree.n_leaves :]
    merges = merges[merges < 1]
    quartiles = np.quantile(merges, (0.25, 0.5, 0.75)) if merges.size else np.zeros(3)
    return np.concatenate([logs[:1], logs[1:] - logs[0], quartiles])


def examples(method: Mosaic, every: int, *, held_out: bool) -> list[Example]:
    """Segment slices of all sets but abdomen_series."""
    segmenter = method.load()
    result = []
    for case in region_cases(tuple(name for name in SETS if name != JUDGE), every, held_out=held_out):
        cut = segmenter.segment(case.image).cut
        assert cut is not None
        features = statistics(cut.regions.tree)
        for scores in slice_scores(cut.regions, case, GRID):
            pairs = np.array([values[1:] for values in scores.at_level])
            metrics = np.column_stack([pairs, np.nanmean(pairs, axis=1)])
            result.append(Example(scores, metrics, features))
    return result


def balanced(some: Sequence[Example]) -> Annotated[NDArray[np.float64], "examples"]:
    """Return weights of mean 1 that give each set the same sum."""
    names = [one.scores.name for one in some]
    weights = np.array([1 / names.count(name) for name in names])
    return weights / weights.mean()


def best_level(some: Sequence[Example]) -> int:
    """Return the index of the one level that is best for all."""
    return int(np.argmax(balanced(some) @ np.stack([one.worth for one in some])))


def learned(some: Sequence[Example], columns: Sequence[int]) -> Choice:
    """Return a choice of level, as its index, that was learned on some slices."""
    seen = np.stack([one.features[list(columns)] for one in some])
    mean, spread = seen.mean(axis=0), seen.std(axis=0) + 1e-9
    inputs = np.column_stack([np.ones(len(seen)), (seen - mean) / spread])
    targets = np.stack([one.worth - one.worth.mean() for one in some])
    weighted = inputs * balanced(some)[:, None]
    penalty = RIDGE * np.diag([0.0, *(1.0 for _ in columns)])
    solution = np.linalg.solve(inputs.T @ weighted + penalty, weighted.T @ targets)

    def choose(features: Features) -> int:
        row = np.append(1.0, (features[list(columns)] - mean) / spread)
        return int(np.argmax(row @ solution))

    return choose


def crossed(some: Sequence[Example], columns: Sequence[int]) -> list[int]:
    """Return the level of each slice that is chosen without the slices of its person's fold."""
    folds = [zlib.crc32(one.scores.patient.encode()) % N_FOLDS for one in some]
    chosen = []
    choices = {
        fold: learned([one for one, k in zip(some, folds, strict=True) if k != fold], columns)
        for fold in set(folds)
    }
    for one, fold in zip(some, folds, strict=True):
        chosen.append(choices[fold](one.features))
    return chosen


def ways(train: Sequence[Example], val: Sequence[Example]) -> dict[str, list[int]]:
    """Return the level of each held-out slice, as its index, for each way of choosing."""
    best = best_level(train)
    chosen = {
        "default": [GRID.index(Mosaic().level)] * len(val),
        f"{GRID[best]} for all": [best] * len(val),
    }
    for name, seen in STATISTICS.items():
        choose = learned(train, seen)
        chosen[f"by slice: {name}"] = [choose(one.features) for one in val]
        chosen[f"by slice, crossed: {name}"] = crossed(val, seen)
    return chosen | {"oracle": [int(np.argmax(one.worth)) for one in val]}


def table(train: Sequence[Example], val: Sequence[Example]) -> list[dict[str, object]]:
    """Return one row for each way of choosing and set, and for the mean over sets."""
    rows: list[dict[str, object]] = []
    names = np.array([one.scores.name for one in val])
    for way, chosen in ways(train, val).items():
        metrics = np.stack([one.metrics[k] for one, k in zip(val, chosen, strict=True)])
        of_sets = {name: mean_of_defined(metrics[names == name]) for name in dict.fromkeys(names.tolist())}
        of_sets["mean over sets"] = mean_of_defined(np.stack(list(of_sets.values())))
        for name, means in of_sets.items():
            texts = ("" if np.isnan(mean) else f"{mean:.4f}" for mean in means)
            rows.append({"level": way, "set": name} | dict(zip(METRICS, texts, strict=True)))
    return rows


def mean_of_defined(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of each column without what is NaN; NaN where nothing is left."""
    return np.array([mean_defined(column) for column in values.T])


def main() -> None:
    options = tyro.cli(Options)
    method = Mosaic(weights="" if options.weights == SHIPPED else options.weights)
    train = examples(method, options.train_every, held_out=False)
    rows = table(train, examples(method, options.val_every, held_out=True))
    print(machine())
    for row in rows:
        print(f"{row['level']:44}{row['set']:18}" + "".join(f"{row[metric]:>16}" for metric in METRICS))
    if options.out is not None:
        save_results(options.out, rows, shlex.join(["python", "benchmarks/level_by_slice.py", *sys.argv[1:]]))


if __name__ == "__main__":
    main()
