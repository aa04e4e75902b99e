"""Exports of trainings again, by the recipe that their folder names."""

from pathlib import Path

from fewct.errors import InputError
from fewct.recipes import RECIPES
from fewct.training.runs import SETTINGS, read_settings


def export_folder(folder: Path) -> Path:
    """Write the network of a training as ONNX, with its hash.

    The weights are those of the lowest validation loss so far, or without validation the last ones; so the
    network of a training that still runs, or was stopped, can be used, too.

    Returns:
        The file, model.onnx in the folder; for a promptable network the folder `model` in it, beside which
        the same weights lie as sam.pth, by their official names.

    Raises:
        InputError: If the folder holds no training, nothing is trained yet, a file in it is damaged, or its
            recipe is not installed.
        OutputError: If a file cannot be written.
    """
    name = read_settings(folder)["recipe"]
    if name not in RECIPES:
        raise InputError(
            folder / SETTINGS,
            expected=f"a training of one of the recipes {', '.join(RECIPES)}",
            found=repr(name),
            fix="Install the package that adds this recipe.",
        )
    return RECIPES[name].export(folder)
