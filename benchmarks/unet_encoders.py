"""What a pretrained encoder is worth to the U-Net: python benchmarks/unet_encoders.py [--minutes 4].

Trains it on EfficientNet-Lite0 with the weights of ImageNet, from nothing, and on EfficientNet-Lite0 with
random weights: the same slices of btcv/train, augmentation, seed and settings, and as many steps as fit into
the same minutes of one core, by CPU time, so that other work on the machine counts little. Measures the Dice
of all labelled organs together on each patient of btcv/val, after the last step. Needs the extra `encoders`.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np
import torch
import tyro
from torch import nn

from fewct.data.cases import parse_data, read_cases
from fewct.data.examples import TrainingExample, labelled_example
from fewct.methods.unet import encoder_unet
from fewct.methods.unet.examples import whole_patch
from fewct.methods.unet.recipe import UNetRecipe, train
from fewct.nn.efficientnet_lite import EfficientNetLite, load_efficientnet_lite
from fewct.training.loop import LoopConfig
from organs import DATA
from results_io import RESULTS, save_results

LITE0 = "efficientnet-lite0"
RANDOM = f"{LITE0}, random weights"
ENCODERS = (LITE0, "none", RANDOM)
TIMED_STEPS = (2, 10)
BATCH = 8


@dataclass(frozen=True)
class Options:
    """Train the U-Net with and without a pretrained encoder for the same time."""

    minutes: float = 4.0
    """CPU time of one core for each."""
    size_px: int = 160
    """Longest side of a slice."""
    step: int = 3
    """Every n-th slice of the data."""
    seed: int = 0
    """Of weights and data."""
    table: Path = RESULTS / "unet_encoders.csv"
    """Where the table goes, a row more after each training."""


def main() -> None:
    options = tyro.cli(Options)
    torch.set_num_threads(1)
    training = [example for examples in patients("train", options.step).values() for example in examples]
    validation = patients("val", options.step)
    command = f"python benchmarks/unet_encoders.py --minutes {options.minutes:g} --size-px {options.size_px}"
    command += f" --step {options.step} --seed {options.seed}"
    rows: list[dict[str, object]] = []
    for encoder in ENCODERS:
        rows.append(row(encoder, options, training, validation))
        print(rows[-1], flush=True)
        save_results(options.table, rows, command)


def patients(side: str, step: int) -> dict[str, list[TrainingExample]]:
    """Return the labelled slices of each patient in btcv/train or btcv/val."""
    return {
        path.stem: [
            labelled_example(case.image, case.truth, complete=True)
            for case in read_cases(parse_data(str(path), step=step))
        ]
        for path in sorted((DATA / "btcv" / side).glob("*.npz"))
    }


def row(
    encoder: str,
    options: Options,
    training: Sequence[TrainingExample],
    validation: dict[str, list[TrainingExample]],
) -> dict[str, object]:
    """Train with one encoder and measure the network."""
    few, more = (seconds(encoder, options, training, steps)[0] for steps in TIMED_STEPS)
    step_s = (more - few) / (TIMED_STEPS[1] - TIMED_STEPS[0])
    steps = max(1, round(60 * options.minutes / step_s))
    used_s, network = seconds(encoder, options, training, steps)
    dices = [organ_dice(network, examples, options.size_px) for examples in validation.values()]
    return {
        "encoder": encoder,
        "million_weights": round(sum(one.numel() for one in network.parameters()) / 1e6, 2),
        "cpu_seconds_a_step": round(step_s, 3),
        "steps": steps,
        "cpu_minutes": round(used_s / 60, 2),
        "dice_mean": round(float(np.mean(dices)), 4),
        "dice_lowest_patient": round(min(dices), 4),
        "dice_highest_patient": round(max(dices), 4),
        "patients": len(dices),
        "slices": sum(map(len, validation.values())),
    }


def seconds(
    encoder: str, options: Options, training: Sequence[TrainingExample], steps: int
) -> tuple[float, nn.Module]:
    """Train for a number of steps; return the CPU time and the network."""
    loop = LoopConfig(
        steps=steps,
        budget_minutes=1e6,
        batch_size=BATCH,
        warmup_steps=25,
        ema_decay=0.98,
        validate_every=steps,
        seed=options.seed,
        workers=0,
    )
    recipe = UNetRecipe(
        widths=(16, 32, 64, 128, 256),
        batch_norm=True,
        dice=True,
        encoder="" if encoder == "none" else LITE0,
        size_px=options.size_px,
        no_flips=True,
        loop=loop,
    )
    start = time.process_time()
    load = EfficientNetLite if encoder == RANDOM else load_efficientnet_lite
    with TemporaryDirectory() as folder, patch.object(encoder_unet, "load_efficientnet_lite", load):
        network = train(recipe, training, [], Path(folder))
    return time.process_time() - start, network


def organ_dice(network: nn.Module, examples: Sequence[TrainingExample], size_px: int) -> float:
    """Return the Dice of structure against the rest over all slices of a patient."""
    network.eval()
    both = total = 0.0
    with torch.no_grad():
        for number, example in enumerate(examples):
            item = whole_patch(example, size_px, number)
            found = network(item.image[None]).foreground[0] >= 0
            truth = item.target.bool()
            both += float((found & truth).sum())
            total += float(found.sum() + truth.sum())
    return 2 * both / total


if __name__ == "__main__":
    main()
