"""Training of BAM: the base learner first, then the meta learner behind the frozen backbone."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from fewct.errors import InputError, check_range
from fewct.methods.bam.episodes import (
    BaseSlice,
    Episode,
    Episodes,
    EpisodeSlice,
    base_dataset,
    slices_showing,
)
from fewct.methods.bam.network import BAMNet, BaseStage
from fewct.methods.bam.preprocessing import STRIDE
from fewct.methods.bam.resnet import ResNetBackbone
from fewct.nn.pretrained_resnet import ENCODER, empty_backbone, load_backbone, save_configuration
from fewct.outputs import make_folder
from fewct.runtime.threads import thread_count
from fewct.training.checkpoints import load_weights
from fewct.training.loop import CHECKPOINT, LoopConfig, Progress, fit
from fewct.training.losses import weighted_dice
from fewct.training.sampling import check_size

UNKNOWN = -1
BACKGROUND_WEIGHT = 0.1  # of a pixel of background, relative to one of a structure
BASE, META = "base", "meta"
"""Folders of the two stages within that of a training."""
CLASSES = "base.classify.4.bias"  # of shape (1 + number of base structures,)


def _default_loop() -> LoopConfig:
    return LoopConfig(steps=8_000, budget_minutes=20.0, batch_size=4, ema_decay=0.99, warmup_steps=50)


@dataclass(frozen=True)
class BAMRecipe:
    """Settings of BAM's training, on slices with consistent ids and on pseudo-labels.

    Raises:
        UsageError: If a setting is out of its range.
    """

    size_px: int = 192
    """The patient's longest side is brought to this; a multiple of 48."""
    shots: int = 1
    """Supports an episode in training; in use there may be any number."""
    base_share: float = 0.4
    """Share of time and steps for the base learner."""
    pseudo_share: float = 0.5
    """Share of the episodes whose target is a pseudo-label, where slices have any."""
    encoder: str = ""
    """A pretrained ResNet as backbone: a folder of transformers, or a name on the Hugging Face hub."""
    download: bool = False
    """Whether to fetch the encoder if it is not on this machine."""
    with_base: bool = True
    """Whether the ensemble includes the base learner; off for the ablation without it."""
    scanner: bool = True
    """Whether augmentation includes blur, noise and windows of other scanners and exports."""
    loop: LoopConfig = field(default_factory=_default_loop)

    def __post_init__(self) -> None:
        check_size(self.size_px, STRIDE)
        check_range("shots", self.shots, 1)
        check_range("base_share", self.base_share, 0, 1)
        check_range("pseudo_share", self.pseudo_share, 0, 1)


def train(
    recipe: BAMRecipe,
    slices: Sequence[EpisodeSlice],
    structures: Sequence[int],
    folder: Path,
    progress: Progress | None = None,
) -> BAMNet:
    """Train both stages, or go on with a training that was stopped, in `base` and `meta` of a folder.

    `structures` are the ids of the base structures. If there are none, because ids mean nothing beyond their
    slice, there is one stage: the backbone learns with the meta learner.

    Raises:
        InputError: If no slice shows a base structure, there is nothing to draw episodes from, the encoder
            cannot be loaded, or a checkpoint is of another network.
        OutputError: If a file cannot be written; the last good checkpoint is kept.
    """
    base = train_base(recipe, slices, structures, folder, progress) if structures else None
    return train_meta(recipe, base, slices, structures, folder, progress)


def train_base(
    recipe: BAMRecipe,
    slices: Sequence[EpisodeSlice],
    structures: Sequence[int],
    folder: Path,
    progress: Progress | None = None,
) -> BAMNet:
    """Train backbone and base learner: cross-entropy of base structures and background. See `train`."""
    if not any(len(places) for places in slices_showing(slices, structures).values()):
        raise InputError(
            "data",
            expected=f"slices that show one of the structures {', '.join(map(str, structures))}",
            found=f"{len(slices)} slices that show none",
            fix="Check that the label maps belong to these images.",
        )
    loop = _part_of(recipe.loop, recipe.base_share)
    torch.manual_seed(loop.seed)
    torch.set_num_threads(thread_count())
    network = BAMNet(len(structures), _initial_backbone(recipe, folder), recipe.with_base)
    data = base_dataset(
        slices, structures, recipe.size_px, loop.steps * loop.batch_size, loop.seed, recipe.scanner
    )
    stage = BaseStage(network.backbone, network.base)
    make_folder(folder / BASE)
    trained = fit(stage, base_losses, data, [], loop, folder / BASE, progress=progress)
    stage.load_state_dict(trained.state_dict())
    return network


