"""Checkpoints that settings name: where they are, their hash, and the network in them; without torch."""

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from fewct.errors import UsageError, needs_extra
from fewct.methods.sam.checkpoints.layout import EXPORT_FILE, exported_folder, file_sha256, weights_file
from fewct.runtime.threads import thread_count
from fewct.runtime.weight_files import check_shipped

if TYPE_CHECKING:
    from fewct.methods.sam.backends.base import Backend
    from fewct.methods.sam.backends.onnx import OnnxBackend
    from fewct.methods.sam.backends.torch import TorchBackend
    from fewct.methods.sam.conventions import Normalization, Precision

NormalizationChoice: TypeAlias = Literal["auto", "sam", "medsam"]

PROMPT_SMALL = Path(__file__).parents[1] / "weights" / "prompt-small"
"""The promptable network that comes with fewct, as ONNX."""
PROMPT_SMALL_START = PROMPT_SMALL.with_suffix(".pth")
"""The same for torch, in 16 bits, for trainings to start from."""


def checkpoint_path(weights: str) -> Path:
    """Return where a checkpoint is.

    Args:
        weights: A file, or a folder of transformers; or a name of the store, `fewct models list`; empty for
            `prompt-small`, which comes with fewct.

    Raises:
        InputError: If it is neither there nor in the store, or was altered since it was stored or released.
    """
    if not weights:
        return check_shipped(PROMPT_SMALL / EXPORT_FILE).parent  # the graphs' hashes stand in it
    from fewct.runtime.model_store import weights_path

    return weights_path(weights)


def checkpoint_sha256(weights: str) -> str:
    """Return the hash of a checkpoint's file of weights, or of the record of exported networks.

    Raises:
        InputError: If it is absent, or a folder of something else.
    """
    return file_sha256(weights_file(checkpoint_path(weights)))


def load_backend(
    weights: str,
    image_size: int,
    normalization: NormalizationChoice,
    precision: "Precision" = "float32",
    cache: bool = False,
    like_sam: "Normalization" = "sam",
) -> "Backend":
    """Open the network of a checkpoint.

    Args:
        weights: As for `checkpoint_path`; networks exported to ONNX run without torch.
        image_size: Side of its input; 0 for what it was made for.
        normalization: How grey values are normalised; "auto" for that of its architecture.
        precision: What the image encoder computes in.
        cache: Whether to keep embeddings of images in the cache folder, and to take them from there.
        like_sam: What "auto" means for networks with the architecture of SAM, which is MedSAM's, too.

    Raises:
        UsageError: If the network cannot take that size, or was exported for another one; or the processor or
            the export does not compute in the precision.
        InputError: If it is absent, damaged or of another network.
        MissingExtraError: If it is no export and torch is not installed.
    """
    from fewct.methods.sam.backends.mask_prompts import MaskPromptBackend

    path = checkpoint_path(weights).resolve()
    folder = exported_folder(path)
    backend: Backend = (
        _exported(folder, image_size, normalization, precision)
        if folder
        else _of_torch(path, image_size, normalization, precision, like_sam)
    )
    if backend.normalization == "ranks":
        backend = MaskPromptBackend(backend)
    if not cache:
        return backend
    from fewct.methods.sam.backends.embedding_cache import CachedBackend
    from fewct.runtime.cache import cache_folder

    runs_it = "onnxruntime" if folder else "torch"
    made_by = {name: version(name) for name in ("fewct", runs_it)}
    made_by |= {
        "weights": checkpoint_sha256(str(path)),
        "precision": precision,
        "threads": f"{thread_count()}",
    }
    return CachedBackend(backend, cache_folder() / "embeddings", made_by)


def _of_torch(
    path: Path,
    image_size: int,
    normalization: NormalizationChoice,
    precision: "Precision",
    like_sam: "Normalization",
) -> "TorchBackend":
    with needs_extra(path, "torch"):
        from fewct.methods.sam.backends.torch import TorchBackend
        from fewct.methods.sam.checkpoints.build import default_normalization, load_sam
    network = load_sam(path, image_size or None)
    usual = default_normalization(network)
    if normalization == "auto":
        return TorchBackend(network, like_sam if usual == "sam" else usual, precision)
    return TorchBackend(network, normalization, precision)


def _exported(
    folder: Path, image_size: int, normalization: NormalizationChoice, precision: "Precision"
) -> "OnnxBackend":
    from fewct.methods.sam.backends.onnx import OnnxBackend

    backend = OnnxBackend.load(folder)
    for name, wanted, usual, has in (
        ("image_size", image_size, 0, backend.image_size),
        ("normalization", normalization, "auto", backend.normalization),
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
