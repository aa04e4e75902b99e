"""Train the BAM that comes with fewct: python benchmarks/train_bam.py [-o out/bam].

Learns from the patients of btcv/train: eight organs by name, in Hounsfield units and on slices of weak
contrast, and the regions that mosaic finds without names. Goes on where it was stopped.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro

from fewct.methods import Mosaic
from fewct.methods.bam.episodes import NamedSlice, hide, named_slice
from fewct.methods.bam.exporting import export
from fewct.methods.bam.recipe import BAMRecipe, train
from fewct.threads import thread_count
from fewct.training.btcv import HIGH_HU, LOW_HU
from fewct.training.loop import LoopConfig
from fewct.types import CTSlice
from organs import DATA

ORGANS = (1, 2, 3, 4, 6, 7, 8, 11)
"""Annotated on all slices; the others are on some, and hidden."""


@dataclass(frozen=True)
class Options:
    """Train BAM on organs of BTCV and on mosaic's regions."""

    o: Path = Path("out/bam")
    """Folder of the training."""
    steps: int = 8000
    """Of both stages."""
    budget_minutes: float = 45.0
    """Time after which it ends."""
    shots: int = 2
    """Supports an episode."""
    seed: int = 0
    """Of weights and episodes."""


def main() -> None:
    options = tyro.cli(Options)
    torch.set_num_threads(thread_count())
    options.o.mkdir(parents=True, exist_ok=True)
    slices = hide(load("train"), sorted(set(range(1, 14)) - set(ORGANS)))
    loop = LoopConfig(
        steps=options.steps,
        budget_minutes=options.budget_minutes,
        batch_size=4,
        learning_rate=2e-3,
        warmup_steps=50,
        ema_decay=0.99,
        validate_every=1000,
        seed=options.seed,
        workers=0,
    )
    recipe = BAMRecipe(shots=options.shots, loop=loop)
    print(len(slices), "slices", flush=True)
    print(export(train(recipe, slices, ORGANS, options.o), recipe.size_px, options.o))


def load(side: str) -> list[NamedSlice]:
    """Return the slices of one side with mosaic's regions."""
    method = Mosaic()
    slices = []
    for path in sorted((DATA / "btcv" / side).glob("*.npz")):
        with np.load(path) as file:
            images = [CTSlice(as_hu(pixels), "hu") for pixels in file["image"]]
            images += [CTSlice(pixels.astype(np.float32), "grey") for pixels in file.get("dense_image", ())]
            labels = [*file["label"], *file.get("dense_label", ())]
        for image, label in zip(images, labels, strict=True):
            regions = method.segment(image).labels
            slices.append(named_slice(image, label.astype(np.int32), path.stem, regions))
    return slices


def as_hu(pixels: np.ndarray) -> np.ndarray:
    return pixels.astype(np.float32) * ((HIGH_HU - LOW_HU) / 255) + LOW_HU


if __name__ == "__main__":
    main()
