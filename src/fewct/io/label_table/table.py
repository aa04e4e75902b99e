"""Label tables (CSV) read and written in blocks of rows, straight from and into uint8.

A table of 500 images of 512 x 512 pixels is 268 MB of text; memory holds its 131 MB of labels and a few
small blocks of text at a time.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from math import isqrt
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fewct.errors import InputError
from fewct.io.atomic import atomic_path
from fewct.io.label_table.cells import format_rows, parse_rows
from fewct.io.label_table.faults import find_faults, last_shift
from fewct.io.label_table.header import TableHeader, read_header
from fewct.io.label_table.layout import Problem, check_columns, check_row_names, image_number
from fewct.runtime.threads import thread_count

LabelStack: TypeAlias = Annotated[NDArray[np.uint8], "images rows columns"]
Parsed: TypeAlias = tuple[int, Annotated[NDArray[np.uint8], "pixels images"]] | None

BLOCK_BYTES = 1 << 18
MOST_FAULTS = 100


@dataclass(frozen=True, eq=False)
class LabelTable:
    """The label maps of a table.

    Args:
        numbers: Number of each image, ascending: 12 for `12.png`.
        labels: uint8 (images, rows, columns), 0 for background, in the order of `numbers`.
    """

    numbers: tuple[int, ...]
    labels: LabelStack


@dataclass(frozen=True, eq=False)
class RowBlock:
    """Some consecutive rows of a table.

    Args:
        first_row: Number of the first of them, counted from 0.
        labels: uint8 (pixels, columns of the table); None where a row cannot be read.
        problems: What is wrong with these rows, at most `MOST_FAULTS`.
        quoted: Whether a cell is in quotes.
        ended: Whether its last line ends with a line break.
    """

    first_row: int
    labels: Annotated[NDArray[np.uint8], "pixels images"] | None
    problems: tuple[Problem, ...]
    quoted: bool
    ended: bool


def count_rows(path: Path, header: TableHeader) -> int:
    """Return the number of pixel rows of a table, without reading their values."""
    return sum(_count_lines(text) for text in _read_texts(path, header))


def scan_table(path: Path, header: TableHeader) -> Iterator[RowBlock]:
    """Yield the rows of a table in blocks; a block that cannot be read lists its problems."""
    first_row = shift = 0
    for text, parsed in _parse_ahead(_read_texts(path, header), len(header.names)):
        n_rows = _count_lines(text) if parsed is None else len(parsed[1])
        quoted, ended = b'"' in text, text.endswith(b"\n")
        if parsed is None:
            problems = tuple(islice(find_faults(text, header.names, first_row, shift), MOST_FAULTS))
            shift = last_shift(text, first_row + n_rows - 1, shift)
            yield RowBlock(first_row, None, problems, quoted, ended)
        else:
            named, labels = parsed
            found, shift = check_row_names([f"Pixel {named}"], first_row, shift)
            yield RowBlock(first_row, labels, tuple(found), quoted, ended)
        first_row += n_rows


def read_table(path: str | Path) -> LabelTable:
    """Read a label table into uint8 label maps.

    Each column becomes one image: its first pixels are the image's first row. Columns may be in any
    order; the images are returned in the order of their numbers. This function raises the first problem;
    `validate` lists all.

    Raises:
        InputError: If the file is no label table, with the line or column at fault.
    """
    path = Path(path)
    header = read_header(path)
    for problem in (*header.problems, *check_columns(header.names)):
        problem.refuse(path)
    n_rows = count_rows(path, header)
    side = isqrt(n_rows)
    if n_rows == 0 or side * side != n_rows:
        raise InputError(
            path,
            expected="as many pixel rows as a square image has pixels, such as 262144 or 65536",
            found=f"{n_rows} rows",
            fix="The file is cut off, or pixels are missing or too many; write it again.",
        )
    numbers = [image_number(name) or 0 for name in header.names]
    labels = np.empty((len(numbers), n_rows), dtype=np.uint8)
    for block in scan_table(path, header):
        for problem in block.problems:
            problem.refuse(path)
        if block.labels is not None:
            labels[:, block.first_row : block.first_row + len(block.labels)] = block.labels.T
    if numbers != sorted(numbers):
        labels = labels[np.argsort(numbers)]
    return LabelTable(tuple(sorted(numbers)), labels.reshape(len(numbers), side, side))


def write_table(path: str | Path, labels: NDArray[Any], numbers: Sequence[int] | None = None) -> None:
    """Write label maps as a label table, whole or not at all.

    Args:
        labels: Integers (images, rows, columns) from 0 to 255; rows and columns are equal.
        numbers: Number of each image, in any order; 0, 1, 2, ... if None.

    Raises:
        InputError: For another shape, labels beyond 255 or below 0, or numbers that do not fit.
        OutputError: If the file cannot be written.
    """
    stack = as_label_stack(labels)
    chosen = tuple(range(len(stack))) if numbers is None else tuple(numbers)
    if len(chosen) != len(stack) or len(set(chosen)) != len(stack) or min(chosen) < 0:
        raise InputError(
            "numbers",
            expected=f"{len(stack)} different numbers from 0 up, one an image",
            found=f"{len(chosen)} numbers, {len(set(chosen))} different, from {min(chosen, default=0)}",
            fix="Number the images 0, 1, 2, ...",
        )
    order = sorted(range(len(chosen)), key=chosen.__getitem__)
    pixels = stack.reshape(len(stack), -1)
    step = max(1, BLOCK_BYTES // (4 * len(stack)))
    with atomic_path(path) as unfinished, unfinished.open("wb") as file:
        file.write(("," + ",".join(f"{chosen[i]}.png" for i in order) + "\n").encode())
        for start in range(0, pixels.shape[1], step):
            file.write(format_rows(pixels[order, start : start + step].T, start))


def as_label_stack(labels: NDArray[Any], name: str = "labels") -> LabelStack:
    """Return label maps as uint8, the widest that a label table can hold; never by wrapping round.

    Args:
        labels: Integers (images, rows, columns) from 0 to 255; rows and columns are equal.

    Raises:
        InputError: For another shape or dtype, labels beyond 255 or below 0.
    """
    if labels.ndim != 3 or labels.size == 0 or labels.shape[1] != labels.shape[2]:
        raise InputError(
            name,
            expected="square label maps (images, rows, columns)",
            found=f"shape {labels.shape}",
            fix="The challenge's images are square; pass one label map an image on the image's own grid.",
        )
    if labels.dtype.kind not in "uib":
        raise InputError(
            name, expected="integers", found=f"dtype {labels.dtype}", fix="Convert them to uint8 first."
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high > 255:
        raise InputError(
            name,
            expected="labels from 0 to 255, which is what a table holds",
            found=f"labels from {low} to {high}",
            fix="Number each image's structures 1, 2, 3, ... and keep at most 255 of them.",
        )
    return labels.astype(np.uint8, copy=False)


def _read_texts(path: Path, header: TableHeader) -> Iterator[bytes]:
    """Yield the text after the header in blocks of whole lines."""
    with path.open("rb") as file:
        file.seek(header.start)
        while text := file.read(BLOCK_BYTES) + file.readline():
            yield text


def _parse_ahead(texts: Iterator[bytes], n_columns: int) -> Iterator[tuple[bytes, Parsed]]:
    """Yield each text with its rows parsed, in order; all cores parse, a few blocks ahead."""
    workers = thread_count()
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[tuple[bytes, Future[Parsed]]] = deque()
        for text in texts:
            waiting.append((text, pool.submit(parse_rows, text, n_columns)))
            if len(waiting) > workers:
                earliest, parsed = waiting.popleft()
                yield earliest, parsed.result()
        for earliest, parsed in waiting:
            yield earliest, parsed.result()


def _count_lines(text: bytes) -> int:
    """Return the number of lines, the last of which need not be ended."""
    return text.count(b"\n") + (not text.endswith(b"\n"))
