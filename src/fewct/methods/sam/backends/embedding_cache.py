"""A cache of image embeddings on disk: an image that comes again needs no second run of the image encoder."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fewct.errors import InputError, output_errors
from fewct.io.atomic import atomic_path
from fewct.io.pixels import DAMAGED
from fewct.methods.sam.backends.base import Backend, BackendWrapper
from fewct.methods.sam.conventions import Embedding, Pixels

FORMAT_VERSION = 1
LIMIT_BYTES = 4 * 2**30  # about 1000 slices at the official sizes, 4 MiB each


class CachedBackend(BackendWrapper):
    """A backend that keeps embeddings in a folder and takes them from there.

    An embedding is found by a hash of the network's input, which holds the pixels, the window and the
    normalization, and of what the embedding depends on besides. It is the same to the bit as the one that was
    kept. Once the folder holds more than `limit_bytes`, those that were not used for longest go.

    Args:
        folder: Made with the first embedding.
        made_by: What embeddings depend on besides the image: the hash of the weights, the precision, the
            versions of the programs, the number of threads.
        limit_bytes: The most that the folder may hold.
    """

    def __init__(
        self, backend: Backend, folder: Path, made_by: Mapping[str, str], limit_bytes: int = LIMIT_BYTES
    ) -> None:
        super().__init__(backend)
        self.folder = folder
        self.made_by = dict(made_by)
        self.limit_bytes = limit_bytes

    def embed(self, pixels: Pixels) -> Embedding:
        """Return the embedding of an image; see `Backend`.

        Raises:
            InputError: If the file of a kept embedding is damaged.
            OutputError: If a new one cannot be written.
        """
        path = self.folder / f"{embedding_key(pixels, self.made_by)}.npz"
        if path.exists():
            embedding = _read(path)
            os.utime(path)  # what was used last goes last
            return embedding
        embedding = self.backend.embed(pixels)
        with output_errors(self.folder, fix="Set FEWCT_CACHE_DIR to a folder that you may write to."):
            self.folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            np.savez(temporary, embedding=embedding)
        _make_room(self.folder, self.limit_bytes)
        return embedding


def embedding_key(pixels: Pixels, made_by: Mapping[str, str]) -> str:
    """Return the hash of the network's input and of what else an embedding depends on.

    Example:
        >>> pixels = np.zeros((3, 2, 2), dtype=np.float32)
        >>> embedding_key(pixels, {"weights": "a"}) == embedding_key(pixels, {"weights": "b"})
        False
    """
    digest = hashlib.sha256(repr((FORMAT_VERSION, sorted(made_by.items()), pixels.shape)).encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def _read(path: Path) -> Embedding:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            embedding: Embedding = content["embedding"]
    except DAMAGED as error:
        raise _damaged(path, str(error).splitlines()[0] if str(error) else type(error).__name__) from error
    if embedding.dtype != np.float32 or embedding.ndim != 3:
        raise _damaged(path, f"an array of {embedding.ndim} dimensions of {embedding.dtype}")
    return embedding


def _damaged(path: Path, found: str) -> InputError:
    return InputError(
        path,
        expected="an embedding that was kept whole",
        found=found,
        fix="Delete this file: it is made anew when it is needed.",
    )


def _make_room(folder: Path, limit_bytes: int) -> None:
    """Delete the embeddings that were not used for longest, until the others are within the limit."""
    found = []
    for path in folder.glob("[0-9a-f]*.npz"):
        try:
            found.append((path.stat(), path))
        except FileNotFoundError:  # another process made room
            continue
    found.sort(key=lambda entry: entry[0].st_mtime_ns, reverse=True)
    total = 0
    for state, path in found:
        total += state.st_size
        if total > limit_bytes:
            path.unlink(missing_ok=True)
