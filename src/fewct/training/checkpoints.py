"""Weights on disk: written whole, read without running anything."""

import io
import pickle
from pathlib import Path
from typing import Any

import torch

from fewct.errors import InputError
from fewct.io.atomic import atomic_path


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
    """Read what `save_weights` wrote; nothing in the file is run.

    Args:
        path: File.
        device: Where the tensors go.

    Raises:
        InputError: If the file is damaged or holds something else.
    """
    try:
        content: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise InputError(
            path,
            expected="a whole file of weights, as written by training",
            found=str(error).splitlines()[0] if str(error) else type(error).__name__,
            fix="Delete it and train again, or restore it from a copy.",
        ) from error
    return content
