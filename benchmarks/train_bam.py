"""Train the BAM that comes with fewct: python benchmarks/train_bam.py [--out out/bam].

Learns from the patients of btcv/train: eight organs by name, in Hounsfield units and on slices of weak
contrast, and the regions that mosaic finds without names. Goes on where it was stopped.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro

from fewct.data.packed import as_hu
from fewct.methods import Mosaic
from fewct.methods.bam.episodes import EpisodeSlice, episode_slice, without_structures
from fewct.methods.bam.onnx_export import export_network
from fewct.methods.bam.recipe import BAMRecipe, train
from fewct.runtime.threads import thread_count
from fewct.training.loop import LoopConfig
from fewct.types import CTSlice
from organs import ANNOTATED, DATA


@dataclass(frozen=True)
class Options:
    """Train BAM on organs of BTCV and on mosaic's regions."""

    out: Path = Path("out/bam")
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
    options.out.mkdir(parents=True, exist_ok=True)
    slices = without_structures(load(), sorted(set(range(1, 14)) - set(ANNOTATED)))
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
    print(export_network(train(recipe, slices, ANNOTATED, options.out), recipe.size_px, options.out))


def load() -> list[EpisodeSlice]:
    """Return the slices of the training patients with mosaic's regions."""
    method = Mosaic()
    slices = []
    for path in sorted((DATA / "btcv" / "train").glob("*.npz")):
        with np.load(path) as file:
            images = [CTSlice(as_hu(pixels), "hu") for pixels in file["image"]]
            images += [CTSlice(pixels.astype(np.float32), "grey") for pixels in file.get("dense_image", ())]
            labels = [*file["label"], *file.get("dense_label", ())]
        for image, label in zip(images, labels, strict=True):
            regions = method.load().segment(image).labels
            slices.append(episode_slice(image, label.astype(np.int32), path.stem, regions))
    return slices


if __name__ == "__main__":
    main()
