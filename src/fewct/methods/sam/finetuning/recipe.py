"""How SAM's networks learn from labelled slices: what loss, from which weights, which parts."""

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
from torch.utils.data import Dataset

from fewct.data.examples import TrainingExample, check_labelled
from fewct.errors import UsageError
from fewct.methods.sam.backends.load import PROMPT_SMALL_START, NormalizationChoice, checkpoint_path
from fewct.methods.sam.checkpoints.build import default_normalization, load_sam
from fewct.methods.sam.checkpoints.layout import TRAINED
from fewct.methods.sam.checkpoints.onnx_export import export_network
from fewct.methods.sam.conventions import Normalization
from fewct.methods.sam.finetuning.dataset import (
    EmbeddedPromptDataset,
    LabelledView,
    PromptBatch,
    PromptDataset,
    PromptSampling,
    ViewSampler,
    example_views,
    in_frame,
    plain_view,
    sample_prompts,
)
from fewct.methods.sam.finetuning.lora import add_lora, merge_lora
from fewct.methods.sam.finetuning.trainable import DecoderRound, Trainable, TrainableSam, overlaps
from fewct.methods.sam.modeling.sam import Sam
from fewct.methods.sam.preprocessing import InputFrame, preprocess
from fewct.runtime.threads import thread_count
from fewct.training.checkpoints import save_weights
from fewct.training.loop import LoopConfig, Progress, fit
from fewct.training.runs import load_trained, read_recipe
from fewct.training.sampling import collate_batches
from fewct.types import Labels

SAM_WEIGHTS = "sam.pth"
CROSS_ENTROPY, FOCAL = 0.5, 20.0
"""What they count for beside the Dice loss. With more cross-entropy a network that starts from random weights
learns first, and for long, to draw nothing. SAM was trained with 20 times the focal loss."""


def _loop() -> LoopConfig:
    return LoopConfig(steps=1000, batch_size=4, learning_rate=1e-4, weight_decay=1e-4, validate_every=50)


@dataclass(frozen=True)
class SamRecipe:
    """Fine-tunes a checkpoint of Segment Anything: Dice and cross-entropy of masks, and how good they are.

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
    """Side of the image that the network sees: 256, 512 or 1024; 0: what it was made for."""
    normalization: NormalizationChoice = "auto"
    """How the network was trained to see grey; name medsam for MedSAM, whose file looks like SAM's."""
    prompts: int = 8
    """Structures of a slice that are asked for at once."""
    box_share: float = 0.7
    """Share of prompts that are boxes; the others are points."""
    jitter_px: float = 10.0
    """By how much each side of a box moves at most, in pixels of a slice of 512."""
    correction_prompts: int = 8
    """Prompts of a batch that get a second round: one more point on a mistake, and the mask as a guess."""
    loss: Literal["cross-entropy", "focal"] = "cross-entropy"
    """What is added to the Dice loss."""
    augmented_views: int = 4
    """Where the image encoder is frozen: ways in which each slice is shown, one of them as it is."""
    no_flips: bool = False
    """Whether slices are never flipped or turned by quarters: for data that always comes the same way up."""
    loop: LoopConfig = field(default_factory=_loop)

    def __post_init__(self) -> None:
        for name, least in (
            ("rank", 1),
            ("prompts", 1),
            ("augmented_views", 1),
            ("image_size", 0),
            ("correction_prompts", 0),
        ):
            if getattr(self, name) < least:
                raise _out_of_range(name, f"{least} or more", getattr(self, name))
        if not 0 <= self.box_share <= 1:
            raise _out_of_range("box_share", "a share in [0, 1]", self.box_share)
        if not 0 <= self.jitter_px < float("inf"):
            raise _out_of_range("jitter_px", "0 or more", self.jitter_px)


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
    asking = PromptSampling(recipe.prompts, recipe.box_share, recipe.jitter_px * sam.image_size / 512)
    length = loop.steps * loop.batch_size
    augmented = example_views(training, sam.image_size, recipe.no_flips)
    held_out = [plain_view(example) for example in validation]
    if recipe.trainable in ("adapters", "all"):
        data: Dataset[PromptBatch] = PromptDataset(
            augmented, sam.image_size, normalization, asking, length, loop.seed
        )
        seen: Sequence[Tensor] = [_seen(view, sam, normalization) for view in held_out]
    else:
        shown = fixed_views(training, augmented, recipe.augmented_views, loop.seed)
        embeddings = torch.stack([_embedded(view, sam, normalization) for view in shown])
        labels = [_labels(view, sam) for view in shown]
        data = EmbeddedPromptDataset(embeddings, labels, asking, length, loop.seed)
        seen = [_embedded(view, sam, normalization) for view in held_out]
    lessons = [
        sample_prompts(x, _labels(view, sam), asking, np.random.default_rng((loop.seed, 1, number)), number)
        for number, (x, view) in enumerate(zip(seen, held_out, strict=True))
    ]
    practice = TrainableSam(sam, recipe.trainable, recipe.correction_prompts)
    held = collate_batches(lessons, loop.batch_size)
    return fit(practice, make_losses(recipe.loss), data, held, loop, folder, progress=progress)


