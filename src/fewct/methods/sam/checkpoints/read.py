"""Files of weights from elsewhere, read as names and tensors; nothing in them is run."""

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fewct.errors import InputError, needs_extra
from fewct.methods.sam.checkpoints.layout import weights_file

NESTS = ("model", "state_dict", "model_state_dict")  # names under which trainings keep the weights


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the weights in a file of torch, a file of safetensors, or a folder of transformers.

    Args:
        path: The file or folder. A folder holds `config.json` and `model.safetensors` or `pytorch_model.bin`.

    Returns:
        Tensors by name, numbers with a fraction as float32.

    Raises:
        InputError: If it is absent, cut short, wants to run code, or holds no tensors.
        MissingExtraError: If it is a file of safetensors, and that package is not installed.
    """
    path = weights_file(path)
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    return {name: t.float() if t.is_floating_point() else t for name, t in _tensors(content, path).items()}


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    with needs_extra(path, "transformers"):
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise _damaged(path, error) from error


def _read_torch(path: Path) -> Any:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        wanted = re.search(r"(?:GLOBAL|Unsupported global:)\s*`?(?:GLOBAL )?([\w.]+)", str(error))
        if wanted is None:
            raise _damaged(path, error) from error
        raise InputError(
            path,
            expected="tensors and nothing else",
            found=f"a pickle that calls {wanted[1]} when it is read",
            fix="Do not open it elsewhere; get the checkpoint from its authors' own page.",
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, LookupError) as error:
        raise _damaged(path, error) from error
    return content


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(
        path,
        expected="a whole file of weights, of torch or safetensors",
        found=str(error).splitlines()[0] if str(error) else type(error).__name__,
        fix="It was cut short or is something else: get it again and compare its size.",
    )


def _tensors(content: Any, path: Path) -> Mapping[str, Tensor]:
    """Return the tensors of a file, also of one that a training has written around them."""
    for name in NESTS:
        if isinstance(content, dict) and isinstance(content.get(name), dict):
            content = content[name]
    if isinstance(content, dict) and content and all(isinstance(v, Tensor) for v in content.values()):
        return {str(name): value for name, value in content.items()}
    kinds = sorted({type(v).__name__ for v in content.values()}) if isinstance(content, dict) else []
    raise InputError(
        path,
        expected="tensors by name",
        found=f"a {type(content).__name__}" + (f" of {', '.join(kinds)}" if kinds else ""),
        fix="Save the network's state_dict() by itself.",
    )
