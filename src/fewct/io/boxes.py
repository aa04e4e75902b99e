"""Boxes of structures by image, from CSV or JSON."""

import csv
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fewct.errors import InputError
from fewct.types import CTSlice

Row: TypeAlias = tuple[str, int | None, list[float]]
"""Name of an image, slice of a scan (None for an image of one slice), and x0, y0, x1, y1."""

BOX = ("x0", "y0", "x1", "y1")
FORM = "a CSV with the columns image, x0, y0, x1, y1 and, for scans, slice; or JSON by image name"
_LISTED = 5


@dataclass(frozen=True, eq=False)
class BoxTable:
    """Boxes of structures on images and slices of scans.

    Args:
        images: Names of the images in the file, also of those without boxes.
    """

    path: Path
    images: frozenset[str]
    rows: tuple[Row, ...]

    def boxes_of(self, image: CTSlice) -> Annotated[NDArray[np.float64], "n 4"]:
        """Return the boxes on a slice.

        Args:
            image: The slice. Its image is looked for by the name that outputs get, then by its file's name.

        Returns:
            float64 (n, 4): x0, y0, x1, y1 in pixels; none where the file lists the image without boxes.

        Raises:
            InputError: If the file does not list the image, or lists slices for an image that is no scan, or
                the reverse.
        """
        source = image.source
        names = () if source is None else (source.name, source.path.name)
        name = next((name for name in names if name in self.images), None)
        if name is None:
            listed = ", ".join(sorted(self.images)[:_LISTED]) + (
                ", ..." if len(self.images) > _LISTED else ""
            )
            raise InputError(
                self.path,
                expected=f"boxes of the image {' or '.join(dict.fromkeys(names)) or 'that has no name'}",
                found=listed or "no image",
                fix="Name images as their files; an image without structures has an empty list in JSON.",
            )
        of_image = [(index, box) for row_name, index, box in self.rows if row_name == name]
        if any((index is None) != (image.index is None) for index, _ in of_image):
            raise InputError(
                f"{self.path}, {name}",
                expected="no slice, for an image of one" if image.index is None else "a slice for each box",
                found="boxes with a slice" if image.index is None else "boxes without one",
                fix="Slices of a scan count from 0, in the order in which fewct reads them.",
            )
        boxes = [box for index, box in of_image if index == image.index]
        return np.array(boxes, dtype=np.float64).reshape(-1, 4)


def read_boxes(path: str | Path) -> BoxTable:
    """Read boxes from CSV or JSON.

    A CSV has a header with `image`, `x0`, `y0`, `x1`, `y1` and, for scans, `slice`; other columns do not
    matter. JSON holds for each image a list of boxes `[x0, y0, x1, y1]`, or for a scan such a list by slice.

    Args:
        path: A file .json, or else a CSV.

    Raises:
        InputError: If it is absent or something else, or a box is not of four finite numbers with x0 < x1 and
            y0 < y1.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "boxes.json"
        >>> _ = file.write_text('{"a": [[1, 2, 30, 40]], "scan": {"7": [[3, 4, 5, 6]]}, "c": []}')
        >>> read_boxes(file).rows
        (('a', None, [1.0, 2.0, 30.0, 40.0]), ('scan', 7, [3.0, 4.0, 5.0, 6.0]))
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from error
    if path.suffix.lower() == ".json":
        images, rows = _from_json(text, path)
    else:
        rows = list(_from_csv(text, path))
        images = {name for name, _, _ in rows}
    return BoxTable(path, frozenset(images), tuple(rows))


def _from_csv(text: str, path: Path) -> Iterator[Row]:
    table = csv.DictReader(text.splitlines())
    header = [name.strip() for name in table.fieldnames or ()]
    table.fieldnames = header
    if missing := [name for name in ("image", *BOX) if name not in header]:
        raise InputError(
            path,
            expected=FORM,
            found=f"no column {', '.join(missing)} in: {', '.join(header) or 'an empty file'}",
            fix="Separate columns by commas and name them in the first line.",
        )
    for record in table:
        place = f"{path}, line {table.line_num}"
        index = (record.get("slice") or "").strip()
        yield (
            _filled((record["image"] or "").strip(), place),
            _slice_index(index, place) if index else None,
            _box([record[name] for name in BOX], place),
        )


def _from_json(text: str, path: Path) -> tuple[set[str], list[Row]]:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise _unreadable(path, error) from error
    if not isinstance(content, dict):
        raise InputError(
            path, expected=FORM, found=f"JSON of a {type(content).__name__}", fix='Write {"NAME": [[...]]}.'
        )
    rows: list[Row] = []
    for name, boxes in content.items():
        by_slice = boxes.items() if isinstance(boxes, dict) else [(None, boxes)]
        for key, listed in by_slice:
            place = f"{path}, {name}" if key is None else f"{path}, {name}, slice {key}"
            index = None if key is None else _slice_index(key, place)
            if not isinstance(listed, list):
                raise _not_a_box(place, listed)
            rows += [(name, index, _box(box, f"{place}, box {i}")) for i, box in enumerate(listed, start=1)]
    return set(content), rows


def _box(values: Any, place: str) -> list[float]:
    try:
        x0, y0, x1, y1 = box = [float(value) for value in values]
    except (TypeError, ValueError) as error:
        raise _not_a_box(place, values) from error
    if not all(map(math.isfinite, box)):
        raise _not_a_box(place, values)
    if x1 <= x0 or y1 <= y0:
        raise InputError(
            place,
            expected="x0 < x1 and y0 < y1",
            found=", ".join(f"{value:g}" for value in box),
            fix="Write x0, y0, x1, y1, not x, y, width, height.",
        )
    return box


def _slice_index(text: str, place: str) -> int:
    if text.isascii() and text.isdigit():
        return int(text)
    raise InputError(
        place, expected="a slice: a whole number, 0 or more", found=repr(text), fix="Count slices from 0."
    )


def _filled(name: str, place: str) -> str:
    if not name:
        fix = "Write it without folders, with or without suffix."
        raise InputError(place, expected="the name of an image", found="none", fix=fix)
    return name


def _not_a_box(place: str, values: Any) -> InputError:
    return InputError(
        place,
        expected="four finite numbers x0, y0, x1, y1, in pixels",
        found=f"{values}",
        fix="Leave out what is not known.",
    )


def _unreadable(path: Path, error: Exception) -> InputError:
    return InputError(
        path,
        expected=FORM,
        found=str(error).splitlines()[0],
        fix="Check the path, and save the file as UTF-8 text.",
    )
