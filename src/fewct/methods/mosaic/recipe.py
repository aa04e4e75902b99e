"""How `mosaic`'s network is trained: data, losses, and the command in one function."""

from dataclasses import dataclass, field
from pathlib import Path

import torch
import tyro
from torch import Tensor, nn
from torch.utils.data import default_collate

from fewct.methods.mosaic.inputs import N_CHANNELS, network_input
from fewct.methods.mosaic.network import MosaicNet
from fewct.threads import thread_count
from fewct.training.btcv import load_patients
from fewct.training.dataset import Crop, Crops, default_sources, labelled_source
from fewct.training.export import export_onnx
from fewct.training.loop import LoopConfig, fit
from fewct.training.losses import weighted_bce, weighted_dice

BORDER_EMPHASIS = 3.0  # a border pixel counts for so many others


@dataclass(frozen=True)
class MosaicRecipe:
    """Trains the network of `mosaic` on labelled slices, dense segments and synthetic CT."""

    data: Path = Path("data")
    """Folder with btcv/train, btcv/val and anatomy."""
    size_px: int = 320
    """Side of a training crop."""
    validation_crops: int = 32
    """Crops of btcv/val that the loss is watched on."""
    loop: LoopConfig = field(default_factory=LoopConfig)


def train(recipe: MosaicRecipe, folder: Path) -> nn.Module:
    """Train, or go on with a training that was stopped.

    Args:
        recipe: How to train.
        folder: Where checkpoints and curves go; made if absent.

    Returns:
        The network with the best weights.
    """
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(recipe.loop.seed)
    torch.set_num_threads(thread_count())
    length = recipe.loop.steps * recipe.loop.batch_size
    training = Crops(default_sources(recipe.data), network_input, recipe.size_px, length, recipe.loop.seed)
    return fit(MosaicNet(), losses, training, validation_batches(recipe), recipe.loop, folder)


def validation_batches(recipe: MosaicRecipe) -> list[Crop]:
    """Return the crops that the loss is watched on: slices of val, half of them of weak contrast."""
    slices = load_patients(recipe.data / "btcv" / "val")
    dense = [item for item in slices if item.weak is not None]
    sources = [labelled_source(0.5, slices, weak=False), labelled_source(0.5, dense, weak=True)]
    crops = Crops(sources, network_input, recipe.size_px, recipe.validation_crops, recipe.loop.seed + 1)
    size = recipe.loop.batch_size
    items = [crops[i] for i in range(len(crops))]
    return [default_collate(items[i : i + size]) for i in range(0, len(items), size)]


def losses(network: nn.Module, batch: Crop) -> dict[str, Tensor]:
    """Return cross-entropy and Dice losses of borders and of structures, where they are known."""
    answer = network(batch.channels.contiguous(memory_format=torch.channels_last))
    border, structure = answer.boundary.float(), answer.structure.float()
    return {
        "border": weighted_bce(border, batch.border, batch.border_weight, BORDER_EMPHASIS),
        "border_dice": 0.5 * weighted_dice(border, batch.border, batch.border_weight),
        "structure": weighted_bce(structure, batch.structure, batch.structure_weight),
        "structure_dice": 0.5 * weighted_dice(structure, batch.structure, batch.structure_weight),
    }


def export(network: nn.Module, folder: Path) -> Path:
    """Write a trained network and its hash as `mosaic` loads them; return the file.

    Raises:
        OutputError: If a file cannot be written.
    """
    path = folder / "mosaic.onnx"
    export_onnx(network, N_CHANNELS, ("boundary", "structure"), path)
    return path


def run(recipe: MosaicRecipe, folder: Path) -> None:
    """Train, and export the weights that segment.

    Args:
        recipe: How to train.
        folder: Where checkpoints, curves and the exported network go.
    """
    export(train(recipe, folder), folder)


if __name__ == "__main__":
    tyro.cli(run)
