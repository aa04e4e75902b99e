"""Validation of a label table before it is submitted: all problems at once, or that it is valid."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from fewct.challenge.checks import (
    check_image_sizes,
    check_labels,
    check_numbers,
    check_orientation,
    check_row_count,
    expected_numbers,
    name_images,
)
from fewct.challenge.editions import Edition
from fewct.io.label_table.header import TableHeader, read_header
from fewct.io.label_table.layout import Problem, check_columns, image_number, list_images
from fewct.io.label_table.table import MOST_FAULTS, count_rows, scan_table

MOST_OF_A_KIND = 10


@dataclass(frozen=True)
class Report:
    """The result of `validate`.

    Args:
        problems: At most 10 of each kind; none for a valid table.
        notes: Harmless peculiarities, and what could not be checked.
        summary: Numbers of images, pixels and labels.
    """

    problems: tuple[Problem, ...]
    notes: tuple[str, ...]
    summary: str

    @property
    def valid(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems

    def __str__(self) -> str:
        verdict = "valid" if self.valid else "not valid"
        notes = (f"note: {note}" for note in self.notes)
        return "\n".join([f"{verdict}: {self.summary}", *map(str, self.problems), *notes])


def validate(
    path: Path, edition: Edition, *, images: Path | None = None, allow_empty: bool = False
) -> Report:
    """Check a label table against the layout of an edition, strictly and to the last line.

    Windows line ends, quotes and a byte order mark cannot be misread, so they are notes, not problems.

    Args:
        path: The CSV file.
        edition: What the table must look like.
        images: Folder of the images that the table labels: its columns must be exactly these. Without it,
            the number of columns must be that of the edition's test or training images.
        allow_empty: Accept images without any label, as in a training table with unlabelled images.

    Returns:
        All problems, up to 10 of each kind.

    Raises:
        InputError: If the file cannot be opened, or `images` is not a folder of numbered images.
    """
    header = read_header(path)
    files = None if images is None else list_images(images)
    if not header.names:
        return Report(header.problems, header.variants, "this is no label table.")
    n_rows = count_rows(path, header)
    labels, found, notes = _read(path, header, n_rows)
    expected = expected_numbers(header.names, edition) if files is None else tuple(files)
    problems = [
        *header.problems,
        *check_columns(header.names),
        *check_numbers(header.names, expected, images),
        *([] if files is None else check_image_sizes(files.values(), edition.side)),
        *check_row_count(n_rows, edition),
        *found,
    ]
    if labels is not None:
        problems += check_labels(labels, header.names, edition, allow_empty=allow_empty)
        empty = [name for name, column in zip(header.names, labels, strict=True) if not column.any()]
        numbers = [number for name in empty if (number := image_number(name)) is not None]
        notes += [f"Without any label: {name_images(numbers)}."] if numbers and allow_empty else []
    if labels is not None and n_rows == edition.n_pixels:
        maps = labels.reshape(len(labels), edition.side, edition.side)
        problems += check_orientation(maps, header.names, {} if files is None else files)
    summary = f"{len(header.names)} images of {n_rows} pixels{_contents(labels)}."
    return Report(tuple(_at_most(MOST_OF_A_KIND, problems)), (*header.variants, *notes), summary)


def _read(
    path: Path, header: TableHeader, n_rows: int
) -> tuple[Annotated[NDArray[np.uint8], "images pixels"] | None, list[Problem], list[str]]:
    """Return the labels, None where some cannot be read; the problems; and notes."""
    labels = np.empty((len(header.names), n_rows), dtype=np.uint8)
    problems: list[Problem] = []
    notes: list[str] = []
    readable, quoted, ended = True, False, True
    for block in scan_table(path, header):
        problems += block.problems
        quoted |= block.quoted
        ended = block.ended
        readable &= block.labels is not None
        if block.labels is not None:
            labels[:, block.first_row : block.first_row + len(block.labels)] = block.labels.T
        if len(problems) >= MOST_FAULTS:
            readable = False
            notes.append(f"There may be more: reading stopped after {len(problems)} problems.")
            break
    if quoted:
        notes.append("Cells stand in quotes.")
    if not ended:
        notes.append("The last line has no end: make sure that the file is not cut off.")
    return labels if readable else None, problems, notes


def _contents(labels: Annotated[NDArray[np.uint8], "images pixels"] | None) -> str:
    """Say what labels a table holds, as the end of a sentence."""
    if labels is None or labels.size == 0:
        return ""
    counts = np.array([np.count_nonzero(np.bincount(column)[1:]) for column in labels])
    share = np.count_nonzero(labels) / labels.size
    return (
        f", {counts.mean():.1f} labels an image ({counts.min()} to {counts.max()}), "
        f"{share:.1%} of the pixels labelled"
    )


def _at_most(limit: int, problems: Iterable[Problem]) -> Iterable[Problem]:
    """Yield the first `limit` problems of each kind."""
    seen: Counter[str] = Counter()
    for problem in problems:
        seen[problem.kind] += 1
        if seen[problem.kind] <= limit:
            yield problem
