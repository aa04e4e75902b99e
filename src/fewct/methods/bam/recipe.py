"""How BAM is trained: the base learner first, then the meta learner behind what is frozen."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from fewct.errors import InputError, UsageError
from fewct.methods.bam.episodes import BaseSlice, BaseSlices, Episode, Episodes, NamedSlice, places_of
from fewct.methods.bam.network import BAMNet, BaseStage
from fewct.methods.bam.preprocessing import STRIDE
from fewct.methods.bam.resnet import ResNetBackbone
from fewct.nn.pretrained_resnet import ENCODER, empty_backbone, load_backbone, save_configuration
from fewct.runtime.threads import thread_count
from fewct.training.checkpoints import load_weights
from fewct.training.loop import CHECKPOINT, LoopConfig, Progress, fit
from fewct.training.losses import weighted_dice

UNKNOWN = -1
BACKGROUND_WEIGHT = 0.1  # what a pixel of background counts against one of a structure
BASE, META = "base", "meta"
"""Folders of the two stages within that of a training."""
CLASSES = "base.classify.4.bias"  # one number a base structure, and one of the background


def _default_loop() -> LoopConfig:
    return LoopConfig(steps=8_000, budget_minutes=20.0, batch_size=4, ema_decay=0.99, warmup_steps=50)


@dataclass(frozen=True)
class BAMRecipe:
    """Trains BAM on slices whose ids mean the same, and on regions without meaning.

    Raises:
        UsageError: If a setting is out of its range.
    """

    size_px: int = 192
    """The patient's longest side is brought to this; a multiple of 48."""
    shots: int = 1
    """Supports an episode in training; in use there may be any number."""
    base_share: float = 0.4
    """Share of the time, and of the steps, that the base learner gets."""
    pseudo_share: float = 0.5
    """Share of the episodes whose target is a region without meaning, where slices have regions."""
    encoder: str = ""
    """A pretrained ResNet as backbone: a folder of transformers, or a name on the Hugging Face hub."""
    download: bool = False
    """Whether to fetch the encoder if it is not on this machine."""
    with_base: bool = True
    """Whether the base learner has a say in the end; off for the ablation without it."""
    scanner: bool = True
    """Whether slices are shown as other scanners and exports might: blur, noise, windows."""
    loop: LoopConfig = field(default_factory=_default_loop)

    def __post_init__(self) -> None:
        if self.size_px < STRIDE or self.size_px % STRIDE:
            raise _out_of_range("size_px", f"a multiple of {STRIDE}", f"{self.size_px}")
        if self.shots < 1:
            raise _out_of_range("shots", "1 or more", f"{self.shots}")
        for setting in ("base_share", "pseudo_share"):
            if not 0 <= getattr(self, setting) <= 1:
                raise _out_of_range(setting, "a share in [0, 1]", f"{getattr(self, setting)}")


def train(
    recipe: BAMRecipe,
    slices: Sequence[NamedSlice],
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
    slices: Sequence[NamedSlice],
    structures: Sequence[int],
    folder: Path,
    progress: Progress | None = None,
) -> BAMNet:
    """Train backbone and base learner: cross-entropy of base structures and background. See `train`."""
    if not any(len(places) for places in places_of(slices, structures).values()):
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
    data = BaseSlices(
        slices, structures, recipe.size_px, loop.steps * loop.batch_size, loop.seed, recipe.scanner
    )
    stage = BaseStage(network.backbone, network.base)
    trained = fit(stage, base_losses, data, [], loop, _made(folder / BASE), progress=progress)
    stage.load_state_dict(trained.state_dict())
    return network


def train_meta(
    recipe: BAMRecipe,
    base: BAMNet | None,
    slices: Sequence[NamedSlice],
    structures: Sequence[int],
    folder: Path,
    progress: Progress | None = None,
) -> BAMNet:
    """Train meta learner and ensemble behind a frozen backbone and base learner. See `train`.

    Without a trained `base`, the backbone learns, too.
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
    trained = fit(network, episode_losses, data, [], loop, _made(folder / META), progress=progress)
    network.load_state_dict(trained.state_dict())
    return network.eval()


def load_trained(recipe: BAMRecipe, folder: Path) -> BAMNet:
    """Return the network that `train` left in a folder, finished or not, with what its second stage reached.

    Args:
        recipe: How it was trained.
        folder: The training's.

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
    """Return the cross-entropy of the base learner, where something is known; background counts less."""
    logits = network(batch.image).float()
    return {"base": cross_entropy(logits, batch.classes, BACKGROUND_WEIGHT)}


def episode_losses(network: nn.Module, batch: Episode) -> dict[str, Tensor]:
    """Return the cross-entropies of ensemble and meta learner, and the latter's Dice loss.

    Background counts less: most structures are small, and "nothing anywhere" is too good an answer else.
    """
    answer = network(batch.query, batch.supports, batch.masks, batch.excluded)
    meta = answer.meta.float()
    losses = {
        "meta": cross_entropy(meta, batch.target, BACKGROUND_WEIGHT),
        "meta_dice": dice(meta, batch.target),
    }
    if answer.final is not answer.meta:
        losses["final"] = cross_entropy(answer.final.float(), batch.target, BACKGROUND_WEIGHT)
    return losses


def cross_entropy(logits: Tensor, classes: Tensor, background_weight: float = 1.0) -> Tensor:
    """Return the weighted mean cross-entropy on the classes' grid, where they are known (0 or more)."""
    full = functional.interpolate(logits, size=classes.shape[-2:], mode="bilinear")
    losses = functional.cross_entropy(full, classes, ignore_index=UNKNOWN, reduction="none")
    weights = (classes > 0).float() + background_weight * (classes == 0).float()
    return (losses * weights).sum() / weights.sum().clamp_min(1.0)


def dice(logits: Tensor, target: Tensor) -> Tensor:
    """Return the Dice loss of structure against background, where that is known."""
    full = functional.interpolate(logits, size=target.shape[-2:], mode="bilinear")
    return weighted_dice(full[:, 1] - full[:, 0], (target == 1).float(), (target != UNKNOWN).float())


def _initial_backbone(recipe: BAMRecipe, folder: Path) -> ResNetBackbone | None:
    """Return the pretrained backbone that a training begins with, if any; keep its shape."""
    begun = any((folder / stage / CHECKPOINT).exists() for stage in (BASE, META))
    if recipe.encoder and not begun:
        network = load_backbone(recipe.encoder, download=recipe.download)
        save_configuration(network, folder / ENCODER)
        return ResNetBackbone(network)
    return _backbone(recipe, folder)


def _backbone(recipe: BAMRecipe, folder: Path) -> ResNetBackbone | None:
    """Return a backbone of the shape that a training's folder keeps, for weights that are there already."""
    return ResNetBackbone(empty_backbone(folder / ENCODER)) if recipe.encoder else None


def _part_of(loop: LoopConfig, share: float) -> LoopConfig:
    """Return the settings of one stage, which gets a share of steps and time."""
    return replace(loop, steps=max(1, round(share * loop.steps)), budget_minutes=share * loop.budget_minutes)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _out_of_range(setting: str, expected: str, found: str) -> UsageError:
    return UsageError(setting, expected=expected, found=found, fix="Leave it out for the default.")