def starting_network(recipe: SamRecipe) -> tuple[Sam, Normalization]:
    """Return the network that a recipe starts from, with its adapters, and how it sees grey.

    Raises:
        InputError: If the checkpoint is absent, damaged or of another network.
        UsageError: If the network cannot be trained as the recipe says.
    """
    path = checkpoint_path(recipe.weights) if recipe.weights else PROMPT_SMALL_START
    sam = load_sam(path, recipe.image_size or None)
    if recipe.trainable == "adapters":
        add_lora(sam, recipe.rank)
    return sam, default_normalization(sam) if recipe.normalization == "auto" else recipe.normalization


def trained_network(practice: nn.Module, sam: Sam) -> Sam:
    """Return a whole network with what a training changed of it.

    Args:
        practice: What `train` returned.
        sam: The network that the training started from, with its adapters; changed in place.
    """
    learnt = practice.state_dict()
    names = sam.state_dict()
    sam.load_state_dict(names | {n: learnt[f"sam.{n}"] for n in names if f"sam.{n}" in learnt})
    merge_lora(sam)
    return sam.eval()


def export_folder(folder: Path) -> Path:
    """Write the network of a training as ONNX and as an official file; see `write_trained`."""
    recipe = read_recipe(SamRecipe, folder)
    sam, normalization = starting_network(recipe)
    practice = TrainableSam(copy.deepcopy(sam), recipe.trainable, correction_prompts=0)
    return write_trained(practice, sam, normalization, folder)


def write_trained(practice: TrainableSam, sam: Sam, normalization: Normalization, folder: Path) -> Path:
    """Write the network of a training to the folder `model` in its folder, and its weights to sam.pth.

    Args:
        practice: The network that was trained, with any weights.
        sam: The network that the training started from.
        normalization: How the network sees grey.
        folder: The training's.

    Returns:
        The folder of the exported network; an older one is replaced.

    Raises:
        InputError: If nothing is trained yet, or a checkpoint is damaged or of another network.
        OutputError: If a file cannot be written.
    """
    whole = trained_network(load_trained(practice, folder), sam)
    save_weights(whole.state_dict(), folder / SAM_WEIGHTS)
    exported, fresh = folder / TRAINED, folder / f".{TRAINED}"
    shutil.rmtree(fresh, ignore_errors=True)  # what an interrupted export left
    export_network(whole, normalization, fresh)
    shutil.rmtree(exported, ignore_errors=True)
    fresh.rename(exported)
    return exported


def fixed_views(
    examples: Sequence[TrainingExample], augmented: ViewSampler, views: int, seed: int
) -> list[LabelledView]:
    """Return each slice as it is, and for each further view as many slices as another scanner shows them."""
    rng = np.random.default_rng((seed, 0))
    plain = [plain_view(example) for example in examples]
    return plain + [augmented(rng) for _ in range((views - 1) * len(plain))]


def _seen(view: LabelledView, sam: Sam, normalization: Normalization) -> Tensor:
    frame = InputFrame(view.picture.shape, sam.image_size, sam.image_size)
    return torch.from_numpy(preprocess(view.picture, frame, normalization))


@torch.no_grad()
def _embedded(view: LabelledView, sam: Sam, normalization: Normalization) -> Tensor:
    embedding: Tensor = sam.image_encoder(_seen(view, sam, normalization)[None])[0]
    return embedding


def _labels(view: LabelledView, sam: Sam) -> Labels:
    return in_frame(view.labels, InputFrame(view.picture.shape, sam.image_size, sam.image_size))


def make_losses(
    loss: Literal["cross-entropy", "focal"],
) -> Callable[[nn.Module, PromptBatch], dict[str, Tensor]]:
    """Return the function from network and batch to named losses."""

    def losses(network: nn.Module, batch: PromptBatch) -> dict[str, Tensor]:
        rounds: list[DecoderRound] = network(batch)
        masks, scores = zip(*(round_losses(one, loss) for one in rounds), strict=True)
        values = {"masks": torch.stack(masks).sum(), "scores": torch.stack(scores).sum()}
        first = rounds[0]
        if first.alike is not None:
            each = mask_losses(first.alike[:, None], first.target, loss)
            values["alike"] = each.mean() if len(each) else first.alike.sum()
        return values

    return losses


def round_losses(one: DecoderRound, loss: Literal["cross-entropy", "focal"]) -> tuple[Tensor, Tensor]:
    """Return the losses of the masks and of the predicted IoU of one round; 0 where nothing was asked.

    Of the masks to choose from only the best learns, as for SAM. The mask for prompts that leave no doubt
    learns from such prompts alone.
    """
    if len(one.logits) == 0:
        nothing = 0 * (one.logits.sum() + one.predicted_iou.sum())
        return nothing, nothing
    each = mask_losses(one.logits, one.target, loss)
    single, best = each[:, 0], each[:, 1:].min(dim=1).values
    sure = one.sure.float()
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
    likely = torch.sigmoid(logits)
    overlap, total = (likely * true).sum((2, 3)), likely.sum((2, 3)) + true.sum((2, 3))
    entropy = functional.binary_cross_entropy_with_logits(logits, true, reduction="none")
    if loss == "focal":
        other = FOCAL * ((1 - torch.exp(-entropy)) ** 2 * entropy).mean((2, 3))
    else:
        other = CROSS_ENTROPY * entropy.mean((2, 3))
    return 1 - (2 * overlap + 1) / (total + 1) + other


def _out_of_range(name: str, expected: str, found: float) -> UsageError:
    return UsageError(name, expected=expected, found=f"{found}", fix="Leave it out for the default.")
