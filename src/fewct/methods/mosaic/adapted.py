"""Folders that `fewct adapt` wrote: a network, and the settings that go with it."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fewct.errors import FewctError, InputError
from fewct.labelmap import Cleanup
from fewct.methods.mosaic.method import Mosaic

ADAPTED = "adapted.json"


def load_adapted(folder: Path | str) -> Mosaic:
    """Return `mosaic` as a folder of `fewct adapt` has it: with its network and with its settings.

    Args:
        folder: The folder.

    Raises:
        InputError: If it holds no adaptation, or a damaged one.
    """
    path = Path(folder) / ADAPTED
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))["settings"]
        cleanup = Cleanup(**settings["cleanup"])
        return Mosaic(**(settings | {"cleanup": cleanup, "weights": f"{folder}"}))
    except (OSError, ValueError, TypeError, KeyError, FewctError) as error:
        raise InputError(
            path,
            expected="the settings of an adapted mosaic",
            found=f"{type(error).__name__}: {error}",
            fix="Name a folder that `fewct adapt` of this version wrote.",
        ) from error


def is_adapted(weights: str) -> bool:
    """Tell whether weights are named by a folder that `fewct adapt` wrote."""
    return bool(weights) and (Path(weights) / ADAPTED).is_file()


def settings_of(method: Mosaic) -> dict[str, Any]:
    """Return what `load_adapted` reads: all settings but where the weights lie."""
    return {name: value for name, value in asdict(method).items() if name != "weights"}
