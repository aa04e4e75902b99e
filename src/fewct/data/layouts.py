"""Layouts of labelled images on disk: NPZ files, pairs of files, scans, the challenge's folder."""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fewct.data.pairs import PAIR_THEM, find_pairs, in_order, pictures, stem
from fewct.errors import FewctWarning, InputError, UsageError, as_labels
from fewct.io import discover, read, read_labels
from fewct.io.label_table.layout import list_images
from fewct.io.label_table.pictures import read_grey
from fewct.io.label_table.table import read_table
from fewct.io.medsam.reading import read_medsam
from fewct.io.pixels import DAMAGED, RawImage, as_ct, as_label_map, unreadable
from fewct.types import CTSlice, CTVolume, LabelMap, Provenance

LAYOUTS = (
    "an NPZ with image and label, or with imgs and gts; a folder of such; images/ and labels/ with files of "
    "the same names; NAME.png with NAME_labels.png; a scan beside labels.nii.gz; train/ and Y_train.csv"
)


@dataclass(frozen=True, eq=False)
class LabelledImage:
    """An image and its label map, each on its own grid.

    Args:
        name: Unique in its source.
        path: The file or folder to name in errors.
        patient: None if unknown; a scan or an NPZ file without a patient's name counts as one patient.
    """

    name: str
    path: Path
    image: CTSlice | CTVolume
    truth: LabelMap
    patient: str | None


def read_source(path: Path, subset: str = "", labels: Path | None = None) -> Iterator[LabelledImage]:
    """Read the images and truth that a path holds, whatever the layout.

    Args:
        subset: Which images and truth, where there are several: "dense" takes `dense_image` and
            `dense_label` of an NPZ, "test" takes `test/` and `Y_test.csv` of a challenge folder.
        labels: The truth, where it lies elsewhere: a label map, or a label table for a folder of numbered
            images.

    Yields:
        Images with truth, in natural order of their names.

    Raises:
        InputError: If the path holds none, an image has no truth, or truth no image.
        UsageError: If `subset` is given for a layout that has none.
    """
    if not path.exists():
        raise InputError(path, expected=LAYOUTS, found="nothing of that name", fix="Check the path.")
    if labels is None and path.is_dir():
        yield from _from_folder(path, subset)
    elif labels is None and path.suffix.lower() == ".npz":
        yield _from_npz(path, subset)
    else:
        _refuse_subset(subset, path)
        if labels is not None and labels.suffix.lower() == ".csv":
            yield from _from_challenge(path, labels)
        else:
            yield _labelled(stem(path), path, labels or _partner(path))


def _from_folder(folder: Path, subset: str) -> Iterator[LabelledImage]:
    """Read a folder of any layout."""
    if _holds_only_npz(folder):
        yield from _from_npz_folder(folder, subset)
    elif (table := folder / f"Y_{subset or 'train'}.csv").is_file():
        yield from _from_challenge(folder / (subset or "train"), table)
    else:
        _refuse_subset(subset, folder)
        two_folders = (folder / "images").is_dir() and (folder / "labels").is_dir()
        if not two_folders and (labels := _labels_of_scan(folder)) is not None:
            yield _from_scan_folder(folder, labels)
        else:
            yield from _from_pairs(folder)


def _refuse_subset(subset: str, path: Path) -> None:
    """Raise if a subset is named where there is none."""
    if subset:
        raise UsageError(
            f"{path}:{subset}",
            expected=f"several truths to choose from (an NPZ, or a folder with Y_{subset}.csv)",
            found="one",
            fix=f"Leave out :{subset}.",
        )


def _from_npz(path: Path, subset: str) -> LabelledImage:
    """Read an image and its truth from one NPZ, which is one patient."""
    if not subset and {"imgs", "gts"} <= set(_npz_keys(path)):
        return _from_medsam(path)
    image_key, label_key = _keys_of(path, subset)
    if not subset:
        return replace(_labelled(path.stem, path, path), patient=path.stem)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            stacks = [arrays[key].reshape((-1, *arrays[key].shape[-2:])) for key in (image_key, label_key)]
    except DAMAGED as error:
        raise unreadable(path, "a whole NPZ file of numbers", error) from error
    image, truth = (RawImage(stack, Provenance(path, "numpy", path.stem, (path,))) for stack in stacks)
    return LabelledImage(path.stem, path, as_ct(image, "auto"), as_label_map(truth), path.stem)


