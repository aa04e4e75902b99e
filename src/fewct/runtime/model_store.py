"""The store of weights: folders in the cache folder, under names chosen by the user, with hashes.

A model is a folder `models/NAME` of the cache folder: `record.json` has its kind and source, and the size and
SHA-256 of each file; `files/` holds the files. `model_import` and `download` add models.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from fewct.errors import InputError, UsageError
from fewct.runtime.cache import cache_folder
from fewct.runtime.official_weights import DOWNLOADS, official_name

WeightsKind: TypeAlias = Literal["torch", "safetensors", "onnx", "transformers", "sam-onnx"]
State: TypeAlias = Literal["ok", "altered", "absent"]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
RECORD, FILES = "record.json", "files"
_FOLDERS: tuple[WeightsKind, ...] = ("transformers", "sam-onnx")  # what is loaded is the folder, not a file


@dataclass(frozen=True)
class StoredFile:
    """A file of a model, as it was imported."""

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Model:
    """Weights in the store.

    Args:
        name: Chosen by the user.
        folder: Folder of the files.
        source: A path or a URL.
        files: The main file first.
    """

    name: str
    folder: Path
    kind: WeightsKind
    source: str
    files: tuple[StoredFile, ...]

    @property
    def path(self) -> Path:
        """What is loaded: the main file, or the folder for the kinds that are folders."""
        return self.folder if self.kind in _FOLDERS else self.folder / self.files[0].name

    @property
    def size_bytes(self) -> int:
        """Size of all files."""
        return sum(file.size_bytes for file in self.files)

    @property
    def sha256(self) -> str:
        """Hash of the main file."""
        return self.files[0].sha256

    @property
    def official(self) -> str | None:
        """Name of the official file with this hash; None if there is none."""
        return official_name(self.sha256)


def store_folder() -> Path:
    """Return the folder of the models; it need not exist."""
    return cache_folder() / "models"


def model_names() -> list[str]:
    """Return the names in the store, sorted."""
    store = store_folder()
    if not store.is_dir():
        return []
    return sorted(entry.name for entry in store.iterdir() if NAME.fullmatch(entry.name))


def get_model(name: str) -> Model:
    """Return a model of the store; its files are not looked at.

    Raises:
        UsageError: If there is none of that name.
        InputError: If its record is damaged.
    """
    check_in_store(name)
    folder = store_folder() / name
    path = folder / RECORD
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        files = tuple(StoredFile(f["name"], f["size_bytes"], f["sha256"]) for f in content["files"])
        model = Model(name, folder / FILES, content["kind"], content["source"], files)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise _damaged_record(path, name, f"{type(error).__name__}: {error}") from error
    if model.kind not in get_args(WeightsKind) or not files:
        raise _damaged_record(path, name, f"{len(files)} files of kind {model.kind}")
    return model


def _damaged_record(path: Path, name: str, found: str) -> InputError:
    return InputError(
        path,
        expected="the record of a model",
        found=found,
        fix=f"Remove the model, fewct models remove {name}, and import it again.",
    )


def check_in_store(name: str) -> None:
    """Raise unless the store has a model of a name.

    Raises:
        UsageError: If it has none.
    """
    names = model_names()
    if name not in names:
        raise UsageError(
            "NAME",
            expected=f"a model of the store ({', '.join(names) or 'which is empty'})",
            found=repr(name),
            fix="See them: fewct models list",
        )


def verify_model(model: Model) -> dict[str, State]:
    """Hash the files of a model again.

    Returns:
        For each file name "ok", "altered" or "absent".

    Raises:
        InputError: If a file cannot be read.
    """
    return {file.name: _state(file, model.folder / file.name) for file in model.files}


def onnx_file(named: str) -> Path:
    """Return the ONNX file that a setting names, as `weights_path`: itself, or model.onnx of a folder."""
    path = weights_path(named)
    return path if path.suffix == ".onnx" else path / "model.onnx"


def weights_path(named: str) -> Path:
    """Return the path of the weights that a setting names: an existing path, else a model of the store.

    The files of a model are hashed, which takes a second or so: call it once, when a method is loaded.

    Args:
        named: A file or folder, or a name of the store.

    Raises:
        InputError: If it is neither, or a file of the model was altered.
    """
    path = Path(named)
    if path.exists():
        return path
    names = model_names()
    if named in names:
        model = get_model(named)
        check_unaltered(model)
        return model.path
    raise InputError(
        named,
        expected="a file or folder of weights, or a name that `fewct models list` shows"
        f" ({', '.join(names) or 'none yet'})",
        found="no such file",
        fix=f"Fetch it: fewct models download {named}" if named in DOWNLOADS else "Check the path.",
    )


def check_unaltered(model: Model) -> None:
    """Raise unless the files of a model are as they were imported.

    Raises:
        InputError: If one is not.
    """
    bad = [f"{name} {state}" for name, state in verify_model(model).items() if state != "ok"]
    if bad:
        raise InputError(
            model.folder,
            expected=f"the files of the model {model.name} as they came in",
            found=", ".join(bad),
            fix=f"Remove the model, fewct models remove {model.name}, and get it from {model.source} again.",
        )


def _state(file: StoredFile, path: Path) -> State:
    if not path.is_file():
        return "absent"
    try:
        if path.stat().st_size != file.size_bytes:
            return "altered"
        with path.open("rb") as stream:
            return "ok" if hashlib.file_digest(stream, "sha256").hexdigest() == file.sha256 else "altered"
    except OSError as error:
        raise InputError(
            path,
            expected="a file that can be read",
            found=(error.strerror or str(error)).lower(),
            fix="Mend the disk or the permissions of the cache folder.",
        ) from error
