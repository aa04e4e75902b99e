"""Training and export of `mosaic`'s network: data, losses, and initial weights."""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from fewct.data.packed import ORGANS, load_packed_slices
from fewct.errors import UsageError
from fewct.methods.mosaic.maps import SPACING_PX, STEPS
from fewct.methods.mosaic.network import MapLogits, MosaicNet
from fewct.methods.mosaic.preprocessing import N_CHANNELS, preprocess
from fewct.nn.folded_unet import STRIDE
from fewct.outputs import make_folder
from fewct.runtime.threads import thread_count
from fewct.training.crops import (
    TrainingCrop,
    crop_dataset,
    default_sources,
    labelled_source,
    unlabelled_slices,
)
from fewct.training.loop import LoopConfig, Progress, fit
from fewct.training.losses import weighted_bce, weighted_dice
from fewct.training.mean_teacher import view_pairs
from fewct.training.onnx_export import export_onnx
from fewct.training.runs import MODEL, load_trained
from fewct.training.sampling import check_size, collate_batches
from fewct.training.warm_start import start_from

BORDER_EMPHASIS = 3.0  # weight of border pixels relative to others
SAMPLE_CROPS = 16  # for the statistics of batch normalisation when training starts from exported weights
APART_EMPHASIS = 2.0  # weight of pairs of pixels in different structures relative to others


@dataclass(frozen=True)
class MosaicRecipe:
    """Settings of the training of `mosaic`'s network on labelled slices, dense segments and synthetic CT.

    Raises:
        UsageError: If a setting is out of its range.
    """

    data: Path = Path("data")
    """Folder with btcv/train, btcv/val and anatomy."""
    start: str = ""
    """Exported network, or folder of one, to start from; empty: random weights."""
    self_training: bool = True
    """Whether to learn from the unlabelled slices in `data`, too."""
    without: tuple[str, ...] = ()
    """Organs to leave unlabelled, such as "spleen" and "left kidney", to see how unseen ones are found."""
    size_px: int = 320
    """Side of a training crop."""
    validation_crops: int = 32
    """Crops of btcv/val for the validation loss."""
    loop: LoopConfig = field(default_factory=LoopConfig)

    def __post_init__(self) -> None:
        unknown = [name for name in self.without if name not in ORGANS]
        if unknown:
            raise UsageError(
                "without",
                expected=f"names among {', '.join(ORGANS)}",
                found=", ".join(unknown),
                fix="Leave it out to hide none.",
            )
        check_size(self.size_px, STRIDE)


def train(recipe: MosaicRecipe, folder: Path, progress: Progress | None = None) -> nn.Module:
    """Train, or go on with a training that was stopped, in a folder that is made if absent.

    Returns:
        The network with the lowest validation loss.
    """
    make_folder(folder)
    torch.manual_seed(recipe.loop.seed)
    torch.set_num_threads(thread_count())
    loop = recipe.loop
    sources = default_sources(recipe.data, without=recipe.without)
    training = crop_dataset(sources, preprocess, recipe.size_px, loop.steps * loop.batch_size, loop.seed)
    pairs = None
    if recipe.self_training:
        length = loop.steps * loop.unlabelled_batch_size
        pairs = view_pairs(unlabelled_slices(recipe.data), preprocess, recipe.size_px, length, loop.seed)
    network = MosaicNet()
    if recipe.start:
        start(network, recipe, training)
    return fit(network, losses, training, validation_batches(recipe), loop, folder, pairs, progress)


def start(network: nn.Module, recipe: MosaicRecipe, training: Dataset[TrainingCrop]) -> None:
    """Load the weights that a recipe starts from; the affinity head stays random where the file has none.

    Raises:
        InputError: If the weights are absent, damaged, or of another network.
    """
    path = Path(recipe.start)
    sample = torch.stack([training[i].channels for i in range(SAMPLE_CROPS)])
    start_from(network, path if path.suffix == ".onnx" else path / "model.onnx", sample, new=("affinity",))


def validation_batches(recipe: MosaicRecipe) -> list[TrainingCrop]:
    """Return crops of val for the validation loss, half of them of low contrast."""
    slices = load_packed_slices(recipe.data / "btcv" / "val", recipe.without)
    dense = [item for item in slices if item.low_contrast is not None]
    sources = [
        labelled_source(0.5, slices, low_contrast=False),
        labelled_source(0.5, dense, low_contrast=True),
    ]
    crops = crop_dataset(sources, preprocess, recipe.size_px, recipe.validation_crops, recipe.loop.seed + 1)
    return collate_batches([crops[i] for i in range(len(crops))], recipe.loop.batch_size)


def losses(network: nn.Module, batch: TrainingCrop) -> dict[str, Tensor]:
    """Return cross-entropies of borders, structures and affinities, and Dice losses of the first two."""
    logits = network(batch.channels.contiguous(memory_format=torch.channels_last))
    border, structure = logits.boundary.float(), logits.structure.float()
    return {
        "border": weighted_bce(border, batch.border, batch.border_weight, BORDER_EMPHASIS),
        "border_dice": 0.5 * weighted_dice(border, batch.border, batch.border_weight),
        "structure": weighted_bce(structure, batch.structure, batch.structure_weight),
        "structure_dice": 0.5 * weighted_dice(structure, batch.structure, batch.structure_weight),
        "affinity": affinity_loss(logits.affinity.float(), batch.labels),
    }


def affinity_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy of all pairs of pixels of which at least one is labelled.

    Structures are labelled whole, so a pixel without label lies outside each of them. Pairs in different
    structures are fewer and decide on merges: their weight is larger.

    Args:
        logits: float (batch, steps, rows / 2, columns / 2), see `MapLogits`.
        labels: int32 (batch, rows, columns): structures, 0 for the rest.
    """
    coarse = labels[:, ::SPACING_PX, ::SPACING_PX]
    losses, weights = [], []
    for step, (down, right) in enumerate(STEPS):
        rows, columns = max(coarse.shape[1] - down, 0), max(coarse.shape[2] - right, 0)
        first, second = coarse[:, :rows, :columns], coarse[:, down:, right:]
        same = ((first == second) & (first > 0)).float()
        weight = ((first > 0) | (second > 0)).float() * (1 + (APART_EMPHASIS - 1) * (1 - same))
        pairs = functional.binary_cross_entropy_with_logits(
            logits[:, step, :rows, :columns], same, reduction="none"
        )
        losses.append((pairs * weight).sum())
        weights.append(weight.sum())
    return torch.stack(losses).sum() / torch.stack(weights).sum().clamp_min(1.0)


def export_network(network: nn.Module, path: Path) -> Path:
    """Write a trained network and its hash as `Mosaic` loads them; return the file.

    Raises:
        OutputError: If a file cannot be written.
    """
    export_onnx(network, N_CHANNELS, MapLogits._fields, path)
    return path


def export_folder(folder: Path) -> Path:
    """Write the network of a training to model.onnx in its folder; see `fewct.recipes.export`."""
    return export_network(load_trained(MosaicNet(), folder), folder / MODEL)