def _from_medsam(path: Path) -> LabelledImage:
    """Read MedSAM's NPZ: each slice once, its masks joined into a label map; the patient if it tells one."""
    data = read_medsam(path, embeddings=False)
    slices = list(data.slices())
    if (data.imgs != data.imgs[..., :1]).any():
        raise InputError(
            path,
            expected="grey pictures: three channels that are alike",
            found="colours",
            fix="Leave the file out: fewct works on CT.",
        )
    pictures = np.stack([one.image[..., 0] for one in slices])
    image = as_ct(RawImage(pictures, Provenance(path, "numpy", path.stem, (path,))), "grey")
    truth = LabelMap(np.stack([one.labels for one in slices]))
    return LabelledImage(path.stem, path, image, truth, data.patient)


def _keys_of(path: Path, subset: str) -> tuple[str, str]:
    """Return the names of the arrays of image and truth in an NPZ."""
    prefix = f"{subset}_" if subset else ""
    keys = _npz_keys(path)
    truth = [key for key in (f"{prefix}label", f"{prefix}labels") if key in keys]
    if f"{prefix}image" not in keys or not truth:
        raise InputError(
            path,
            expected=f"arrays {prefix}image and {prefix}label",
            found=", ".join(keys) or "no array",
            fix="Save the truth beside the image, or choose another truth with FILE:NAME.",
        )
    return f"{prefix}image", truth[0]


def _npz_keys(path: Path) -> list[str]:
    """Return the names of the arrays in an NPZ."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return list(arrays.files)
    except (*DAMAGED, AttributeError) as error:
        raise unreadable(path, "a whole NPZ file of numbers", error) from error


def _holds_only_npz(folder: Path) -> bool:
    """Tell whether a folder is one of NPZ files: patients with image and truth in one."""
    files = [file for file in folder.iterdir() if not file.name.startswith(".")]
    return bool(files) and all(file.suffix.lower() == ".npz" for file in files)


def _from_npz_folder(folder: Path, subset: str) -> Iterator[LabelledImage]:
    """Read each NPZ of a folder; those without the subset are named in a warning."""
    files = in_order(folder.iterdir())
    without = [file.name for file in files if subset and f"{subset}_image" not in _npz_keys(file)]
    if len(without) == len(files):
        _keys_of(files[0], subset)
    if without:
        message = f"{folder}: no {subset}_image in {', '.join(without)}, which are left out"
        warnings.warn(message, FewctWarning, stacklevel=2)
    for file in files:
        if file.name not in without:
            yield _from_npz(file, subset)


def _from_challenge(images: Path, table: Path) -> Iterator[LabelledImage]:
    """Read the challenge's numbered images and their label table; images without any label are unlabelled."""
    files, content = list_images(images), read_table(table)
    for number, labels in zip(content.numbers, content.labels, strict=True):
        if not labels.any():
            continue
        if number not in files:
            raise InputError(
                images,
                expected=f"an image for each column of {table.name}",
                found=f"no {number}.png",
                fix="Name the folder of the images that the table labels.",
            )
        pixels = read_grey(files[number]).astype(np.float32)
        yield LabelledImage(
            f"{number}", files[number], CTSlice(pixels, "grey"), LabelMap(as_labels(labels)), None
        )


def _from_pairs(folder: Path) -> Iterator[LabelledImage]:
    """Read images and label maps in pairs of files."""
    for name, pair in find_pairs(folder, LAYOUTS).items():
        yield _labelled(name, pair.image, pair.labels)


def _from_scan_folder(folder: Path, labels: Path) -> LabelledImage:
    """Read a folder with a scan in any format, such as a DICOM series, and its labels."""
    others = [image for image in discover(folder) if image.path != labels]
    if len(others) != 1:
        raise InputError(
            folder,
            expected="one scan beside its labels",
            found=f"{len(others)}: {', '.join(image.name for image in others[:5])}",
            fix="Give each scan a folder of its own, with labels.nii.gz in it.",
        )
    image = others[0].open()
    return LabelledImage(folder.name, folder, image, read_labels(labels), folder.name)


def _labels_of_scan(folder: Path) -> Path | None:
    """Return the file `labels.*` of a folder, if there is one."""
    return next((file for file in pictures(folder) if stem(file) == "labels"), None)


def _labelled(name: str, image: Path, labels: Path) -> LabelledImage:
    """Read an image file and its label map; the slices of a scan are one patient's."""
    pixels = read(image)
    patient = name if isinstance(pixels, CTVolume) else None
    return LabelledImage(name, image, pixels, read_labels(labels), patient)


def _partner(image: Path) -> Path:
    """Return the labels beside an image file."""
    wanted = (f"{stem(image)}_labels", f"{stem(image)}_label")
    for file in pictures(image.parent):
        if stem(file) in wanted:
            return file
    raise InputError(
        image, expected=f"labels beside it, such as {wanted[0]}{image.suffix}", found="none", fix=PAIR_THEM
    )
