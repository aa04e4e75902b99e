"""Names of the rows and columns of a label table, and checks of them.

The first line is the header: an empty cell, then the image of each column, `0.png`, `1.png`, ... Every
further line is one pixel of all images: its name, `Pixel 0`, `Pixel 1`, ..., then its label in each image.
"""

import csv
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn, TypeAlias

from fewct.errors import InputError

ProblemKind: TypeAlias = Literal[
    "encoding",
    "delimiter",
    "orientation",
    "header",
    "column name",
    "column order",
    "missing column",
    "doubled column",
    "extra column",
    "row count",
    "row name",
    "field count",
    "value",
    "empty column",
    "scrambled pixels",
    "image size",
]


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a label table.

    Args:
        kind: What sort of problem it is.
        where: The line (the header is line 1), the column, or both.
        expected: What was expected there.
        found: What was found instead.
        fix: What the user can do, as a sentence.
    """

    kind: ProblemKind
    where: str
    expected: str
    found: str
    fix: str

    @property
    def message(self) -> str:
        """Expected, found and the way out, as one text."""
        return f"expected {self.expected}, found {self.found}. {self.fix}"

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"

    def refuse(self, path: Path) -> NoReturn:
        """Raise this problem as an `InputError` on the file at `path`."""
        raise InputError(f"{path}, {self.where}", expected=self.expected, found=self.found, fix=self.fix)


def image_number(name: str) -> int | None:
    """Return the number of an image name such as `12.png`, None for any other name.

    Example:
        >>> image_number("12.png"), image_number("12.PNG"), image_number("012.png")
        (12, None, None)
    """
    match = re.fullmatch(r"(0|[1-9][0-9]*)\.png", name)
    return int(match.group(1)) if match else None


def row_number(name: str) -> int | None:
    """Return the number of a row name such as `Pixel 12`, None for any other name.

    Example:
        >>> row_number("Pixel 12"), row_number("Pixel 012"), row_number("12")
        (12, None, None)
    """
    match = re.fullmatch(r"Pixel (0|[1-9][0-9]{0,11})", name)
    return int(match.group(1)) if match else None


def split_cells(line: bytes) -> list[str]:
    r"""Return the cells of one line, without quotes and without a Windows line end.

    Example:
        >>> split_cells(b'"Pixel 0",1,"2"\r')
        ['Pixel 0', '1', '2']
    """
    text = line.decode("utf-8", errors="replace").removesuffix("\r")
    if '"' not in text:
        return text.split(",")
    return next(csv.reader([text.replace("\r", "\ufffd").replace("\0", "\ufffd")]))


def check_columns(names: Sequence[str]) -> list[Problem]:
    """Return wrong and doubled column names.

    Args:
        names: The header's names, without its first, empty cell.
    """
    problems = []
    for position, name in enumerate(names, start=2):
        if image_number(name) is None:
            where, wanted = f"line 1, column {position}", "an image name such as 1.png"
            fix = "Name each column after its image: its number without leading zeros, then .png."
            problems.append(Problem("column name", where, wanted, f'"{name}"', fix))
    for name, times in Counter(names).items():
        if times > 1 and image_number(name) is not None:
            places = [str(place) for place, other in enumerate(names, start=2) if other == name]
            where, found = f"line 1, columns {', '.join(places)}", f"{name} {times} times"
            problems.append(
                Problem("doubled column", where, "one column an image", found, "Keep one of them.")
            )
    return problems


def check_row_names(names: Sequence[str], first_row: int, shift: int = 0) -> tuple[list[Problem], int]:
    """Return the row names that depart from `Pixel 0`, `Pixel 1`, ...

    A row left out, doubled or moved is one problem, though all later rows are shifted by it.

    Args:
        names: The first cells of consecutive rows.
        first_row: Number of the first of them, counted from 0.
        shift: By how much the rows before were shifted.

    Returns:
        The problems, and the shift after the last row.

    Example:
        >>> problems, shift = check_row_names(["Pixel 0", "Pixel 2", "Pixel 3"], first_row=0)
        >>> print(*problems)
        line 3: expected Pixel 1, found "Pixel 2". Name the pixels 0, 1, 2, ... in C order, none left out.
        >>> shift
        1
    """
    problems = []
    for row, name in enumerate(names, start=first_row):
        number = row_number(name)
        if number == row + shift:
            continue
        fix = "Name the pixels 0, 1, 2, ... in C order, none left out."
        problems.append(Problem("row name", f"line {row + 2}", f"Pixel {row + shift}", f'"{name}"', fix))
        shift = shift if number is None else number - row
    return problems, shift


def list_images(folder: Path) -> dict[int, Path]:
    """Return the images of a folder by number, in the order of the numbers.

    Args:
        folder: Folder with `0.png`, `1.png`, ...; files of other kinds are passed over.

    Raises:
        InputError: If there is no image, a name is not a number, or two images have one number.
    """
    if not folder.is_dir():
        raise InputError(folder, expected="a folder of images", found="no such folder", fix="Check the path.")
    images: dict[int, Path] = {}
    pictures = sorted(entry for entry in folder.iterdir() if entry.suffix.lower() == ".png")
    for path in (entry for entry in pictures if re.fullmatch("[0-9]+", entry.stem)):
        other = images.setdefault(int(path.stem), path)
        if other != path:
            raise InputError(
                folder,
                expected="one image a number",
                found=f"{other.name} and {path.name}",
                fix="Remove one of the two.",
            )
    for path in pictures:
        if image_number(path.name) is None:
            raise InputError(
                path,
                expected="an image name such as 1.png",
                found=f'"{path.name}"',
                fix="Name it by its number without leading zeros, then .png, or move it elsewhere.",
            )
    if not images:
        raise InputError(
            folder, expected="images named 0.png, 1.png, ...", found="none", fix="Name the folder of images."
        )
    return dict(sorted(images.items()))
