"""Checks of a whole label table: columns against images, number of rows, labels, orientation."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from fewct.challenge.editions import Edition
from fewct.challenge.orientation import better_orientation, neighbour_agreement
from fewct.io.label_table.layout import Problem, image_number
from fewct.io.label_table.pictures import read_grey, read_size

SCRAMBLED_BELOW = 0.5


def expected_numbers(names: Sequence[str], edition: Edition) -> tuple[int, ...]:
    """Return the numbers of the images that a table should label, where no folder of images is given.

    They are 0, 1, 2, ...: those of the smallest set of the edition, labelled training, test or training
    images, that has room for the table's columns (`names`).

    Example:
        >>> from fewct.challenge.editions import get_edition
        >>> len(expected_numbers(["0.png", "498.png"], get_edition("2023")))
        500
    """
    numbers = [number for name in names if (number := image_number(name)) is not None]
    room = max([*numbers, len(names) - 1]) + 1
    if room == edition.n_labelled:
        return tuple(range(edition.n_labelled))
    return tuple(range(edition.n_test if room <= edition.n_test else edition.n_train))


def check_numbers(names: Sequence[str], expected: Sequence[int], images: Path | None) -> Iterator[Problem]:
    """Yield what is wrong with a table's columns as a whole: images missing, too many, out of order.

    Args:
        names: The table's columns.
        expected: Numbers of the images that it must label, ascending.
        images: Their folder; None where the edition gives their number.

    Yields:
        At most one problem of each kind.
    """
    numbers = [number for name in names if (number := image_number(name)) is not None]
    whose = "of the edition; for a set of your own, name the folder of its images" if images is None else ""
    fix = f"Write one column for each image {whose or f'in {images}'}."
    missing, extra = sorted(set(expected) - set(numbers)), sorted(set(numbers) - set(expected))
    if missing:
        wanted = f"{len(expected)} images, {name_images(expected)}"
        yield Problem("missing column", "line 1", wanted, f"no column for {name_images(missing)}", fix)
    if extra:
        wanted = f"only {len(expected)} images, {name_images(expected)}"
        yield Problem("extra column", "line 1", wanted, f"columns for {name_images(extra)} too", fix)
    misplaced = [i for i in range(1, len(numbers)) if numbers[i] < numbers[i - 1]]
    if misplaced:
        before, after = numbers[misplaced[0] - 1], numbers[misplaced[0]]
        as_text = " (sorted as text)" if numbers == sorted(numbers, key=lambda n: f"{n}.png") else ""
        yield Problem(
            "column order",
            f"line 1, column {misplaced[0] + 2}",
            "columns in the order of the images' numbers",
            f"{after}.png after {before}.png{as_text}",
            "Sort the columns by number: 2.png comes before 10.png.",
        )


def check_image_sizes(files: Iterable[Path], side: int) -> Iterator[Problem]:
    """Yield a problem for each image that is not of the edition's size."""
    for path in files:
        rows, columns = read_size(path)
        if (rows, columns) != (side, side):
            shape = "a non-square image" if rows != columns else "an image"
            yield Problem(
                "image size",
                path.name,
                f"{side} x {side} pixels",
                f"{shape} of {rows} x {columns}",
                "A label map has the pixels of its image: use the edition's own images.",
            )


def check_row_count(n_rows: int, edition: Edition) -> Iterator[Problem]:
    """Yield a problem if the number of rows is not the number of pixels."""
    difference = n_rows - edition.n_pixels
    if difference:
        yield Problem(
            "row count",
            f"line {n_rows + 1}, the last",
            f"{edition.n_pixels} pixel rows ({edition.side} x {edition.side}, edition {edition.name})",
            f"{n_rows}, {abs(difference)} too {'many' if difference > 0 else 'few'}",
            "Write each label map on the pixel grid of its image, all of it.",
        )


def check_labels(
    labels: Annotated[NDArray[np.uint8], "images pixels"],
    names: Sequence[str],
    edition: Edition,
    *,
    allow_empty: bool,
) -> Iterator[Problem]:
    """Yield a problem for each column without any label, unless allowed, or with a label too high."""
    for name, column in zip(names, labels, strict=True):
        highest = int(column.max(initial=0))
        if highest == 0 and not allow_empty:
            yield Problem(
                "empty column",
                f"column {name}",
                "at least one label",
                "0 in all pixels",
                "Predict this image, or allow empty images where some are unlabelled on purpose.",
            )
        if highest > edition.max_label:
            line = int(np.argmax(column > edition.max_label)) + 2
            yield Problem(
                "value",
                f"line {line}, column {name}",
                f"a class from 0 to {edition.max_label}",
                f"labels up to {highest}",
                f"Edition {edition.name} has {edition.max_label} classes; use their numbers.",
            )


def check_orientation(
    maps: Annotated[NDArray[np.uint8], "images rows columns"], names: Sequence[str], files: Mapping[int, Path]
) -> Iterator[Problem]:
    """Yield at most one problem: scrambled pixels, or label maps that fit their images better when turned.

    Args:
        maps: The label maps of the table.
        names: Its columns.
        files: Images by number; only those of the edition's size are compared.
    """
    agreement = neighbour_agreement(maps)
    if agreement < SCRAMBLED_BELOW:
        yield Problem(
            "scrambled pixels",
            "all columns",
            "neighbouring pixels that mostly share their label",
            f"{agreement:.0%} that do",
            "Flatten each label map by itself, in C order, and write it as one column.",
        )
        return
    turned = better_orientation(_with_images(maps, names, files))
    if turned:
        yield Problem(
            "orientation",
            "all columns",
            "label maps that stand as their images do",
            f"label maps that fit the images' edges when {turned}",
            "Flatten each label map row by row (C order), in the orientation of its image.",
        )


def _with_images(
    maps: Annotated[NDArray[np.uint8], "images rows columns"], names: Sequence[str], files: Mapping[int, Path]
) -> Iterator[tuple[Annotated[NDArray[np.uint8], "n n"], Annotated[NDArray[np.uint8], "n n"]]]:
    """Yield image and label map where the map has labels and an image of its size."""
    for name, labels in zip(names, maps, strict=True):
        number = image_number(name)
        path = None if number is None else files.get(number)
        if path is not None and labels.any() and read_size(path) == labels.shape:
            yield read_grey(path), labels


def name_images(numbers: Sequence[int]) -> str:
    """Return the names of some images as text, the first few of many.

    Example:
        >>> name_images([7, 8]), name_images(range(500)), name_images(range(0, 40, 2))
        ('7.png, 8.png', '0.png to 499.png', '0.png, 2.png, 4.png, 6.png, 8.png and 15 more')
    """
    if len(numbers) > 3 and numbers[-1] - numbers[0] == len(numbers) - 1:
        return f"{numbers[0]}.png to {numbers[-1]}.png"
    shown = ", ".join(f"{number}.png" for number in numbers[:5])
    return shown if len(numbers) <= 5 else f"{shown} and {len(numbers) - 5} more"
