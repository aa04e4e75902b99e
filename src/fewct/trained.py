"""Folders of trainings: with what they were made, and the networks exported from them."""

import copy
import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from fewct.errors import InputError, UsageError
from fewct.io.atomic import write_text
from fewct.methods.bam.exporting import export as export_bam
from fewct.methods.bam.recipe import BAMRecipe
from fewct.methods.bam.recipe import load_trained as load_bam
from fewct.methods.mosaic.inputs import N_CHANNELS
from fewct.methods.mosaic.network import MapLogits, MosaicNet
from fewct.methods.sam.folders import TRAINED
from fewct.methods.sam.network import Sam
from fewct.methods.sam.onnx_export import export_network
from fewct.methods.sam.practice import Practice
from fewct.methods.sam.recipe import SamRecipe, finished, starting_network
from fewct.methods.sam.small_recipe import SHAPE, practising
from fewct.methods.unet.recipe import UNetRecipe, build_network
from fewct.methods.unet.recipe import export as export_unet
from fewct.splits import Split, load_split, save_split
from fewct.training.checkpoints import load_weights, save_weights
from fewct.training.export import export_onnx
from fewct.training.loop import BEST, CHECKPOINT, LoopConfig

SETTINGS = "training.json"
SPLIT = "split.json"
MODEL = "model.onnx"
SAM_WEIGHTS = "sam.pth"
Recipe = TypeVar("Recipe", BAMRecipe, SamRecipe, UNetRecipe)
MAY_CHANGE = (
    *("data", "validation", "download", "steps", "budget_minutes", "patience"),
    *("device", "workers", "tensorboard"),
)
"""Settings that a training may go on with at other values; the split tells whether the data is the same."""


def keep_settings(recipe: str, training: Any, folder: Path) -> None:
    """Write what a folder is trained with; if it holds a training already, check that this goes on with it.

    Args:
        recipe: Name of the recipe.
        training: Its dataclass.
        folder: The training's folder.

    Raises:
        UsageError: If the folder holds a training with other settings.
        InputError: If the folder's settings are damaged.
        OutputError: If the file cannot be written.
    """
    settings = {"recipe": recipe, "settings": json.loads(json.dumps(asdict(training), default=str))}
    if (folder / SETTINGS).exists():
        before, now = _fixed(read_settings(folder)), _fixed(settings)
        # an option that is off is as good as one that there was not when the training began
        changed = [key for key in before | now if (before.get(key) or None) != (now.get(key) or None)]
        if changed:
            raise UsageError(
                folder,
                expected="a training with the same settings, or an empty folder",
                found="others: " + ", ".join(f"{key} was {before.get(key)}" for key in changed),
                fix="Go on with those settings, or train into another folder.",
            )
    write_text(json.dumps(settings, indent=1) + "\n", folder / SETTINGS)


def keep_split(split: Split, folder: Path) -> None:
    """Write how a training's data is parted; if that is known already, check that it is the same.

    Raises:
        UsageError: If the folder's training was parted otherwise, so that its data was another.
        InputError: If the folder's split is damaged.
        OutputError: If the file cannot be written.
    """
    path = folder / SPLIT
    if path.exists() and load_split(path) != split:
        raise UsageError(
            folder,
            expected="a training on the same slices, or an empty folder",
            found=f"other slices than in {SPLIT}",
            fix="Go on with the same data, or train into another folder.",
        )
    save_split(split, path)


def read_settings(folder: Path) -> dict[str, Any]:
    """Return what `keep_settings` wrote: "recipe", its name, and "settings", its fields.

    Raises:
        InputError: If the folder holds no training.
    """
    path = folder / SETTINGS
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {"recipe": content["recipe"], "settings": content["settings"]}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise _no_training(path, f"{type(error).__name__}: {error}") from error


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
        network, intensities = starting_network(fine_tuning)
        practice = Practice(copy.deepcopy(network), fine_tuning.parts, corrected=0)
    else:
        network, intensities = Sam(SHAPE), "ranks"
        practice = practising(copy.deepcopy(network), corrected=0)
    learnt = _with_weights(practice, folder)
    whole = finished(learnt, network)
    save_weights(whole.state_dict(), folder / SAM_WEIGHTS)
    exported, fresh = folder / TRAINED, folder / f".{TRAINED}"
    shutil.rmtree(fresh, ignore_errors=True)  # what an interrupted export left
    export_network(whole, intensities, fresh)
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


def _fixed(content: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that must not change, by their names."""
    flat: dict[str, Any] = {"recipe": content["recipe"]}
    branches = [content["settings"]]
    while branches:
        for key, value in branches.pop().items():
            if isinstance(value, dict):
                branches.append(value)
            elif key not in MAY_CHANGE:
                flat[key] = value
    return flat


def _no_training(path: Path, found: str) -> InputError:
    return InputError(
        path,
        expected="a training, as `fewct train` makes it",
        found=found,
        fix="Name the folder that was given to `fewct train -o`.",
    )
