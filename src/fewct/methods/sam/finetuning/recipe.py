"""Fine-tuning of SAM on labelled slices: the recipe, its losses, and the export of what was trained."""

import copy
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fewct.data.examples import TrainingExample, check_labelled
from fewct.errors import check_range
from fewct.methods.sam.backends.load import PROMPT_SMALL_START, NormalizationChoice, checkpoint_path
from fewct.methods.sam.checkpoints.build import default_normalization, load_sam
from fewct.methods.sam.checkpoints.layout import TRAINED
from fewct.methods.sam.checkpoints.onnx_export import export_network
from fewct.methods.sam.conventions import Normalization
from fewct.methods.sam.finetuning.dataset import (
    LabelledView,
    PromptBatch,
    PromptSampling,
    example_views,
    network_inputs,
    one_of,
    plain_view,
    prompt_dataset,
    sample_prompts,
    view_input,
)
from fewct.methods.sam.finetuning.lora import add_lora, merge_lora
from fewct.methods.sam.finetuning.trainable import DecoderRound, Trainable, TrainableSam, overlaps
from fewct.methods.sam.modeling.sam import Sam
from fewct.runtime.threads import thread_count
from fewct.runtime.weight_files import check_shipped
from fewct.training.checkpoints import save_weights
from fewct.training.loop import LoopConfig, Progress, fit
from fewct.training.runs import load_trained, read_recipe
from fewct.training.sampling import collate_batches
from fewct.types import Labels

SAM_WEIGHTS = "sam.pth"
CROSS_ENTROPY, FOCAL = 0.5, 20.0
"""Weights beside the Dice loss. With more cross-entropy a network that starts from random weights learns
first, and for long, empty masks. SAM was trained with 20 times the focal loss."""


def _loop() -> LoopConfig:
    return LoopConfig(steps=1000, batch_size=4, learning_rate=1e-4, weight_decay=1e-4, validate_every=50)


@dataclass(frozen=True)
class SamRecipe:
    """Fine-tunes a checkpoint of Segment Anything: Dice and cross-entropy of masks, and their predicted IoU.

    Raises:
        UsageError: If a setting is out of its range.
    """

    weights: str = ""
    """Checkpoint to start from: a file, a folder of transformers, or a name in `fewct models list`; empty:
    prompt-small, which comes with fewct."""
    trainable: Trainable = "decoder"
    """What learns: the mask decoder; also the prompt encoder; with these, low-rank adapters in the image
    encoder; or all."""
    rank: int = 8
    """Rank of the adapters."""
    image_size: int = 0
    """Side of the network's input: 256, 512 or 1024; 0: what it was made for."""
    normalization: NormalizationChoice = "auto"
    """How grey values are normalised; name medsam for MedSAM, whose file looks like SAM's."""
    prompts: int = 8
    """Structures of a slice that are prompted at once."""
    box_share: float = 0.7
    """Share of prompts that are boxes; the others are points."""
    jitter_px: float = 10.0
    """By how much each side of a box moves at most, in pixels of a slice of 512."""
    correction_prompts: int = 8
    """Prompts of a batch that get a second round: a point on a wrong pixel and the first mask as input."""
    loss: Literal["cross-entropy", "focal"] = "cross-entropy"
    """What is added to the Dice loss."""
    augmented_views: int = 4
    """Where the image encoder is frozen: views of each slice, one of them as it is."""
    no_flips: bool = False
    """Whether slices are never flipped or turned by quarters: for data that always comes the same way up."""
    loop: LoopConfig = field(default_factory=_loop)

    def __post_init__(self) -> None:
        for name in ("rank", "prompts", "augmented_views"):
            check_range(name, getattr(self, name), 1)
        for name in ("image_size", "correction_prompts", "jitter_px"):
            check_range(name, getattr(self, name))
        check_range("box_share", self.box_share, 0, 1)


def train(
    recipe: SamRecipe,
    training: Sequence[TrainingExample],
    validation: Sequence[TrainingExample],
    folder: Path,
    progress: Progress | None = None,
) -> nn.Module:
    """Train, or go on with a training that was stopped, in a folder that exists.

    Returns:
        The network with the lowest loss on `validation`, whose slices are not augmented; the last network if
        there are none. `trained_network` takes it.

    Raises:
        InputError: If nothing is labelled, or the checkpoint is absent, damaged or of another network.
        UsageError: If the network cannot be trained as the recipe says.
        OutputError: If a file cannot be written; the last good checkpoint is kept.
    """
    check_labelled(training)
    loop = recipe.loop
    torch.manual_seed(loop.seed)
    torch.set_num_threads(thread_count())
    sam, normalization = starting_network(recipe)
    sampling = PromptSampling(recipe.prompts, recipe.box_share, recipe.jitter_px * sam.image_size / 512)
    augmented = example_views(training, sam.image_size, recipe.no_flips)
    encoder_learns = recipe.trainable in ("adapters", "all")

    def encode(view: LabelledView) -> tuple[Tensor, Labels]:
        inputs, labels = view_input(view, sam.image_size, normalization)
        return inputs if encoder_learns else _embedding(sam, inputs), labels

    held_out = [encode(plain_view(example)) for example in validation]
    if encoder_learns:
        draw = network_inputs(augmented, sam.image_size, normalization)
    else:
        rng, plain = np.random.default_rng((loop.seed, 0)), [plain_view(example) for example in training]
        views = plain + [augmented(rng) for _ in range((recipe.augmented_views - 1) * len(plain))]
        draw = one_of([encode(view) for view in views])
    data = prompt_dataset(draw, sampling, loop.steps * loop.batch_size, loop.seed)
    items = [
        sample_prompts(*one, sampling, np.random.default_rng((loop.seed, 1, number)), number)
        for number, one in enumerate(held_out)
    ]
    network = TrainableSam(sam, recipe.trainable, recipe.correction_prompts)
    held = collate_batches(items, loop.batch_size)
    return fit(network, make_losses(recipe.loss), data, held, loop, folder, progress=progress)


