"""The folder of a training: its settings, how its data was split, and its weights."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from fewct.data.splits import Split, load_split, save_split
from fewct.errors import InputError, UsageError
from fewct.io.atomic import write_text
from fewct.training.checkpoints import load_weights
from fewct.training.loop import BEST, CHECKPOINT, LoopConfig

SETTINGS, SPLIT, MODEL = "training.json", "split.json", "model.onnx"
R = TypeVar("R")
MAY_CHANGE = (
    *("data", "validation", "download", "steps", "budget_minutes", "patience"),
    *("device", "workers", "tensorboard"),
)
"""Settings that a training may go on with at other values; the split tells whether the data is the same."""


def keep_settings(recipe: str, training: Any, folder: Path) -> None:
    """Write the settings of a training, its dataclass; if the folder has some, check that they are the same.

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
    """Write how a training's data is split; if the folder has a split, check that it is the same.

    Raises:
        UsageError: If the folder has another split, which means other data.
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
        return {"recipe": str(content["recipe"]), "settings": content["settings"]}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise _no_training(path, f"{type(error).__name__}: {error}") from error


def read_recipe(kind: type[R], folder: Path) -> R:
    """Return the field `recipe` of a training's settings, from JSON that has lists for tuples.

    Raises:
        InputError: If the folder holds no training, or one of another recipe.
    """
    settings = read_settings(folder)["settings"]
    try:
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in settings["recipe"].items()
        }
        return kind(**(fields | {"loop": LoopConfig(**fields["loop"])}))
    except (KeyError, TypeError) as error:
        raise _no_training(folder / SETTINGS, f"{type(error).__name__}: {error}") from error


def load_trained(network: nn.Module, folder: Path) -> nn.Module:
    """Put the best weights of a training, or without validation the last ones, into its network; return it.

    Raises:
        InputError: If there are none yet, or they are damaged or of another network.
    """
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
