"""The few-shot curve: python benchmarks/few_shot.py.

A network learns four organs from 1, 5, 10, 20 or 50 labelled slices of the training patients, three times
with other slices: from scratch, from scratch with slices without labels (self-training), and from the weights
of a network that has never seen these organs (see unseen.py). Figures are mean best IoU of the four organs on
val.
"""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
import tyro

from fewct.adapt.finetune import FineTuning, fine_tune
from fewct.data.packed import ORGANS, PackedSlice, load_packed_slices
from fewct.methods import Mosaic
from fewct.methods.mosaic.network import MosaicNet
from fewct.methods.mosaic.preprocessing import preprocess
from fewct.methods.mosaic.recipe import export_network, losses
from fewct.runtime.threads import thread_count
from fewct.training.crops import crop_dataset, labelled_source, unlabelled_slices
from fewct.training.loop import LoopConfig, fit
from fewct.training.mean_teacher import view_pairs
from organs import DATA, OrganScore, mean_and_interval, organ_scores, val_cases
from results_io import RESULTS, machine, save_results
from unseen import HIDDEN, NEVER_SAW_FOUR

PICTURE = Path(__file__).resolve().parents[1] / "docs" / "images" / "few_shot.png"
ARMS = {"from scratch": "o", "from scratch, self-training": "s", "from weights that never saw them": "^"}
SIZE_PX = 256


@dataclass(frozen=True)
class Options:
    """Train on few slices and measure."""

    weights: Path = NEVER_SAW_FOUR
    """Exported network that has never seen the four organs, or the folder of its training."""
    shots: tuple[int, ...] = (1, 5, 10, 20, 50)
    """Numbers of labelled slices."""
    self_training_shots: tuple[int, ...] = (5, 20)
    """Numbers of labelled slices that are also tried with slices without labels."""
    seeds: int = 3
    """Draws of slices, each with other random weights."""
    steps: int = 100
    """Steps of 4 crops."""


def draw_slices(slices: Sequence[PackedSlice], shots: int, seed: int) -> list[PackedSlice]:
    """Return some slices that show one of the four organs at least."""
    shown = [item for item in slices if item.labels.any()]
    order = np.random.default_rng(seed).permutation(len(shown))
    return [shown[k] for k in order[:shots]]


def train(arm: str, slices: Sequence[PackedSlice], seed: int, options: Options, folder: Path) -> Path:
    """Train one network and return its exported file."""
    sources = [labelled_source(0.5, slices, low_contrast=False)]
    dense = [item for item in slices if item.low_contrast is not None]
    if dense:
        sources.append(labelled_source(0.5, dense, low_contrast=True))
    if arm == "from weights that never saw them":
        path = options.weights if options.weights.suffix == ".onnx" else options.weights / "model.onnx"
        further = FineTuning(options.steps, 60, SIZE_PX, new_share=1.0, seed=seed)
        return fine_tune(path, sources, further, folder)
    loop = LoopConfig(
        steps=options.steps,
        budget_minutes=60,
        batch_size=4,
        learning_rate=2e-3,
        warmup_steps=20,
        ema_decay=0.98,
        validate_every=options.steps,
        seed=seed,
    )
    training = crop_dataset(sources, preprocess, SIZE_PX, loop.steps * loop.batch_size, seed)
    pairs = None
    if arm.endswith("self-training"):
        length = loop.steps * loop.unlabelled_batch_size
        pairs = view_pairs(unlabelled_slices(DATA), preprocess, SIZE_PX, length, seed)
    torch.manual_seed(seed)
    return export_network(fit(MosaicNet(), losses, training, [], loop, folder, pairs), folder / "mosaic.onnx")


