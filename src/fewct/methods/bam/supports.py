"""Support slices: images with label maps whose ids name the structures to find."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fewct.data.pairs import PAIR_THEM, PAIRED, FilePair, find_pairs
from fewct.errors import InputError, UsageError
from fewct.imaging.labelmap import place_on_grid
from fewct.io import read, read_labels
from fewct.types import AnyLabels, CTSlice, CTVolume, LabelMap, Labels

MAX_ID = 65_535
"""Largest id that a support may use: label maps of 16 bits hold it."""


@dataclass(frozen=True, eq=False)
class Support:
    """A slice with the structures to find.

    Args:
        image: The slice.
        labels: int32 (rows, columns): structures by id, 0 for the rest.
        name: How errors call it.
    """

    image: CTSlice
    labels: Labels
    name: str


def read_supports(folder: str) -> tuple[Support, ...]:
    """Read the support slices of a folder; those of a scan that show no structure are left out.

    Args:
        folder: Holds images with label maps: `images/` and `labels/` with files of the same names, or
            NAME.png with NAME_labels.png, in any format that fewct reads. Sizes and spacings may differ.

    Raises:
        UsageError: If no folder is named.
        InputError: If the folder is absent, an image has no label map, the two differ in shape, a slice alone
            has no label, or an id exceeds 65535.
    """
    return tuple(
        one for name, pair in _pairs(folder).items() for one in _of_pair(name, pair.image, pair.labels)
    )


def supports_sha256(folder: str) -> str:
    """Return the hash of all files of the supports and of their names. Raises as `read_supports`."""
    digest = hashlib.sha256()
    for name, pair in _pairs(folder).items():
        digest.update(name.encode())
        for file in pair:
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def support_ids(supports: Sequence[Support], wanted: Sequence[int] = ()) -> tuple[int, ...]:
    """Return the ids to find, ascending.

    Args:
        supports: The slices.
        wanted: Ids to choose; none for all.

    Raises:
        InputError: If no support shows a wanted structure.
    """
    shown = sorted({int(i) for one in supports for i in np.unique(one.labels) if i > 0})
    missing = sorted(set(wanted) - set(shown))
    if missing:
        raise InputError(
            "structures",
            expected=f"ids among those of the supports: {', '.join(map(str, shown))}",
            found=", ".join(map(str, missing)),
            fix="Label them on a support slice, or leave them out.",
        )
    return tuple(sorted(set(wanted))) or tuple(shown)


def _pairs(folder: str) -> dict[str, FilePair]:
    if not folder:
        raise UsageError(
            "support",
            expected="a folder of slices with label maps",
            found="none",
            fix="Label a few slices and pass --support DIR.",
        )
    if not Path(folder).is_dir():
        raise InputError(folder, expected=PAIRED, found="no folder of that name", fix="Check the path.")
    return find_pairs(Path(folder))


def _of_pair(name: str, image_file: Path, labels_file: Path) -> Iterator[Support]:
    """Yield the slices of a pair of files that show a structure."""
    image, truth = read(image_file), read_labels(labels_file)
    labels = _on_grid(truth, image, labels_file)
    if not labels.any():
        raise InputError(
            labels_file,
            expected="at least one labelled structure on a support slice",
            found="only 0",
            fix="Label the structures to find, or take the slice out of the supports.",
        )
    if labels.max() > MAX_ID:
        raise InputError(
            labels_file, expected=f"ids up to {MAX_ID}", found=f"{labels.max()}", fix="Number them anew."
        )
    if isinstance(image, CTSlice):
        yield Support(image, labels, name)
        return
    for index in np.flatnonzero(labels.any(axis=(1, 2))).tolist():
        yield Support(image[index], labels[index], f"{name}/{index:03d}")


def _on_grid(truth: LabelMap, image: CTSlice | CTVolume, path: Path) -> AnyLabels:
    """Return labels of the image's shape."""
    if truth.labels.shape == image.shape:
        return truth.labels
    if truth.geometry is not None and image.geometry is not None:
        return place_on_grid(truth, image.geometry, image.shape)
    raise InputError(
        path,
        expected=f"labels of the image's shape, {' x '.join(map(str, image.shape))}",
        found=" x ".join(map(str, truth.labels.shape)),
        fix=PAIR_THEM,
    )
