"""Images with label maps beside them: two folders of the same names, or NAME with NAME_labels."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from fewct.errors import InputError
from fewct.io.formats import format_by_suffix
from fewct.io.reading import natural_key

PAIRED = "images/ and labels/ with files of the same names, or NAME.png with NAME_labels.png"
PAIR_THEM = "Give each image a label map: the same name in labels/, or NAME_labels beside NAME."


class FilePair(NamedTuple):
    """An image file and the file of its label map."""

    image: Path
    labels: Path


def find_pairs(folder: Path, expected: str = PAIRED) -> dict[str, FilePair]:
    """Return the pairs of a folder by name, in natural order (2 before 10).

    Args:
        folder: Holds `images/` and `labels/`, or NAME.ext and NAME_label.ext or NAME_labels.ext.
        expected: How an error calls what was expected of the folder.

    Raises:
        InputError: If there is no label map, an image has none, or a label map has no image.
    """
    images: dict[str, Path] = {}
    labels: dict[str, Path] = {}
    if (folder / "images").is_dir() and (folder / "labels").is_dir():
        images, labels = (
            {stem(file): file for file in pictures(folder / part)} for part in ("images", "labels")
        )
    else:
        for file in pictures(folder):
            name = stem(file)
            bare = name.removesuffix("_labels").removesuffix("_label")
            (images if bare == name else labels)[bare] = file
    _check(folder, images, labels, expected)
    return {name: FilePair(image, labels[name]) for name, image in images.items()}


def pictures(folder: Path) -> list[Path]:
    """Return the files of a folder that their names make images or label maps, 2.png before 10.png."""
    files = [file for file in folder.iterdir() if file.is_file() and not file.name.startswith(".")]
    return in_order(file for file in files if format_by_suffix(file) is not None)


def in_order(files: Iterable[Path]) -> list[Path]:
    """Return files sorted by name, 2.png before 10.png."""
    return sorted(files, key=lambda file: natural_key(file.name))


def stem(file: Path) -> str:
    """Return a file's name without its suffix, .nii.gz in whole."""
    return file.name.removesuffix(".gz").removesuffix(".nii") if file.name.endswith(".nii.gz") else file.stem


def _check(folder: Path, images: Mapping[str, Path], labels: Mapping[str, Path], expected: str) -> None:
    """Raise unless each image has labels and the other way round, and there is one."""
    if not labels:
        raise InputError(folder, expected=expected, found=f"{len(images)} images, no labels", fix=PAIR_THEM)
    for here, there, wanted in ((images, labels, "labels"), (labels, images, "an image")):
        lonely = [file.name for name, file in here.items() if name not in there]
        if lonely:
            raise InputError(
                folder,
                expected=f"{wanted} for each of {len(here)} files",
                found=f"none for {', '.join(lonely[:5])}"
                + (f" and {len(lonely) - 5} more" * (len(lonely) > 5)),
                fix=PAIR_THEM,
            )
