"""Checkpoints that settings name: where they are, their hash, and the network in them; without torch."""

import hashlib
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Literal, TypeAlias

from fewct.errors import MissingExtraError, UsageError
from fewct.threads import thread_count

if TYPE_CHECKING:
    from fewct.methods.sam.backend import Backend, Precision
    from fewct.methods.sam.onnx_backend import OnnxBackend
    from fewct.methods.sam.torch_backend import TorchBackend

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
    """Return the hash of a checkpoint's file of weights, or of the record of exported networks.

    Args:
        weights: As for `checkpoint_path`.

    Raises:
        UsageError: If none was named.
        InputError: If it is absent, or a folder of something else.
    """
    from fewct.methods.sam.folders import weights_file

    with weights_file(checkpoint_path(weights)).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def load_backend(
    weights: str,
    input_px: int,
    intensities: IntensityChoice,
    precision: "Precision" = "float32",
    cache: bool = False,
) -> "Backend":
    """Return the network of a checkpoint, loaded once for all slices of a scan.

    Args:
        weights: As for `checkpoint_path`; networks exported to ONNX run without torch.
        input_px: Side of the images that it is to take; 0 for what it was made for.
        intensities: How it was trained to see grey; "auto" for what its kind tells.
        precision: What the image encoder computes in.
        cache: Whether to keep embeddings of images in the cache folder, and to take them from there.

    Raises:
        UsageError: If none was named, or the network cannot take images of that size, or was exported for
            other ones; or the processor or the export does not compute in the precision.
        InputError: If it is absent, damaged or of another network.
        MissingExtraError: If it is no export and torch is not installed.
    """
    path = checkpoint_path(weights).resolve()
    with _LOADING:
        return _loaded(path, input_px, intensities, precision, _embeddings_folder() if cache else None)


@lru_cache(maxsize=2)  # a method may take the boxes of one network and put them to another
def _loaded(
    path: Path,
    input_px: int,
    intensities: IntensityChoice,
    precision: "Precision",
    embeddings: Path | None,
) -> "Backend":
    from fewct.methods.sam.folders import exported_folder

    folder = exported_folder(path)
    backend: Backend = (
        _exported(folder, input_px, intensities, precision)
        if folder
        else _of_torch(path, input_px, intensities, precision)
    )
    if embeddings is None:
        return backend
    from fewct.methods.sam.embeddings import CachedBackend

    runs_it = "onnxruntime" if folder else "torch"
    made_by = {name: version(name) for name in ("fewct", runs_it)}
    made_by |= {
        "weights": checkpoint_sha256(str(path)),
        "precision": precision,
        "threads": f"{thread_count()}",
    }
    return CachedBackend(backend, embeddings, made_by)


def _embeddings_folder() -> Path:
    from fewct.runtime.cache import cache_folder

    return cache_folder() / "embeddings"


def _of_torch(
    path: Path, input_px: int, intensities: IntensityChoice, precision: "Precision"
) -> "TorchBackend":
    try:
        from fewct.methods.sam.torch_backend import TorchBackend
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            path,
            expected="torch, which runs it",
            found=str(error),
            fix="Install it: pip install 'fewct[torch]'",
        ) from error
    return TorchBackend.load(
        path, input_px or None, None if intensities == "auto" else intensities, precision
    )


def _exported(
    folder: Path, input_px: int, intensities: IntensityChoice, precision: "Precision"
) -> "OnnxBackend":
    from fewct.methods.sam.onnx_backend import OnnxBackend

    backend = OnnxBackend.load(folder)
    for name, wanted, usual, has in (
        ("input_px", input_px, 0, backend.input_px),
        ("intensities", intensities, "auto", backend.intensities),
        ("precision", precision, "float32", "float32"),
    ):
        if wanted not in (usual, has):
            raise UsageError(
                name,
                expected=f"{has}, for which {folder} was exported",
                found=f"{wanted}",
                fix=f"Use {usual}, or export the checkpoint again with the other one.",
            )
    return backend
