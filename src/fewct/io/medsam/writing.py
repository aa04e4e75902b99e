"""Writing MedSAM's NPZ, entry by entry; its arrays are described in `fewct.io.medsam.reading`."""

import json
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import dtype_to_descr, write_array_header_1_0
from numpy.typing import NDArray

from fewct.errors import InputError
from fewct.io.atomic import atomic_path
from fewct.io.medsam.reading import EMBEDDING, SIDE, Embed, Embedding, Picture
from fewct.types import Labels


@dataclass(frozen=True, eq=False)
class SquareSlice:
    """A slice as it goes into a file.

    Args:
        name: Unique among the slices of its data, such as `scan/007`.
        number: Number of the slice in its scan, from 0; 0 for a picture.
        original_shape: (rows, columns) before it was brought to 256 x 256.
        picture: uint8 (256, 256).
        labels: int32 (256, 256): the structures to write, 0 for the rest.
    """

    name: str
    number: int
    original_shape: tuple[int, int]
    picture: Picture
    labels: Labels


def write_medsam(
    path: str | Path,
    slices: Sequence[SquareSlice],
    *,
    multi: bool = False,
    patient: str | None = None,
    embed: Embed | None = None,
    manifest: Mapping[str, Any] | None = None,
) -> int:
    """Write slices as MedSAM's NPZ, whole or not at all; entries are made one at a time.

    Args:
        slices: In order; those without any structure get no entry.
        multi: One entry a slice, `gts` with a channel for each structure of the file; else one entry for
            each structure of each slice.
        patient: Identifier; None if unknown.
        embed: Returns the embedding of a picture, float (256, 64, 64); None to write none.
        manifest: Provenance of the file, stored in it as JSON.

    Returns:
        The number of entries.

    Raises:
        InputError: If no slice has a structure.
        OutputError: If the file cannot be written.

    Example:
        >>> import tempfile
        >>> from fewct.io.medsam.reading import read_medsam
        >>> labels = np.zeros((256, 256), np.int32)
        >>> labels[:20, :20] = 7
        >>> file = Path(tempfile.mkdtemp()) / "p.npz"
        >>> write_medsam(file, [SquareSlice("p/003", 3, (512, 512), np.zeros((256, 256), np.uint8), labels)])
        1
        >>> (one,) = read_medsam(file).slices()
        >>> one.name, one.label_ids.tolist(), int(one.masks.sum())
        ('p/003', [7], 400)
    """
    present = [(one, ids) for one in slices if len(ids := np.unique(one.labels[one.labels > 0]))]
    if not present:
        raise InputError(
            path,
            expected="at least one structure to write",
            found=f"{len(slices)} slices without any",
            fix="Give slices with labels, or lower the thresholds.",
        )
    channels = np.unique(np.concatenate([ids for _, ids in present]))
    entries = [(one, [int(k)]) for one, ids in present for k in ids]
    if multi:
        entries = [(one, channels.tolist()) for one, _ in present]
    count, square, depth = len(entries), (SIDE, SIDE), (len(channels),) * multi
    gts = (one.labels[..., np.newaxis] == np.array(ids, dtype=np.int64) for one, ids in entries)
    small = {
        "label_ids": np.array(channels if multi else [ids[0] for _, ids in entries], dtype=np.int64),
        "slice_numbers": np.array([one.number for one, _ in entries], dtype=np.int64),
        "names": np.array([one.name for one, _ in entries], dtype=np.str_),
        "original_shapes": np.array([one.original_shape for one, _ in entries], dtype=np.int64),
        "manifest": np.array(json.dumps(manifest or {})),
    }
    if patient is not None:
        small["patient"] = np.array(patient)
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        pictures = (np.repeat(one.picture[..., np.newaxis], 3, axis=-1) for one, _ in entries)
        _write_array(archive, "imgs", (count, *square, 3), np.uint8, pictures)
        _write_array(archive, "gts", (count, *square, *depth), np.uint8, gts)
        for key, array in small.items():
            _write_array(archive, key, array.shape, array.dtype, [array])
        if embed is not None:
            embeddings = _embeddings(entries, embed)
            _write_array(archive, "img_embeddings", (count, *EMBEDDING), np.float32, embeddings, packed=False)
    return count


def _embeddings(entries: Iterable[tuple[SquareSlice, list[int]]], embed: Embed) -> Iterator[Embedding]:
    """Yield the embedding of each entry, made once for entries of one slice."""
    for _, of_slice in groupby(entries, key=lambda entry: entry[0]):
        (one, _), *others = of_slice
        embedding = embed(one.picture)
        for _ in range(1 + len(others)):
            yield embedding


def _write_array(
    archive: zipfile.ZipFile,
    key: str,
    shape: tuple[int, ...],
    dtype: Any,
    parts: Iterable[NDArray[Any]],
    *,
    packed: bool = True,
) -> None:
    """Write an array, of which there is only a part at a time, into an NPZ."""
    member = zipfile.ZipInfo(f"{key}.npy")
    member.compress_type = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    header = {"descr": dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": shape}
    with archive.open(member, "w", force_zip64=True) as stream:
        write_array_header_1_0(stream, header)
        for part in parts:
            stream.write(part.astype(dtype, copy=False).tobytes())
