"""Where a checkpoint keeps its weights: a file, a folder of transformers, or one of exported networks."""

import hashlib
import json
from pathlib import Path
from typing import Any

from fewct.errors import InputError

HUB_FILES = ("model.safetensors", "pytorch_model.bin")
EXPORT_FILE = "model.json"
"""The record in a folder of networks that were exported to ONNX; it holds the hashes of all other files."""
TRAINED = "model"
"""What that folder is called in the folder of a training."""


def exported_folder(path: Path) -> Path | None:
    """Return the folder of exported networks that a path names; None if it names something else.

    Args:
        path: The folder, or the record in it, or the folder of a training.
    """
    folder = path.parent if path.name == EXPORT_FILE else path
    return next((place for place in (folder, folder / TRAINED) if (place / EXPORT_FILE).is_file()), None)


def file_sha256(path: Path) -> str:
    """Return the hash of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def weights_file(path: Path) -> Path:
    """Return the file of weights of a checkpoint, or the record of exported networks.

    Args:
        path: The file itself, or a folder that holds `config.json` and one of `HUB_FILES`, or `EXPORT_FILE`.

    Raises:
        InputError: If it is absent, or a folder of something else.
    """
    if path.is_file():
        return path
    if not path.is_dir():
        raise InputError(
            path, expected="a file of weights", found="no such file", fix="Check the path to the checkpoint."
        )
    exported = exported_folder(path)
    if exported:
        return exported / EXPORT_FILE
    read_configuration(path)
    for name in HUB_FILES:
        if (path / name).is_file():
            return path / name
    raise InputError(
        path,
        expected=f"a file {' or '.join(HUB_FILES)}",
        found=", ".join(sorted(p.name for p in path.iterdir())),
        fix="Copy all files of the model.",
    )


def read_configuration(folder: Path) -> dict[str, Any]:
    """Read the `config.json` of a folder of transformers.

    Raises:
        InputError: If it is absent, no JSON, or that of another model than SAM.
    """
    path = folder / "config.json"
    try:
        configuration = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            path,
            expected="the configuration of a SAM model of transformers",
            found=str(error).splitlines()[0],
            fix="Name the whole folder of the model, or its official .pth file.",
        ) from error
    kind = configuration.get("model_type") if isinstance(configuration, dict) else None
    if kind != "sam":
        raise InputError(
            path,
            expected='a model of type "sam"',
            found=f"type {json.dumps(kind)}",
            fix="Use facebook/sam-vit-base, -large, -huge or a model trained from one of them.",
        )
    settings: dict[str, Any] = configuration
    return settings