def train_meta(
    recipe: BAMRecipe,
    base: BAMNet | None,
    slices: Sequence[EpisodeSlice],
    structures: Sequence[int],
    folder: Path,
    progress: Progress | None = None,
) -> BAMNet:
    """Train meta learner and ensemble behind the frozen backbone and base learner of `base`. See `train`.

    Without `base`, the backbone is trained, too.
    """
    loop = recipe.loop if base is None else _part_of(recipe.loop, 1 - recipe.base_share)
    torch.manual_seed(loop.seed)
    torch.set_num_threads(thread_count())
    if base is None:
        network = BAMNet(len(structures), _initial_backbone(recipe, folder), recipe.with_base)
        network.base.requires_grad_(False)
    else:
        network = BAMNet(len(structures), _backbone(recipe, folder), recipe.with_base).freeze()
        network.backbone.load_state_dict(base.backbone.state_dict())
        network.base.load_state_dict(base.base.state_dict())
    data = Episodes(
        slices,
        structures,
        recipe.shots,
        recipe.size_px,
        loop.steps * loop.batch_size,
        loop.seed + 1,
        recipe.pseudo_share,
        recipe.scanner,
    )
    make_folder(folder / META)
    trained = fit(network, episode_losses, data, [], loop, folder / META, progress=progress)
    network.load_state_dict(trained.state_dict())
    return network.eval()


def load_trained(recipe: BAMRecipe, folder: Path) -> BAMNet:
    """Return the network of a training's folder, finished or not, as its second stage left it.

    Raises:
        InputError: If the second stage has not begun, or its checkpoint is damaged or of another network.
        MissingExtraError: If there is a pretrained encoder and transformers is not installed.
    """
    path = folder / META / CHECKPOINT
    content = load_weights(path)
    try:
        weights = content["average"]
        network = BAMNet(len(weights[CLASSES]) - 1, _backbone(recipe, folder), recipe.with_base).freeze()
        network.load_state_dict(weights)
    except (KeyError, TypeError, RuntimeError) as error:
        raise InputError(
            path,
            expected="the second stage of a training of BAM",
            found=str(error).splitlines()[0],
            fix="Train again into an empty folder.",
        ) from error
    return network.eval()


def base_losses(network: nn.Module, batch: BaseSlice) -> dict[str, Tensor]:
    """Return the cross-entropy of the base learner on annotated pixels; background has less weight."""
    logits = network(batch.image).float()
    return {"base": cross_entropy(logits, batch.classes, BACKGROUND_WEIGHT)}


def episode_losses(network: nn.Module, batch: Episode) -> dict[str, Tensor]:
    """Return the cross-entropies of ensemble and meta learner, and the latter's Dice loss.

    Background has less weight, since most structures are small.
    """
    logits = network(batch.query, batch.supports, batch.masks, batch.excluded)
    meta = logits.meta.float()
    losses = {
        "meta": cross_entropy(meta, batch.target, BACKGROUND_WEIGHT),
        "meta_dice": dice(meta, batch.target),
    }
    if logits.final is not logits.meta:
        losses["final"] = cross_entropy(logits.final.float(), batch.target, BACKGROUND_WEIGHT)
    return losses


def cross_entropy(logits: Tensor, classes: Tensor, background_weight: float = 1.0) -> Tensor:
    """Return the weighted mean cross-entropy on the classes' grid, where they are annotated (0 or more)."""
    full = functional.interpolate(logits, size=classes.shape[-2:], mode="bilinear")
    losses = functional.cross_entropy(full, classes, ignore_index=UNKNOWN, reduction="none")
    weights = (classes > 0).float() + background_weight * (classes == 0).float()
    return (losses * weights).sum() / weights.sum().clamp_min(1.0)


def dice(logits: Tensor, target: Tensor) -> Tensor:
    """Return the Dice loss of structure against background on annotated pixels."""
    full = functional.interpolate(logits, size=target.shape[-2:], mode="bilinear")
    return weighted_dice(full[:, 1] - full[:, 0], (target == 1).float(), (target != UNKNOWN).float())


def _initial_backbone(recipe: BAMRecipe, folder: Path) -> ResNetBackbone | None:
    """Return the pretrained backbone of a recipe, if any, and keep its configuration in the folder."""
    begun = any((folder / stage / CHECKPOINT).exists() for stage in (BASE, META))
    if recipe.encoder and not begun:
        network = load_backbone(recipe.encoder, download=recipe.download)
        save_configuration(network, folder / ENCODER)
        return ResNetBackbone(network)
    return _backbone(recipe, folder)


def _backbone(recipe: BAMRecipe, folder: Path) -> ResNetBackbone | None:
    """Return an untrained backbone of the configuration in a training's folder, if there is any."""
    return ResNetBackbone(empty_backbone(folder / ENCODER)) if recipe.encoder else None


def _part_of(loop: LoopConfig, share: float) -> LoopConfig:
    """Return the settings of one stage with its share of steps and time."""
    return replace(loop, steps=max(1, round(share * loop.steps)), budget_minutes=share * loop.budget_minutes)
