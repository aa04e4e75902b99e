"""Detecting the kind of a file or folder of weights from its content, and listing the files it needs."""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from fewct.errors import InputError
from fewct.runtime.model_store import WeightsKind
from fewct.runtime.weight_files import HASH_SUFFIX

HUB_CONFIGURATION, HUB_WEIGHTS = "config.json", ("model.safetensors", "pytorch_model.bin")
EXPORT_RECORD, TRAINED = "model.json", "model.onnx"
_ZIP = b"PK\x03\x04"  # torch files are ZIP archives
_TORCH_BEFORE_1_6 = (
    b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # and once were pickles that began like this
)
_LONGEST_HEADER = 100_000_000  # bytes, of safetensors


class WeightFiles(NamedTuple):
    """Weights in a file or folder.

    Args:
        files: The files needed, the main one first.
        sha256: Hashes that one of the files records for others, by name.
    """

    kind: WeightsKind
    files: tuple[Path, ...]
    sha256: Mapping[str, str] = MappingProxyType({})


def detect_weights(path: Path) -> WeightFiles:
    """Return the kind of the weights in a file or folder; nothing in it is executed.

    Args:
        path: A file of torch, safetensors or ONNX; a folder of transformers (`config.json` and weights), of
            exported graphs (`model.json` and ONNX files), or of a training (`model.onnx`).

    Raises:
        InputError: If it is absent, cannot be read, was cut short, or is of no kind that fewct knows.
    """
    try:
        if path.is_dir():
            return _of_folder(path)
        if path.is_file():
            return _of_file(path)
    except OSError as error:
        raise _unknown(path, (error.strerror or str(error)).lower()) from error
    raise _unknown(path, "no such file")


def _of_file(path: Path) -> WeightFiles:
    with path.open("rb") as stream:
        start = stream.read(16)
    if start.startswith(_ZIP):
        _check_zip(path)
        return WeightFiles("torch", (path,))
    if start.startswith(_TORCH_BEFORE_1_6):
        return WeightFiles("torch", (path,))
    if start[8:9] == b"{":
        _check_safetensors(path)
        return WeightFiles("safetensors", (path,))
    if path.suffix == ".onnx":
        record = path.with_name(path.name + HASH_SUFFIX)
        return WeightFiles("onnx", (path, record) if record.is_file() else (path,))
    raise _unknown(path, f"a file of {path.stat().st_size} bytes that begins with {start!r}")


def _of_folder(path: Path) -> WeightFiles:
    if (path / HUB_CONFIGURATION).is_file():
        _read_object(path / HUB_CONFIGURATION)
        for name in HUB_WEIGHTS:
            if (path / name).is_file():
                _of_file(path / name)
                return WeightFiles("transformers", (path / name, path / HUB_CONFIGURATION))
    if (path / EXPORT_RECORD).is_file():
        return _of_graphs(path)
    if (path / TRAINED).is_file():
        return _of_file(path / TRAINED)
    names = [f"{p.name}/" if p.is_dir() else p.name for p in sorted(path.iterdir())]
    raise _unknown(path, f"a folder of {', '.join(names[:8]) or 'nothing'}{', ...' if names[8:] else ''}")


def _of_graphs(path: Path) -> WeightFiles:
    """Return the files of exported graphs, which their record names."""
    stated = _read_object(path / EXPORT_RECORD).get("sha256")
    if not isinstance(stated, dict) or not stated or any(Path(name).name != name for name in stated):
        raise _unknown(path / EXPORT_RECORD, "no hashes of graphs")
    absent = [name for name in stated if not (path / name).is_file()]
    if absent:
        raise _truncated(path, f"no {', '.join(absent)}", "all files that its model.json names")
    return WeightFiles("sam-onnx", (path / EXPORT_RECORD, *(path / name for name in stated)), stated)


def _check_zip(path: Path) -> None:
    """Raise unless a ZIP archive is whole and one of torch."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except zipfile.BadZipFile as error:
        raise _truncated(path, "a ZIP archive without its end") from error
    if not any(name.endswith("/data.pkl") for name in names):
        raise _unknown(path, f"a ZIP archive of {', '.join(names[:3])}")


def _check_safetensors(path: Path) -> None:
    """Raise unless a file of safetensors has the size in its header."""
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = stream.read(min(length, _LONGEST_HEADER))
    try:
        tensors = {name: entry for name, entry in json.loads(header).items() if name != "__metadata__"}
        expected = 8 + length + max((entry["data_offsets"][1] for entry in tensors.values()), default=0)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise _unknown(path, "a file without a whole header of safetensors") from error
    if path.stat().st_size != expected:
        raise _truncated(path, f"{path.stat().st_size} bytes, where its header tells of {expected}")


def _read_object(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise _truncated(path, f"{error}", "JSON") from error
    if not isinstance(content, dict):
        raise _unknown(path, f"JSON of a {type(content).__name__}")
    return content


def _truncated(path: Path, found: str, expected: str = "a whole file") -> InputError:
    return InputError(path, expected=expected, found=found, fix="It was cut short: get it again.")


def _unknown(path: Path, found: str) -> InputError:
    return InputError(
        path,
        expected="weights: a file of torch, safetensors or ONNX, or a folder of transformers, of exported "
        "graphs or of a training",
        found=found,
        fix="Check the path, or get the file from its authors' page again.",
    )
