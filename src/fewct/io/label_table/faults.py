"""Locating and explaining faults in rows of a label table: slow, run only on rows that fail."""

import re
from collections.abc import Iterator, Sequence

from fewct.io.label_table.layout import Problem, check_row_names, split_cells

LABEL = re.compile("[0-9]{1,3}")


def find_faults(text: bytes, names: Sequence[str], first_row: int, shift: int) -> Iterator[Problem]:
    """Find the cells of some rows that are no labels, and the rows of another length.

    Args:
        text: The rows as in the file.
        first_row: Number of the first row, counted from 0.
        shift: By how much the row names before were shifted.
    """
    lines = text.removesuffix(b"\n").split(b"\n")
    for row, line in enumerate(lines, start=first_row):
        cells = split_cells(line)
        found, shift = check_row_names(cells[:1], row, shift)
        yield from found
        cut_off = row == first_row + len(lines) - 1 and not text.endswith(b"\n")
        yield from _check_cells(cells, names, row, cut_off=cut_off)


def last_shift(text: bytes, last_row: int, shift: int) -> int:
    """Return by how much the row names are shifted after rows that end with number `last_row`."""
    last = text.rstrip(b"\n").rpartition(b"\n")[2]
    return check_row_names(split_cells(last)[:1], last_row, shift)[1]


def _check_cells(cells: list[str], names: Sequence[str], row: int, *, cut_off: bool) -> Iterator[Problem]:
    """Yield what is wrong with one row: its length, or the cells that are no labels."""
    line = f"line {row + 2}"
    if len(cells) != len(names) + 1:
        yield Problem(
            "field count",
            line,
            f"{len(names) + 1} cells: the row's name, then a label for each of {len(names)} images",
            f"{len(cells)} cells" if cells != [""] else "an empty line",
            "The file is cut off here; write it again." if cut_off else "Write one label an image.",
        )
        return
    for name, cell in zip(names, cells[1:], strict=True):
        if not LABEL.fullmatch(cell) or int(cell) > 255:
            yield Problem(
                "value",
                f"{line}, column {name}",
                "a whole number from 0 to 255",
                f'"{cell}"' if cell else "an empty cell",
                "Write labels as uint8, 0 for background.",
            )
