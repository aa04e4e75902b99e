"""Label tables to label maps, as PNG files or one NPZ, and back."""

import zipfile
from pathlib import Path

import numpy as np

from fewct.errors import InputError
from fewct.io import read_labels
from fewct.io.atomic import atomic_path
from fewct.io.images import write_picture
from fewct.io.label_table.layout import list_images
from fewct.io.label_table.pictures import read_size
from fewct.io.label_table.table import LabelTable, as_label_stack, read_table, write_table
from fewct.outputs import make_folder


def unpack(table: Path, out: Path) -> LabelTable:
    """Write the label maps of a table as PNG files or as one NPZ.

    Args:
        table: The CSV file.
        out: A path that ends on .npz, which gets `labels`, uint8 (images, rows, columns), and `numbers`,
            int64 (images,); any other path is a folder, which gets `0.png`, `1.png`, ...

    Returns:
        What was written.

    Raises:
        InputError: If the table cannot be read.
        OutputError: If a file cannot be written.
    """
    content = read_table(table)
    if out.suffix == ".npz":
        with atomic_path(out) as unfinished:
            np.savez_compressed(unfinished, labels=content.labels, numbers=np.array(content.numbers))
        return content
    make_folder(out)
    for number, labels in zip(content.numbers, content.labels, strict=True):
        write_picture(labels, out / f"{number}.png")
    return content


def pack(maps: Path, table: Path, *, images: Path | None = None) -> LabelTable:
    """Write label maps as a label table.

    Args:
        maps: A folder of `0.png`, `1.png`, ..., or an NPZ as `unpack` writes it.
        table: The CSV file to write.
        images: Folder of the images that belong to the label maps, to check number and size against.

    Returns:
        What was written.

    Raises:
        InputError: If a label map cannot be read, is not square or differs in size from the first or from
            its image, if a label is above 255, or if `images` holds other numbers.
        OutputError: If the table cannot be written.
    """
    content = _read_npz(maps) if maps.suffix == ".npz" else _read_folder(maps)
    if images is not None:
        _check_images(content, images)
    write_table(table, content.labels, content.numbers)
    return content


def _read_folder(folder: Path) -> LabelTable:
    """Read the label maps of a folder."""
    files = list_images(folder)
    side = read_size(next(iter(files.values())))[0]
    stack = np.zeros((len(files), side, side), np.uint8)
    for index, path in enumerate(files.values()):
        labels = read_labels(path).labels
        if labels.shape != (side, side):
            raise InputError(
                path,
                expected=f"a square label map of {side} x {side} pixels",
                found=" x ".join(map(str, labels.shape)),
                fix="All label maps of a table have the size of the edition's images.",
            )
        stack[index] = as_label_stack(labels[np.newaxis], str(path))
    return LabelTable(tuple(files), stack)


def _read_npz(path: Path) -> LabelTable:
    """Read the label maps of an NPZ."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            labels, numbers = arrays["labels"], arrays["numbers"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(
            path,
            expected="an NPZ with the arrays labels and numbers",
            found=str(error),
            fix="Write it with fewct challenge unpack, or pass a folder of PNG files.",
        ) from error
    return LabelTable(tuple(int(number) for number in numbers), as_label_stack(labels, str(path)))


def _check_images(content: LabelTable, folder: Path) -> None:
    """Raise unless each image of a folder has a label map, and of its size."""
    files = list_images(folder)
    if tuple(files) != content.numbers:
        raise InputError(
            "label maps",
            expected=f"one for each of the {len(files)} images in {folder}",
            found=f"{len(content.numbers)} label maps, or other numbers",
            fix="Number label maps as their images.",
        )
    side = content.labels.shape[1]
    for number, path in files.items():
        rows, columns = read_size(path)
        if (rows, columns) != (side, side):
            raise InputError(
                f"label map {number}.png",
                expected=f"the size of its image, {rows} x {columns}",
                found=f"{side} x {side}",
                fix="Write label maps on the pixel grid of their images.",
            )
