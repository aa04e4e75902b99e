"""Unlabelled slices, read from any layout of labelled data, and checked against validation data."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fewct.data.cases import DataSource, LabelledCase, parse_data
from fewct.errors import InputError, UsageError
from fewct.io import DiscoveredImage, discover
from fewct.types import CTSlice, CTVolume

LABELS = ("label", "labels")


class UnlabelledSlice(NamedTuple):
    """A slice of which only the image is used; `patient` is None if unknown."""

    patient: str | None
    image: CTSlice


def read_unlabelled(text: str, step: int) -> Iterator[UnlabelledSlice]:
    """Read slices from what `fewct benchmark --data` takes, ignoring labels.

    An NPZ gives its `image`. In a folder every image counts, but for label maps: NAME_label, NAME_labels,
    labels.*, and whatever lies in labels/. Of a challenge folder that is train/.

    Args:
        text: A path, or a JSON file (see `fewct.data.cases.read_description`).
        step: Takes every n-th slice; a JSON file tells its own.

    Raises:
        InputError: If there is no image, or one cannot be read.
        UsageError: If a subset or a part of a split is named, or the step is below 1.
    """
    data = parse_data(text, "partial", step)
    if data.only is not None or any(source.subset for source in data.sources):
        raise UsageError(
            f"--unlabelled {text}",
            expected="data as a whole: without labels there is no subset and no split to choose from",
            found="a part of it",
            fix="Leave the subset or split out, or name other files.",
        )
    for source in data.sources:
        yield from _slices_of(source)


def check_disjoint(unlabelled: Iterable[UnlabelledSlice], validation: Sequence[LabelledCase]) -> None:
    """Raise if a patient, a file or a slice of the same pixels is in both unlabelled and validation data.

    Raises:
        InputError: If one is.
    """
    patients = {case.patient for case in validation if case.patient is not None}
    names = {key: case.name for case in validation for key in _identity(case.image)}
    for one in unlabelled:
        shared = [f"patient {one.patient}"] if one.patient in patients else []
        shared += [f"the slice {names[key]}" for key in _identity(one.image) if key in names]
        if shared:
            raise InputError(
                "--unlabelled",
                expected="slices of other patients than those of validation",
                found=f"{shared[0]} on both sides",
                fix="Leave it out of --unlabelled, or name other patients with --validation.",
            )


def _slices_of(source: DataSource) -> Iterator[UnlabelledSlice]:
    """Yield the slices of a source, every n-th of a scan, every n-th of single ones."""
    single = 0
    for item in _images(source):
        image = item.open()
        patient = _patient(source, item, image)
        if isinstance(image, CTVolume):
            for index in range(0, len(image), source.step):
                yield UnlabelledSlice(patient, image[index])
            continue
        if single % source.step == 0:
            yield UnlabelledSlice(patient, image)
        single += 1


def _patient(source: DataSource, item: DiscoveredImage, image: CTSlice | CTVolume) -> str | None:
    """Return the patient of an image: as described, or for a scan or an NPZ its own name."""
    if isinstance(source.patient, str):
        return source.patient
    if source.patient is not None and item.name in source.patient:
        return source.patient[item.name]
    if isinstance(image, CTVolume) or item.path.suffix.lower() == ".npz":
        return item.path.name if item.path.is_dir() else item.name
    return None


def _images(source: DataSource) -> list[DiscoveredImage]:
    """Return the images of a source, without label maps."""
    path = source.path
    if path.is_dir() and (path / "Y_train.csv").is_file():
        path = path / "train"
    images = [item for item in discover(path) if not _is_label_map(item.path, path, source.labels)]
    if not images:
        raise InputError(
            path, expected="at least one image", found="label maps alone", fix="Name the images' folder."
        )
    return images


def _is_label_map(file: Path, root: Path, labels: Path | None) -> bool:
    """Tell whether a file's name or place makes it a label map."""
    if file == labels:
        return True
    if file == root:  # the user named it
        return False
    stem = file.name.partition(".")[0]
    named = stem in LABELS or stem.endswith(tuple(f"_{name}" for name in LABELS))
    return named or "labels" in file.relative_to(root).parts[:-1]


def _identity(image: CTSlice) -> set[str]:
    """Return keys that only equal slices share: their files, and a hash of pixels that are not constant."""
    files = image.source.files if image.source is not None else ()
    keys = {os.path.realpath(f"{file}") for file in files}
    if np.nanmin(image.pixels) < np.nanmax(image.pixels):
        keys.add(f"{image.shape} {hashlib.sha256(image.pixels.tobytes()).hexdigest()}")
    return keys
