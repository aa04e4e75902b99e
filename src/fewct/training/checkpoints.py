"""Checkpoints: weights and the state of a training, written whole, read without running code in them."""

import io
import math
import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fewct.errors import InputError
from fewct.io.atomic import atomic_path


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
    """Write the state of a training with its settings.

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
    save_weights(content, path)


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
    buffer = io.BytesIO()  # torch reports a full disk as a RuntimeError, which says nothing
    torch.save(content, buffer)
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def load_weights(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read what `save_weights` wrote; no code in the file is run.

    Raises:
        InputError: If the file is cut short, changed, or holds something else.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            changed = archive.testzip()  # torch does not look at the checksums that it writes
        if changed is not None:
            raise _damaged(path, f"other content than was written in {changed}")
        content: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except (
        *(RuntimeError, EOFError, OSError, ValueError, KeyError),
        *(NotImplementedError, zipfile.BadZipFile, pickle.UnpicklingError),
    ) as error:
        raise _damaged(path, str(error).splitlines()[0] if str(error) else type(error).__name__) from error
    return content


def _damaged(path: Path, found: str) -> InputError:
    return InputError(
        path,
        expected="a whole file of weights, as written by training",
        found=found,
        fix="Delete it and train again, or restore it from a copy.",
    )
