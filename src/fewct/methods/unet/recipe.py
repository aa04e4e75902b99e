"""Training and export of the U-Net."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from fewct.data.examples import TrainingExample, check_labelled
from fewct.errors import UsageError
from fewct.io.atomic import atomic_path
from fewct.methods.unet.encoder_unet import empty_encoder_unet, load_encoder_unet
from fewct.methods.unet.examples import (
    Patch,
    preprocess_channels,
    random_patches,
    unlabelled_source,
    whole_patch,
)
from fewct.methods.unet.inference import OUTPUTS, SIZE_KEY
from fewct.methods.unet.network import WIDTHS, UNetNetwork
from fewct.methods.unet.preprocessing import STRIDE
from fewct.runtime.threads import thread_count
from fewct.training.loop import CHECKPOINT, LoopConfig, Progress, fit
from fewct.training.losses import weighted_bce, weighted_dice
from fewct.training.mean_teacher import view_pairs
from fewct.training.onnx_export import export_onnx, write_hash
from fewct.training.runs import MODEL, load_trained, read_recipe
from fewct.training.sampling import check_size, collate_batches
from fewct.types import CTSlice


def _paper_loop() -> LoopConfig:
    """Return batches of 4 and Adam at 1e-4 (AdamW without decay is Adam), as in the founding paper."""
    return LoopConfig(batch_size=4, learning_rate=1e-4, weight_decay=0.0)


@dataclass(frozen=True)
class UNetRecipe:
    """Settings of the U-Net's training by binary cross-entropy of structure against the rest.

    Raises:
        UsageError: If a setting is out of its range.
    """

    widths: tuple[int, ...] = WIDTHS
    """Channels of each level, from full resolution downwards."""
    batch_norm: bool = False
    """Whether each convolution is followed by batch normalisation."""
    dice: bool = False
    """Whether a Dice loss is added."""
    encoder: str = ""
    """A pretrained encoder: efficientnet-lite0, 1 or 2, or a ResNet's transformers folder or hub name."""
    download: bool = False
    """Whether to fetch a ResNet that is not on this machine."""
    size_px: int = 512
    """The longest side of a slice is brought to this; a multiple of 32."""
    augment: bool = True
    """Whether slices are rotated, scaled, deformed, blurred, made noisy and windowed at random."""
    no_flips: bool = False
    """Whether slices are never flipped or turned by quarters: for data that always comes the same way up."""
    loop: LoopConfig = field(default_factory=_paper_loop)

    def __post_init__(self) -> None:
        check_size(self.size_px, STRIDE)
        if not 3 <= len(self.widths) <= 6 or min(self.widths) < 1:
            raise UsageError(
                "widths",
                expected="3 to 6 widths of 1 or more",
                found=f"{self.widths}",
                fix="Leave it out for the default.",
            )


def train(
    recipe: UNetRecipe,
    training: Sequence[TrainingExample],
    validation: Sequence[TrainingExample],
    folder: Path,
    unlabelled: Sequence[CTSlice] = (),
    progress: Progress | None = None,
) -> nn.Module:
    """Train, or go on with a training that was stopped, in a folder that exists.

    Slices in `unlabelled` add the consistency loss of a mean teacher.

    Returns:
        The network with the lowest loss on `validation`, whose slices are not augmented; the last network if
        there are none.

    Raises:
        InputError: If nothing is labelled, the folder's checkpoint is of another network, or the encoder
            cannot be loaded.
        OutputError: If a file cannot be written; the last good checkpoint is kept.
    """
    check_labelled(training)
    loop = recipe.loop
    torch.manual_seed(loop.seed)
    torch.set_num_threads(thread_count())
    network = initial_network(recipe, folder)
    size_px, seed, no_flips = recipe.size_px, loop.seed, recipe.no_flips
    length = loop.steps * loop.batch_size
    patches = random_patches(training, size_px, length, seed, recipe.augment, no_flips)
    whole = [whole_patch(example, size_px, number) for number, example in enumerate(validation)]
    pairs = None
    if unlabelled:
        length, source = loop.steps * loop.unlabelled_batch_size, unlabelled_source(unlabelled, size_px)
        pairs = view_pairs(source, preprocess_channels, size_px, length, seed, no_flips)
    batches = collate_batches(whole, loop.batch_size)
    return fit(network, losses_of(recipe), patches, batches, loop, folder, pairs, progress)


def build_network(recipe: UNetRecipe, folder: Path) -> nn.Module:
    """Return the network of a recipe with random weights, for those of a checkpoint in the folder.

    Raises:
        InputError: If the folder lacks the configuration of the encoder.
        MissingExtraError: If the encoder is a ResNet and transformers is not installed.
    """
    if not recipe.encoder:
        return UNetNetwork(recipe.widths, recipe.batch_norm)
    return empty_encoder_unet(folder)


def initial_network(recipe: UNetRecipe, folder: Path) -> nn.Module:
    """Return the network that a training begins with: random weights, or a pretrained encoder.

    The encoder's configuration is kept in the folder. If that holds a checkpoint, the encoder is not loaded.

    Raises:
        InputError: If the encoder cannot be loaded.
        MissingExtraError: If the package that holds or reads the encoder's weights is not installed.
        OutputError: If the encoder's configuration cannot be written.
    """
    if not recipe.encoder or (folder / CHECKPOINT).exists():
        return build_network(recipe, folder)
    return load_encoder_unet(recipe.encoder, folder, download=recipe.download)


def losses_of(recipe: UNetRecipe) -> Callable[[nn.Module, Patch], dict[str, Tensor]]:
    """Return the function from network and batch to named losses on annotated pixels."""

    def losses(network: nn.Module, batch: Patch) -> dict[str, Tensor]:
        torch.manual_seed(int(batch.number[0]))  # dropout as in an unbroken training
        logits = network(batch.image).foreground.float()
        values = {"bce": weighted_bce(logits, batch.target, batch.weight)}
        if recipe.dice:
            values["dice"] = weighted_dice(logits, batch.target, batch.weight)
        return values

    return losses


def export_network(network: nn.Module, recipe: UNetRecipe, path: Path) -> None:
    """Write a trained network, with the size of slices, and its hash as `UNet` loads them.

    Raises:
        OutputError: If a file cannot be written.
    """
    export_onnx(network, 1, OUTPUTS, path)
    model = onnx.load(path)
    onnx.helper.set_model_props(model, {SIZE_KEY: f"{recipe.size_px}"})
    with atomic_path(path) as temporary:
        temporary.write_bytes(model.SerializeToString())
    write_hash(path)


def export_folder(folder: Path) -> Path:
    """Write the network of a training to model.onnx in its folder; see `fewct.recipes.export`."""
    recipe, path = read_recipe(UNetRecipe, folder), folder / MODEL
    export_network(load_trained(build_network(recipe, folder), folder), recipe, path)
    return path
