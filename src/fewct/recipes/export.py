"""Folders of trainings: with what they were made, and the networks exported from them."""

import copy
import shutil
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from fewct.methods.bam.onnx_export import export as export_bam
from fewct.methods.bam.recipe import BAMRecipe
from fewct.methods.bam.recipe import load_trained as load_bam
from fewct.methods.mosaic.network import MapLogits, MosaicNet
from fewct.methods.mosaic.preprocessing import N_CHANNELS
from fewct.methods.sam.checkpoints.layout import TRAINED
from fewct.methods.sam.checkpoints.onnx_export import export_network
from fewct.methods.sam.finetuning.prompt_small import SHAPE, trainable_network
from fewct.methods.sam.finetuning.recipe import SamRecipe, starting_network, trained_network
from fewct.methods.sam.finetuning.trainable import TrainableSam
from fewct.methods.sam.modeling.sam import Sam
from fewct.methods.unet.recipe import UNetRecipe, build_network
from fewct.methods.unet.recipe import export as export_unet
from fewct.training.checkpoints import load_weights, save_weights
from fewct.training.loop import BEST, CHECKPOINT, LoopConfig
from fewct.training.onnx_export import export_onnx
from fewct.training.runs import SETTINGS, _no_training, read_settings

MODEL = "model.onnx"
SAM_WEIGHTS = "sam.pth"
Recipe = TypeVar("Recipe", BAMRecipe, SamRecipe, UNetRecipe)


def export_folder(folder: Path) -> Path:
    """Write the network that a folder was trained to as ONNX, with its hash.

    The weights are the best on validation so far, or without validation the last; so a training that still
    runs, or was stopped, can be used, too.

    Args:
        folder: A training's folder.

    Returns:
        The file, model.onnx in the folder; for a promptable network the folder `model` in it, beside which
        the same weights lie as sam.pth, by their official names.

    Raises:
        InputError: If the folder holds no training, nothing is trained yet, or a file in it is damaged.
        OutputError: If a file cannot be written.
    """
    content = read_settings(folder)
    path = folder / MODEL
    if content["recipe"] in ("sam", "prompt-small"):
        return _export_sam(content["recipe"], content["settings"], folder)
    if content["recipe"] == "bam":
        bam = _recipe_of(BAMRecipe, content["settings"], folder)
        return export_bam(load_bam(bam, folder), bam.size_px, folder)
    if content["recipe"] == "unet":
        recipe = _recipe_of(UNetRecipe, content["settings"], folder)
        network = build_network(recipe, folder)
        export_unet(_with_weights(network, folder), recipe, path)
    else:
        export_onnx(_with_weights(MosaicNet(), folder), N_CHANNELS, MapLogits._fields, path)
    return path


def _export_sam(recipe: str, settings: dict[str, Any], folder: Path) -> Path:
    """Write a promptable network as ONNX and as an official file, in the place of older ones."""
    if recipe == "sam":
        fine_tuning = _recipe_of(SamRecipe, settings, folder)
        network, normalization = starting_network(fine_tuning)
        practice = TrainableSam(copy.deepcopy(network), fine_tuning.trainable, correction_prompts=0)
    else:
        network, normalization = Sam(SHAPE), "ranks"
        practice = trainable_network(copy.deepcopy(network), correction_prompts=0)
    learnt = _with_weights(practice, folder)
    whole = trained_network(learnt, network)
    save_weights(whole.state_dict(), folder / SAM_WEIGHTS)
    exported, fresh = folder / TRAINED, folder / f".{TRAINED}"
    shutil.rmtree(fresh, ignore_errors=True)  # what an interrupted export left
    export_network(whole, normalization, fresh)
    shutil.rmtree(exported, ignore_errors=True)
    fresh.rename(exported)
    return exported


def _with_weights(network: nn.Module, folder: Path) -> nn.Module:
    """Return the network with the weights that a folder was trained to."""
    best = folder / BEST
    source = best if best.exists() else folder / CHECKPOINT
    if not source.exists():
        raise _no_training(folder, f"neither {BEST} nor {CHECKPOINT}")
    content = load_weights(source)
    try:
        network.load_state_dict(content if source == best else content["average"])
    except (KeyError, RuntimeError) as error:
        raise _no_training(source, str(error).splitlines()[0]) from error
    return network


def _recipe_of(kind: type[Recipe], settings: dict[str, Any], folder: Path) -> Recipe:
    """Return the recipe of a training from its JSON, which has lists for tuples."""
    try:
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in settings["recipe"].items()
        }
        return kind(**(fields | {"loop": LoopConfig(**fields["loop"])}))
    except (KeyError, TypeError) as error:
        raise _no_training(folder / SETTINGS, f"{type(error).__name__}: {error}") from error
