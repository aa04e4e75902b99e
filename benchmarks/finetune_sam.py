"""Does fine-tuning the mask decoder on 20 slices help? python benchmarks/finetune_sam.py [--minutes 5].

prompt-small, whose image encoder stays frozen, learns from 20 labelled slices spread over the 13 patients of
btcv/train, by `fewct train sam` at its default settings but for the time. Before and after, each organ of
every 6th slice of the 5 patients of btcv/val is asked for by a box, each side moved by up to 10 px of a slice
of 512, and by one point. Differences are paired; their 95 % intervals are over patients.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tyro

from fewct.benchmark.data import Case
from fewct.benchmark.summary import cluster_means, draw_groups
from fewct.methods.sam.backend import Backend
from fewct.methods.sam.recipe import SamRecipe, finished, starting_network, train
from fewct.methods.sam.spots import SpotsBackend
from fewct.methods.sam.torch_backend import TorchBackend
from fewct.training.btcv import load_patients
from fewct.training.examples import Example, labelled_example
from fewct.types import CTSlice
from organs import DATA, val_cases
from prompts import Value, prompted
from results_io import RESULTS, machine, save_results

SLICES, VAL_STEP = 20, 6


@dataclass(frozen=True)
class Options:
    """Fine-tune on 20 slices and compare."""

    minutes: float = 5.0
    """Time to train."""
    weights: str = ""
    """Checkpoint to start from; empty: prompt-small."""


def few_slices() -> list[Example]:
    """Return slices of patients of train, evenly spread."""
    slices = [
        item for item in load_patients(DATA / "btcv" / "train") if item.weak is None and item.labels.any()
    ]
    chosen = np.linspace(0, len(slices) - 1, SLICES).round().astype(int)
    return [
        labelled_example(
            CTSlice(slices[i].image.astype(np.float32), "grey"),
            slices[i].labels.astype(np.int32),
            complete=False,
        )
        for i in chosen
    ]


def values_of(backend: Backend, cases: Sequence[Case]) -> list[Value]:
    """Return the figures of boxes and points on all slices, the same prompts for every backend."""
    rng = np.random.default_rng(0)
    return [value for case in cases for value in prompted(backend, case, rng)]


def main() -> None:
    options = tyro.cli(Options)
    recipe = SamRecipe(weights=options.weights)
    recipe = replace(recipe, loop=replace(recipe.loop, budget_minutes=options.minutes))
    cases = [case for case in val_cases(VAL_STEP) if not {5, 9, 10, 12, 13} & set(np.unique(case.truth))]
    before = values_of(SpotsBackend(TorchBackend(starting_network(recipe)[0])), cases)
    with tempfile.TemporaryDirectory() as folder:
        practice = train(recipe, few_slices(), [], Path(folder))
        steps = len((Path(folder) / "curves.csv").read_text().splitlines())
    after = values_of(SpotsBackend(TorchBackend(finished(practice, starting_network(recipe)[0]))), cases)
    rows: list[dict[str, object]] = []
    print(machine())
    for figure in dict.fromkeys(value.figure for value in before):
        pairs = [(a, b) for a, b in zip(before, after, strict=True) if a.figure == figure]
        names, groups = np.unique([a.group for a, _ in pairs], return_inverse=True)
        numbers = np.array([[[a.value for a, _ in pairs]], [[b.value for _, b in pairs]]])
        differences = np.concatenate([numbers, numbers[1:] - numbers[:1]])
        means, intervals, _ = cluster_means(differences, groups, draw_groups(len(names), seed=0))
        rows.append(
            {
                "figure": figure,
                "before": f"{means[0, 0]:.3f}",
                "after": f"{means[1, 0]:.3f}",
                "gain": f"{means[2, 0]:+.3f}",
                "low": f"{intervals[0, 2, 0]:+.3f}",
                "high": f"{intervals[1, 2, 0]:+.3f}",
                "n": len(pairs),
                "patients": len(names),
                "validations": steps - 1,
            }
        )
        print(*rows[-1].values(), sep=", ")
    command = f"python benchmarks/finetune_sam.py --minutes {options.minutes:g}"
    save_results(RESULTS / "finetune_sam.csv", rows, command)


if __name__ == "__main__":
    main()