def plot(rows: Sequence[dict[str, object]], before: float) -> None:
    """Draw mean and spread over the draws against the number of slices."""
    figure, axes = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
    axes.axhline(before, color="0.6", linestyle=":", label="weights that never saw them, not trained")
    for arm, marker in ARMS.items():
        shots = sorted({int(str(row["shots"])) for row in rows if row["arm"] == arm})
        values = [
            [float(str(row["mean_best_iou"])) for row in rows if (row["arm"], row["shots"]) == (arm, n)]
            for n in shots
        ]
        means = np.array([np.mean(v) for v in values])
        spread = [means - [min(v) for v in values], [max(v) for v in values] - means]
        axes.errorbar(shots, means, spread, marker=marker, capsize=3, label=arm)
    axes.set(
        xscale="log",
        xlabel="labelled slices of the training patients",
        ylabel="mean best IoU of four organs on val",
        ylim=(0, 1),
    )
    axes.set_xticks([1, 5, 10, 20, 50], ["1", "5", "10", "20", "50"])
    axes.minorticks_off()
    axes.legend(frameon=False, loc="lower right")
    figure.savefig(PICTURE, dpi=120)


def gain_of_self_training(rows: Sequence[Mapping[str, object]]) -> list[dict[str, object]]:
    """Return mean differences to training without it, on the same slices, with intervals over the draws."""
    by_run = {
        (row["arm"], int(str(row["shots"])), row["seed"]): float(str(row["mean_best_iou"])) for row in rows
    }
    with_it = [key for key in by_run if str(key[0]).endswith("self-training")]
    gains = np.array([by_run[key] - by_run["from scratch", *key[1:]] for key in with_it])
    shots = np.array([key[1] for key in with_it])
    found: list[dict[str, object]] = []
    for name, chosen in [(f"{n}", shots == n) for n in np.unique(shots)] + [("all", shots > 0)]:
        drawn = np.random.default_rng(0).integers(0, chosen.sum(), (20_000, chosen.sum()))
        low, high = np.quantile(gains[chosen][drawn].mean(axis=1), [0.025, 0.975])
        figures = {"gain": gains[chosen].mean(), "low": low, "high": high}
        found.append({"shots": name, "n": chosen.sum()} | {k: f"{v:.4f}" for k, v in figures.items()})
    return found


def row_of(arm: str, shots: int, seed: int, scores: Sequence[OrganScore]) -> dict[str, object]:
    """Return one row of the table."""
    mean, low, high = mean_and_interval(scores, [ORGANS[name] for name in HIDDEN])
    figures = {"mean_best_iou": mean, "low": low, "high": high}
    row: dict[str, object] = {"arm": arm, "shots": shots, "seed": seed}
    return row | {name: f"{value:.4f}" for name, value in figures.items()}


def main() -> None:
    options = tyro.cli(Options)
    torch.set_num_threads(thread_count())
    others = [name for name in ORGANS if name not in HIDDEN]
    slices = load_packed_slices(DATA / "btcv" / "train", without=others)
    cases = val_cases()
    before = organ_scores(Mosaic(weights=f"{options.weights}"), cases)
    rows = [row_of("not trained", 0, 0, before)]
    print(machine())
    for shots in options.shots:
        for arm in ARMS:
            if arm.endswith("self-training") and shots not in options.self_training_shots:
                continue
            for seed in range(options.seeds):
                with tempfile.TemporaryDirectory() as folder:
                    file = train(arm, draw_slices(slices, shots, seed), seed, options, Path(folder))
                    scores = organ_scores(Mosaic(weights=f"{file}"), cases)
                rows.append(row_of(arm, shots, seed, scores))
                print(*rows[-1].values(), flush=True)
                save_results(RESULTS / "few_shot.csv", rows, "python benchmarks/few_shot.py")
    finish(rows)


def finish(rows: Sequence[dict[str, object]]) -> None:
    """Draw the curve, and keep what self-training gained."""
    plot(rows[1:], float(str(rows[0]["mean_best_iou"])))
    gains = gain_of_self_training(rows)
    print(*gains, sep="\n")
    save_results(RESULTS / "self_training.csv", gains, "python benchmarks/few_shot.py")


if __name__ == "__main__":
    main()
