"""MedSAM's NPZ: pictures of 256 x 256 beside binary masks, as the founding paper trained on them.

`imgs` (n, 256, 256, 3) and `gts`, either (n, 256, 256), one entry a structure and slice, or (n, 256, 256,
structures), one entry a slice; optionally `img_embeddings` (n, 256, 64, 64). Further arrays, which MedSAM's
own code ignores, hold the origin of each entry.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fewct.errors import InputError
from fewct.io.pixels import DAMAGED, unreadable
from fewct.types import Labels

SIDE = 256
"""Rows, and columns, of a picture."""

EMBEDDING = (256, 64, 64)
"""Channels, rows and columns of the embedding of a picture."""

ORIGIN = ("label_ids", "slice_numbers", "names", "original_shapes")
"""Arrays with the origin of the entries."""

FIX = "Make the file with `fewct prepare medsam`; docs/how-to/medsam.md describes its arrays."

Picture: TypeAlias = Annotated[NDArray[np.uint8], "rows columns"]
Embedding: TypeAlias = Annotated[NDArray[Any], "channels rows columns"]
Embed: TypeAlias = Callable[[Picture], Embedding]


@dataclass(frozen=True, eq=False)
class MaskedSlice:
    """A slice of a file, with all of its masks.

    Args:
        name: Unique among the slices of its data, such as `scan/007`.
        number: Number of the slice in its scan, from 0; 0 for a picture.
        label_ids: int64 (masks,): the label that each mask had.
        image: uint8 (rows, columns, 3).
        masks: bool (masks, rows, columns), none of them empty.
        embedding: float (256, 64, 64); None where the file has none, or it was not read.
    """

    name: str
    number: int
    label_ids: Annotated[NDArray[np.int64], "masks"]
    image: Annotated[NDArray[np.uint8], "rows columns 3"]
    masks: Annotated[NDArray[np.bool_], "masks rows columns"]
    embedding: Embedding | None = None

    @property
    def labels(self) -> Labels:
        """The masks joined into one label map, int32 (rows, columns); smaller ones on top of larger ones."""
        joined = np.zeros(self.image.shape[:2], dtype=np.int32)
        for index in np.argsort(-self.masks.sum(axis=(1, 2)), kind="stable"):
            joined[self.masks[index]] = self.label_ids[index]
        return joined


@dataclass(frozen=True, eq=False)
class MedSAMData:
    """The content of a file.

    Args:
        imgs: uint8 (n, rows, columns, 3), the three channels alike for CT.
        gts: uint8, 0 or 1: (n, rows, columns), one structure an entry; or (n, rows, columns, structures),
            all structures of a slice in one entry, a channel being 0 where its structure is absent.
        label_ids: int64, the label that each entry, or each channel, had: (n,) or (structures,).
        slice_numbers: int64 (n,): number of each entry's slice in its scan, from 0.
        names: Text (n,): name of each entry's slice.
        original_shapes: int64 (n, 2): rows and columns of the slice before it was resized; None if unknown.
        patient: Identifier; None if unknown.
        img_embeddings: float (n, 256, 64, 64); None where there are none, or they were not read.
    """

    imgs: Annotated[NDArray[np.uint8], "n rows columns 3"]
    gts: Annotated[NDArray[np.uint8], "n rows columns *structures"]
    label_ids: Annotated[NDArray[np.int64], "masks"]
    slice_numbers: Annotated[NDArray[np.int64], "n"]
    names: NDArray[np.str_]
    original_shapes: Annotated[NDArray[np.int64], "n 2"] | None = None
    patient: str | None = None
    img_embeddings: Annotated[NDArray[Any], "n channels rows columns"] | None = None

    @property
    def multi(self) -> bool:
        """Whether an entry holds all structures of its slice."""
        return self.gts.ndim == 4

    def slices(self) -> Iterator[MaskedSlice]:
        """Yield each slice once, with all of its masks, in the order of the file.

        Entries that follow each other and have one name are one slice.
        """
        for name, entries in groupby(range(len(self.names)), key=lambda entry: str(self.names[entry])):
            chosen = list(entries)
            if self.multi:
                masks = np.concatenate([np.moveaxis(self.gts[entry], -1, 0) for entry in chosen]) > 0
                ids = np.tile(self.label_ids, len(chosen))
            else:
                masks, ids = self.gts[chosen] > 0, self.label_ids[chosen]
            there = masks.any(axis=(1, 2))
            first = chosen[0]
            embedding = None if self.img_embeddings is None else self.img_embeddings[first]
            yield MaskedSlice(
                name, int(self.slice_numbers[first]), ids[there], self.imgs[first], masks[there], embedding
            )


def read_medsam(path: str | Path, *, embeddings: bool = True) -> MedSAMData:
    """Read MedSAM's NPZ, with one structure or all structures an entry.

    A file of MedSAM's own code has no origin of its entries: each is then a slice by itself,
    `STEM/000`, `STEM/001`, ..., and labels are counted from 1, which is 1 for a single structure.

    Args:
        embeddings: Whether to read `img_embeddings`, 4 MiB an entry, where there are any.

    Raises:
        InputError: If the file cannot be read, or is not of that layout.
    """
    path = Path(path)
    wanted = ("imgs", "gts", *ORIGIN, "patient", *(("img_embeddings",) if embeddings else ()))
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in wanted if key in archive.files}
            found = ", ".join(archive.files)
    except (*DAMAGED, AttributeError) as error:
        raise unreadable(path, "a whole NPZ file of numbers", error) from error
    _check(path, "imgs" in arrays and "gts" in arrays, "arrays imgs and gts", found or "no array")
    imgs, gts = arrays["imgs"], arrays["gts"]
    fits = imgs.dtype == np.uint8 and imgs.ndim == 4 and imgs.shape[3] == 3 and imgs.size > 0
    _check(path, fits, "imgs of uint8 (n, rows, columns, 3)", f"{imgs.dtype} {imgs.shape}")
    fits = gts.dtype.kind in "uib" and gts.ndim in (3, 4) and gts.shape[:3] == imgs.shape[:3] and gts.size > 0
    wanted_gts = f"gts of whole numbers {imgs.shape[:3]}, or with structures as a fourth axis"
    _check(path, fits, wanted_gts, f"{gts.dtype} {gts.shape}")
    lowest, highest = int(gts.min()), int(gts.max())
    _check(path, lowest >= 0 and highest <= 1, "gts of 0 and 1", f"values from {lowest} to {highest}")
    embedded = arrays.get("img_embeddings")
    if embedded is not None:
        fits = embedded.dtype.kind == "f" and embedded.shape == (len(imgs), *EMBEDDING)
        expected = f"img_embeddings of numbers {(len(imgs), *EMBEDDING)}"
        _check(path, fits, expected, f"{embedded.dtype} {embedded.shape}")
    patient = str(arrays["patient"]) if "patient" in arrays else None
    origin = _origin(path, arrays, len(imgs), gts.shape[3] if gts.ndim == 4 else None)
    return MedSAMData(imgs, gts.astype(np.uint8), *origin, patient, embedded)


def _origin(
    path: Path, arrays: Mapping[str, NDArray[Any]], count: int, channels: int | None
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.str_], NDArray[np.int64] | None]:
    """Return labels, numbers, names and shapes of entries; counted where a file has none."""
    there = [key for key in ORIGIN if key in arrays]
    if not there:
        ids = np.ones(count, dtype=np.int64) if channels is None else np.arange(1, channels + 1)
        names = np.array([f"{path.stem}/{index:03d}" for index in range(count)])
        return ids, np.arange(count), names, None
    _check(
        path, len(there) == len(ORIGIN), f"all of {', '.join(ORIGIN)}, or none", f"only {', '.join(there)}"
    )
    masks = count if channels is None else channels
    for key, shape, kinds in zip(ORIGIN, ((masks,), (count,), (count,), (count, 2)), "iiUi", strict=True):
        array = arrays[key]
        fits = array.shape == shape and array.dtype.kind == kinds
        of = "text" if kinds == "U" else "integers"
        _check(path, fits, f"{key} of {of} {shape}", f"{array.dtype} {array.shape}")
    ids, numbers, names, shapes = (arrays[key] for key in ORIGIN)
    lowest, highest = int(ids.min()), int(ids.max())
    fits = lowest >= 1 and highest <= np.iinfo(np.int32).max
    _check(path, fits, "label_ids of 1 to 2147483647", f"values from {lowest} to {highest}")
    return ids.astype(np.int64), numbers.astype(np.int64), names, shapes.astype(np.int64)


def _check(path: Path, fits: bool, expected: str, found: str) -> None:
    if not fits:
        raise InputError(path, expected=expected, found=found, fix=FIX)
