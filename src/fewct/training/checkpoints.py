"""Checkpoints: weights and the state of a training, written whole, read without running code in them.

The state of a training is written as parts of at most `PART_BYTES`, named by their step, and a manifest that
names the parts and their hashes. The manifest is written last and replaces that of the step before, whose
parts are deleted after that: whenever a process ends, one checkpoint is whole.
"""

import hashlib
import io
import json
import math
import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fewct.errors import InputError
from fewct.io.atomic import atomic_path, write_text

PART_BYTES = 15_000_000
PARTS = "fewct checkpoint in parts 1"
"""Format of the manifest."""


@dataclass
class State:
    """The state of a training, changed in place by the loop.

    Args:
        average: The network with the moving average of the weights.
        step: Steps taken, in `elapsed_s`.
        best_loss: Lowest validation loss.
        stale: Validations since then.
    """

    network: nn.Module
    average: nn.Module
    optimizer: torch.optim.Optimizer
    step: int = 0
    elapsed_s: float = 0.0
    best_loss: float = math.inf
    stale: int = 0


def save_state(state: State, config: dict[str, Any], path: Path) -> None:
    """Write the state of a training with its settings, as parts beside a manifest of the name `path`.

    Raises:
        OutputError: If the system refuses.
    """
    content = {
        "config": config,
        "network": state.network.state_dict(),
        "average": state.average.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "step": state.step,
        "elapsed_s": state.elapsed_s,
        "best_loss": state.best_loss,
        "stale": state.stale,
    }
    _save_in_parts(content, path)


def restore_state(state: State, path: Path, device: torch.device) -> None:
    """Restore in place what `save_state` wrote.

    Raises:
        InputError: If the file is damaged, or of another network.
    """
    content = load_weights(path, device)
    try:
        state.network.load_state_dict(content["network"])
        state.average.load_state_dict(content["average"])
        state.optimizer.load_state_dict(content["optimizer"])
        state.step, state.elapsed_s = content["step"], content["elapsed_s"]
        state.best_loss, state.stale = content["best_loss"], content["stale"]
    except (KeyError, RuntimeError, ValueError) as error:
        raise InputError(
            path,
            expected="a checkpoint of the network that is trained",
            found=str(error).splitlines()[0],
            fix="Choose an empty folder, or the recipe that the checkpoint comes from.",
        ) from error


def save_weights(content: dict[str, Any], path: Path) -> None:
    """Write tensors and numbers, whole or not at all: a file that was there before stays until then.

    Raises:
        OutputError: If the system refuses.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(_serialised(content))


def load_weights(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read what `save_weights` or `save_state` wrote; no code in the file is run.

    Raises:
        InputError: If the file or a part is absent, cut short, changed, or holds something else.
    """
    try:
        source = _joined_parts(path) if _first_byte(path) == b"{" else path
        with zipfile.ZipFile(source) as archive:
            changed = archive.testzip()  # torch does not look at the checksums that it writes
        if changed is not None:
            raise _damaged(path, f"other content than was written in {changed}")
        if isinstance(source, io.BytesIO):
            source.seek(0)
        content: dict[str, Any] = torch.load(source, map_location=device, weights_only=True)
    except (
        *(RuntimeError, EOFError, OSError, ValueError, KeyError, TypeError),
        *(NotImplementedError, zipfile.BadZipFile, pickle.UnpicklingError),
    ) as error:
        raise _damaged(path, str(error).splitlines()[0] if str(error) else type(error).__name__) from error
    return content


def _serialised(content: dict[str, Any]) -> memoryview:
    """Return the bytes of a file of weights."""
    buffer = io.BytesIO()  # torch reports a full disk as a RuntimeError, which says nothing
    torch.save(content, buffer)
    return buffer.getbuffer()


def _save_in_parts(content: dict[str, Any], path: Path) -> None:
    """Write parts, then the manifest that names them, then delete the parts that it does not name."""
    data = _serialised(content)
    parts = [data[start : start + PART_BYTES] for start in range(0, len(data), PART_BYTES)]
    names = [f"{path.stem}-{content['step']:07d}-{k}.part" for k in range(len(parts))]
    hashes = [hashlib.sha256(part).hexdigest() for part in parts]
    kept = set(_part_names(path))
    try:
        for name, part in zip(names, parts, strict=True):
            with atomic_path(path.with_name(name)) as temporary:
                temporary.write_bytes(part)
        manifest = {"format": PARTS, "step": content["step"], "parts": dict(zip(names, hashes, strict=True))}
        write_text(json.dumps(manifest, indent=1) + "\n", path)
        kept = set(names)
    finally:
        for old in path.parent.glob(f"{path.stem}-*.part"):
            if old.name not in kept:
                old.unlink()


def _part_names(path: Path) -> list[str]:
    """Return the names of the parts of the checkpoint that is there, if any is."""
    if not path.exists() or _first_byte(path) != b"{":
        return []
    return list(json.loads(path.read_text(encoding="utf-8"))["parts"])


def _joined_parts(path: Path) -> io.BytesIO:
    """Return the bytes of all parts that a manifest names.

    Raises:
        InputError: If one is absent or changed.
    """
    manifest = json.loads(path.read_text(encoding="utf-8"))
    if manifest.get("format") != PARTS:
        raise _damaged(path, f"the format {manifest.get('format')!r}")
    joined = io.BytesIO()
    for name, expected in manifest["parts"].items():
        part = path.with_name(name)
        if not part.is_file():
            raise _damaged(path, f"no part {name} beside it")
        data = part.read_bytes()
        if hashlib.sha256(data).hexdigest() != expected:
            raise _damaged(path, f"other content than was written in {name}")
        joined.write(data)
    return joined


def _first_byte(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(1)


def _damaged(path: Path, found: str) -> InputError:
    return InputError(
        path,
        expected="a whole file of weights, as written by training",
        found=found,
        fix="Delete it and train again, or restore it from a copy.",
    )
