"""Reading and checking the first line of a label table."""

from dataclasses import dataclass
from pathlib import Path

from fewct.errors import InputError
from fewct.io.label_table.layout import Problem, ProblemKind, split_cells

BOM = b"\xef\xbb\xbf"
LONGEST_HEADER = 1 << 24
CHANGED_ENCODING = "Save the table as plain UTF-8 text, as `DataFrame.to_csv` does by default."


@dataclass(frozen=True)
class TableHeader:
    """The first line of a label table.

    Args:
        names: Name of each column of labels; empty where the line is no header at all.
        start: Byte at which the first pixel row starts.
        problems: What is wrong with the line as a whole; the names are judged by `check_columns`.
        variants: Harmless departures from the layout, each a sentence.
    """

    names: tuple[str, ...]
    start: int
    problems: tuple[Problem, ...] = ()
    variants: tuple[str, ...] = ()


def read_header(path: Path) -> TableHeader:
    """Read the first line of a label table.

    Raises:
        InputError: If the file cannot be opened.
    """
    try:
        with path.open("rb") as handle:
            line = handle.readline(LONGEST_HEADER)
    except OSError as error:
        raise InputError(
            path,
            expected="a label table (CSV)",
            found=(error.strerror or str(error)).lower(),
            fix="Check the path.",
        ) from error
    try:
        text = line.removeprefix(BOM).decode("utf-8")
    except UnicodeDecodeError:
        text = "\0"
    if not text.strip() or "\0" in text:
        found = "bytes that are not UTF-8 text" if text.strip() else "nothing"
        return TableHeader((), 0, (_header_problem("encoding", "a header of text", found, CHANGED_ENCODING),))
    if not text.endswith("\n") or "\r" in text.removesuffix("\r\n"):
        found = "another line end, or one line only"
        fix = "The file is cut off, or comes from an old Mac; write it again."
        return TableHeader(
            (), 0, (_header_problem("encoding", "lines that end with LF or CR LF", found, fix),)
        )
    cells = split_cells(line.removeprefix(BOM).removesuffix(b"\n"))
    problems = _check_header_line(cells)
    variants = [
        *(["The file starts with a byte order mark."] if line.startswith(BOM) else []),
        *(["The lines end as on Windows (CR LF)."] if text.endswith("\r\n") else []),
        *(["Column names stand in quotes."] if '"' in text else []),
    ]
    usable = all(problem.kind == "header" for problem in problems)
    return TableHeader(tuple(cells[1:]) if usable else (), len(line), tuple(problems), tuple(variants))


def _check_header_line(cells: list[str]) -> list[Problem]:
    """Return the problem with a first line that is no header of a label table."""
    if len(cells) < 2:
        for delimiter, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
            if delimiter in cells[0]:
                fix = "Write the table with commas, as `DataFrame.to_csv` does by default."
                return [_header_problem("delimiter", "cells parted by commas", name, fix)]
        fix = "Write one column an image after the column of row names."
        return [_header_problem("header", "an empty cell, then the images", "one cell", fix)]
    if sum(cell.startswith("Pixel ") for cell in cells) > len(cells) // 2:
        fix = "Transpose it: reading it as it is would scramble the pixels across images."
        return [_header_problem("orientation", "images in columns", "pixels in columns", fix)]
    if cells[0]:
        fix = "Leave the header of the row names empty, as `DataFrame.to_csv` does by default."
        return [_header_problem("header", "an empty first cell", f'"{cells[0]}"', fix)]
    return []


def _header_problem(kind: ProblemKind, expected: str, found: str, fix: str) -> Problem:
    """Return a problem with the first line."""
    return Problem(kind, "line 1", expected, found, fix)