@torch.no_grad()
def _embedding(sam: Sam, inputs: Tensor) -> Tensor:
    embedding: Tensor = sam.image_encoder(inputs[None])[0]
    return embedding


def starting_network(recipe: SamRecipe) -> tuple[Sam, Normalization]:
    """Return the network that a recipe starts from, with its adapters, and its normalization.

    Raises:
        InputError: If the checkpoint is absent, damaged or of another network.
        UsageError: If the network cannot be trained as the recipe says.
    """
    path = checkpoint_path(recipe.weights) if recipe.weights else check_shipped(PROMPT_SMALL_START)
    sam = load_sam(path, recipe.image_size or None)
    if recipe.trainable == "adapters":
        add_lora(sam, recipe.rank)
    return sam, default_normalization(sam) if recipe.normalization == "auto" else recipe.normalization


def trained_network(trained: nn.Module, sam: Sam) -> Sam:
    """Return a whole network with the weights of a training, which ended with `trained`.

    The network that the training started from, with its adapters, is changed in place.
    """
    learnt = trained.state_dict()
    names = sam.state_dict()
    sam.load_state_dict(names | {n: learnt[f"sam.{n}"] for n in names if f"sam.{n}" in learnt})
    merge_lora(sam)
    return sam.eval()


def export_folder(folder: Path) -> Path:
    """Write the network of a training as ONNX and as an official file; see `write_trained`."""
    recipe = read_recipe(SamRecipe, folder)
    sam, normalization = starting_network(recipe)
    network = TrainableSam(copy.deepcopy(sam), recipe.trainable, correction_prompts=0)
    return write_trained(network, sam, normalization, folder)


def write_trained(network: TrainableSam, sam: Sam, normalization: Normalization, folder: Path) -> Path:
    """Write the network of a training to the folder `model` in its folder, and its weights to sam.pth.

    Args:
        network: As it was trained, with any weights.
        sam: What the training started from.
        folder: The training's.

    Returns:
        The folder of the exported network; an older one is replaced.

    Raises:
        InputError: If nothing is trained yet, or a checkpoint is damaged or of another network.
        OutputError: If a file cannot be written.
    """
    whole = trained_network(load_trained(network, folder), sam)
    save_weights(whole.state_dict(), folder / SAM_WEIGHTS)
    exported, fresh = folder / TRAINED, folder / f".{TRAINED}"
    shutil.rmtree(fresh, ignore_errors=True)  # what an interrupted export left
    export_network(whole, normalization, fresh)
    shutil.rmtree(exported, ignore_errors=True)
    fresh.rename(exported)
    return exported


def make_losses(
    loss: Literal["cross-entropy", "focal"],
) -> Callable[[nn.Module, PromptBatch], dict[str, Tensor]]:
    """Return the function from network and batch to named losses."""

    def losses(network: nn.Module, batch: PromptBatch) -> dict[str, Tensor]:
        rounds: list[DecoderRound] = network(batch)
        masks, scores = zip(*(round_losses(one, loss) for one in rounds), strict=True)
        values = {"masks": torch.stack(masks).sum(), "scores": torch.stack(scores).sum()}
        first = rounds[0]
        if first.similarity is not None:
            each = mask_losses(first.similarity[:, None], first.target, loss)
            values["similarity"] = each.mean() if len(each) else first.similarity.sum()
        return values

    return losses


def round_losses(one: DecoderRound, loss: Literal["cross-entropy", "focal"]) -> tuple[Tensor, Tensor]:
    """Return the losses of the masks and of the predicted IoU of one round; 0 without prompts.

    Of the masks to choose from only the best learns, as for SAM. The mask for unambiguous prompts learns from
    such prompts alone.
    """
    if len(one.logits) == 0:
        nothing = 0 * (one.logits.sum() + one.predicted_iou.sum())
        return nothing, nothing
    each = mask_losses(one.logits, one.target, loss)
    single, best = each[:, 0], each[:, 1:].min(dim=1).values
    sure = one.unambiguous.float()
    masks = (sure * single).sum() / sure.sum().clamp_min(1) + best.mean()
    errors = (one.predicted_iou - overlaps(one.logits, one.target)) ** 2
    weights = torch.cat([sure[:, None], torch.ones_like(errors[:, 1:])], dim=1)
    return masks, (errors * weights).sum() / weights.sum()


def mask_losses(logits: Tensor, target: Tensor, loss: Literal["cross-entropy", "focal"]) -> Tensor:
    """Return the loss of each mask: soft Dice, and cross-entropy or the focal loss averaged over pixels.

    Args:
        logits: float (prompts, masks, side, side).
        target: float (prompts, side, side) in [0, 1].
        loss: What is added to the Dice loss.

    Returns:
        float (prompts, masks).
    """
    true = target[:, None].expand_as(logits)
    probability = torch.sigmoid(logits)
    overlap, total = (probability * true).sum((2, 3)), probability.sum((2, 3)) + true.sum((2, 3))
    entropy = functional.binary_cross_entropy_with_logits(logits, true, reduction="none")
    if loss == "focal":
        other = FOCAL * ((1 - torch.exp(-entropy)) ** 2 * entropy).mean((2, 3))
    else:
        other = CROSS_ENTROPY * entropy.mean((2, 3))
    return 1 - (2 * overlap + 1) / (total + 1) + other
