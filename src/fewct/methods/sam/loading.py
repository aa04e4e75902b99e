"""Checkpoints that settings name: where they are, their hash, and the network in them; without torch."""

import hashlib
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Literal, TypeAlias

from fewct.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from fewct.methods.sam.backend import Backend

IntensityChoice: TypeAlias = Literal["auto", "sam", "medsam"]

_LOADING = Lock()  # slices of a scan are worked on by several threads, one of which loads the network


def checkpoint_path(weights: str) -> Path:
    """Return where a checkpoint is.

    Args:
        weights: A file, or a folder of transformers; or a name of the store, `fewct models list`; empty if
            none was named.

    Raises:
        UsageError: If none was named.
        InputError: If it is neither there nor in the store, or was altered since the store took it in.
    """
    from fewct.runtime.models import weights_path

    if not weights:
        raise UsageError(
            "weights",
            expected="a checkpoint of SAM, MedSAM, MobileSAM or LiteMedSAM",
            found="none",
            fix="Get one, from its authors' page or by `fewct models download`, and pass --weights FILE.",
        )
    return weights_path(weights)


def checkpoint_sha256(weights: str) -> str:
    """Return the hash of a checkpoint's file of weights.

    Args:
        weights: As for `checkpoint_path`.

    Raises:
        UsageError: If none was named.
        InputError: If it is absent, or a folder of something else.
    """
    from fewct.methods.sam.folders import weights_file

    with weights_file(checkpoint_path(weights)).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def load_backend(weights: str, input_px: int, intensities: IntensityChoice) -> "Backend":
    """Return the network of a checkpoint, loaded once for all slices of a scan.

    Args:
        weights: As for `checkpoint_path`.
        input_px: Side of the images that it is to take; 0 for what it was made for.
        intensities: How it was trained to see grey; "auto" for what its kind tells.

    Raises:
        UsageError: If none was named, or the network cannot take images of that size.
        InputError: If it is absent, damaged or of another network.
        MissingExtraError: If torch is not installed.
    """
    path = checkpoint_path(weights).resolve()
    with _LOADING:
        return _loaded(path, input_px, intensities)


@lru_cache(maxsize=2)  # a method may take the boxes of one network and put them to another
def _loaded(path: Path, input_px: int, intensities: IntensityChoice) -> "Backend":
    try:
        from fewct.methods.sam.torch_backend import TorchBackend
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            path,
            expected="torch, which runs it",
            found=str(error),
            fix="Install it: pip install 'fewct[torch]'",
        ) from error
    return TorchBackend.load(path, input_px or None, None if intensities == "auto" else intensities)
