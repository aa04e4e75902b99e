"""How the U-Net is trained and exported."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from fewct.data.examples import TrainingExample, check_labelled
from fewct.errors import UsageError
from fewct.io.atomic import atomic_path
from fewct.methods.unet.examples import Patch, Patches, channels, unlabelled_source
from fewct.methods.unet.inference import OUTPUTS, SIZE_KEY
from fewct.methods.unet.network import WIDTHS, UNetNetwork
from fewct.methods.unet.preprocessing import STRIDE
from fewct.methods.unet.resnet_unet import ResNetUNet
from fewct.nn.pretrained_resnet import ENCODER, empty_backbone, load_backbone, save_configuration
from fewct.runtime.threads import thread_count
from fewct.training.loop import CHECKPOINT, LoopConfig, Progress, fit
from fewct.training.losses import weighted_bce, weighted_dice
from fewct.training.mean_teacher import ViewPairs
from fewct.training.onnx_export import export_onnx, write_hash
from fewct.training.runs import MODEL, load_trained, read_recipe
from fewct.types import CTSlice


def _paper_loop() -> LoopConfig:
    """Return batches of 4 and Adam at 1e-4 (AdamW without decay is Adam), as in the founding paper."""
    return LoopConfig(batch_size=4, learning_rate=1e-4, weight_decay=0.0)


@dataclass(frozen=True)
class UNetRecipe:
    """Trains the founding paper's U-Net: binary cross-entropy of structure against the rest.

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
    """A pretrained ResNet for the way down: a folder of transformers, or a name on the Hugging Face hub."""
    download: bool = False
    """Whether to fetch the encoder if it is not on this machine."""
    size_px: int = 512
    """The longest side of a slice is brought to this; a multiple of 32."""
    augment: bool = True
    """Whether slices are turned, scaled, bent, blurred, made noisy and windowed at random."""
    upright: bool = False
    """Whether slices are never flipped or turned by quarters: for data that always comes the same way up."""
    loop: LoopConfig = field(default_factory=_paper_loop)

    def __post_init__(self) -> None:
        if self.size_px < STRIDE or self.size_px % STRIDE:
            raise _out_of_range("size_px", f"a multiple of {STRIDE}", f"{self.size_px}")
        if not 3 <= len(self.widths) <= 6 or min(self.widths) < 1:
            raise _out_of_range("widths", "3 to 6 widths of 1 or more", f"{self.widths}")


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
    drawn = Patches(
        training, recipe.size_px, loop.steps * loop.batch_size, loop.seed, recipe.augment, recipe.upright
    )
    whole = Patches(validation, recipe.size_px, len(validation), None, augment=False)
    batches = [
        default_collate([whole[i] for i in range(start, min(start + loop.batch_size, len(whole)))])
        for start in range(0, len(whole), loop.batch_size)
    ]
    pairs = _pairs(recipe, unlabelled)
    return fit(network, losses_of(recipe), drawn, batches, loop, folder, pairs, progress)


def _pairs(recipe: UNetRecipe, unlabelled: Sequence[CTSlice]) -> ViewPairs | None:
    """Return what self-training learns from, if there is anything."""
    if not unlabelled:
        return None
    loop, source = recipe.loop, unlabelled_source(unlabelled, recipe.size_px)
    length = loop.steps * loop.unlabelled_batch_size
    return ViewPairs(source, channels, recipe.size_px, length, loop.seed, recipe.upright)


def build_network(recipe: UNetRecipe, folder: Path) -> nn.Module:
    """Return the network of a recipe with random weights, for those of a checkpoint.

    Args:
        recipe: Tells its shape.
        folder: The training's folder, which keeps the shape of a pretrained encoder.

    Raises:
        InputError: If the encoder's shape is not there.
        MissingExtraError: If there is an encoder and transformers is not installed.
    """
    if not recipe.encoder:
        return UNetNetwork(recipe.widths, recipe.batch_norm)
    return ResNetUNet(empty_backbone(folder / ENCODER))


def initial_network(recipe: UNetRecipe, folder: Path) -> nn.Module:
    """Return the network that a training begins with: random weights, or a pretrained encoder.

    Args:
        recipe: Tells its shape.
        folder: The training's folder, which keeps the shape of the encoder. If it holds a checkpoint, the
            encoder is not loaded again.

    Raises:
        InputError: If the encoder cannot be loaded.
        MissingExtraError: If there is an encoder and transformers is not installed.
        OutputError: If the encoder's shape cannot be written.
    """
    if not recipe.encoder or (folder / CHECKPOINT).exists():
        return build_network(recipe, folder)
    backbone = load_backbone(recipe.encoder, download=recipe.download)
    save_configuration(backbone, folder / ENCODER)
    return ResNetUNet(backbone)


def losses_of(recipe: UNetRecipe) -> Callable[[nn.Module, Patch], dict[str, Tensor]]:
    """Return the function from network and batch to named losses, where truth is known."""

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


def _out_of_range(setting: str, expected: str, found: str) -> UsageError:
    return UsageError(setting, expected=expected, found=found, fix="Leave it out for the default.")
