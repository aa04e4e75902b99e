"""Does fine-tuning the mask decoder on 20 slices help? python benchmarks/finetune_sam.py [--minutes 5].

prompt-small, whose image encoder stays frozen, learns from 20 slices spread over the patients of btcv/train,
by `fewct train sam` at its default settings but for the time: by default those of weak contrast, where it is
weakest. Before and after, each of 13 organs on such slices of the patients of btcv/val is asked for by a box,
each side moved by up to 10 px of a slice of 512, and by one point. Differences are paired; their 95 %
intervals are over patients. prompt-small has seen all patients of train before.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tyro

from fewct.data.cases import LabelledCase
from fewct.data.examples import TrainingExample, labelled_example
from fewct.data.packed import ORGANS, PackedSlice, load_packed_slices
from fewct.methods.sam.backends.base import Backend
from fewct.methods.sam.backends.mask_prompts import MaskPromptBackend
from fewct.methods.sam.backends.torch import TorchBackend
from fewct.methods.sam.finetuning.recipe import SamRecipe, starting_network, train, trained_network
from fewct.metrics.bootstrap import cluster_means
from fewct.types import CTSlice
from organs import DATA
from prompts import Value, cases_of_sets, prompted
from results_io import RESULTS, machine, save_results

SLICES, VAL_STEP = 20, 6


@dataclass(frozen=True)
class Options:
    """Fine-tune on 20 slices and compare."""

    minutes: float = 5.0
    """Time to train."""
    weights: str = ""
    """Checkpoint to start from; empty: prompt-small."""
    low_contrast: bool = True
    """Whether slices are of weak contrast, with 13 organs; else plain, with 8."""


def few_slices(low_contrast: bool) -> list[TrainingExample]:
    """Return slices of patients of train, evenly spread."""
    patients = load_packed_slices(DATA / "btcv" / "train")
    slices = [
        item for item in patients if item.labels.any() and (item.low_contrast is not None) == low_contrast
    ]
    chosen = np.linspace(0, len(slices) - 1, SLICES).round().astype(int)
    return [example(slices[i]) for i in chosen]


def example(item: PackedSlice) -> TrainingExample:
    """Return a slice as `fewct train` reads it: only its organs are labelled."""
    pixels = (item.image if item.low_contrast is None else item.low_contrast).astype(np.float32)
    organs = np.where(item.labels <= max(ORGANS.values()), item.labels, 0).astype(np.int32)
    return labelled_example(CTSlice(pixels, "grey"), organs, complete=False)


def values_of(backend: Backend, cases: Sequence[LabelledCase]) -> list[Value]:
    """Return the metrics of boxes and points on all slices, the same prompts for every backend."""
    rng = np.random.default_rng(0)
    return [value for case in cases for value in prompted(backend, case, rng)]


def main() -> None:
    options = tyro.cli(Options)
    recipe = SamRecipe(weights=options.weights)
    recipe = replace(recipe, loop=replace(recipe.loop, budget_minutes=options.minutes))
    plain, low_contrast, _ = (cases for _, cases in cases_of_sets(VAL_STEP))
    cases = low_contrast if options.low_contrast else plain
    before = values_of(MaskPromptBackend(TorchBackend(starting_network(recipe)[0])), cases)
    with tempfile.TemporaryDirectory() as folder:
        practice = train(recipe, few_slices(options.low_contrast), [], Path(folder))
        steps = len((Path(folder) / "curves.csv").read_text().splitlines())
    after = values_of(
        MaskPromptBackend(TorchBackend(trained_network(practice, starting_network(recipe)[0]))), cases
    )
    rows: list[dict[str, object]] = []
    print(machine())
    for metric in dict.fromkeys(value.metric for value in before):
        pairs = [(a, b) for a, b in zip(before, after, strict=True) if a.metric == metric]
        names, groups = np.unique([a.group for a, _ in pairs], return_inverse=True)
        numbers = np.array([[[a.value] for a, _ in pairs], [[b.value] for _, b in pairs]])
        differences = np.concatenate([numbers, numbers[1:] - numbers[:1]])
        means, intervals, _ = cluster_means(differences, groups)
        rows.append(
            {
                "metric": metric,
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
    command += "" if options.low_contrast else " --no-low-contrast"
    save_results(RESULTS / "finetune_sam.csv", rows, command)


if __name__ == "__main__":
    main()
