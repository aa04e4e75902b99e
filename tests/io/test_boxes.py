"""Boxes from CSV and JSON."""

from pathlib import Path

import numpy as np
import pytest

from fewct.errors import InputError
from fewct.io.boxes import read_boxes
from fewct.types import CTSlice, CTVolume, Provenance


def named(name: str, suffix: str = ".png") -> Provenance:
    return Provenance(Path(f"in/{name}{suffix}"), "image", name)


def a_slice(name: str) -> CTSlice:
    return CTSlice(np.zeros((8, 8)), "grey", source=named(name))


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_csv_by_name_and_by_file(tmp_path: Path) -> None:
    text = "note,x0,y0,x1,y1, image\nliver,1,2,3.5,4,a\n,0,0,8,8,b.png\n\n,2,2,4,4,a\n"
    table = read_boxes(write(tmp_path / "boxes.csv", text))
    assert table.boxes_of(a_slice("a")).tolist() == [[1, 2, 3.5, 4], [2, 2, 4, 4]]
    assert table.boxes_of(a_slice("b")).tolist() == [[0, 0, 8, 8]]


def test_a_byte_order_mark_does_not_matter(tmp_path: Path) -> None:
    table = read_boxes(write(tmp_path / "boxes.csv", "\ufeffimage,x0,y0,x1,y1\na,1,2,3,4\n"))
    assert table.images == {"a"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("boxes.csv", "image,slice,x0,y0,x1,y1\nscan,1,1,2,3,4\nscan,2,0,0,8,8\n"),
        ("boxes.json", '{"scan": {"1": [[1, 2, 3, 4]], "2": [[0, 0, 8, 8]]}}'),
    ],
)
def test_slices_of_a_scan(tmp_path: Path, name: str, text: str) -> None:
    table = read_boxes(write(tmp_path / name, text))
    volume = CTVolume.from_array(np.zeros((3, 8, 8)), "hu", source=named("scan", ".nii"))
    assert [table.boxes_of(plane).tolist() for plane in volume] == [[], [[1, 2, 3, 4]], [[0, 0, 8, 8]]]
    with pytest.raises(InputError, match=r"scan: expected no slice, for an image of one"):
        table.boxes_of(a_slice("scan"))


def test_a_scan_needs_slices(tmp_path: Path) -> None:
    table = read_boxes(write(tmp_path / "boxes.csv", "image,x0,y0,x1,y1\nscan,1,2,3,4\n"))
    volume = CTVolume.from_array(np.zeros((3, 8, 8)), "hu", source=named("scan", ".nii"))
    with pytest.raises(InputError, match=r"boxes\.csv, scan: expected a slice for each box.*count from 0"):
        table.boxes_of(volume[0])


def test_an_image_without_boxes(tmp_path: Path) -> None:
    table = read_boxes(write(tmp_path / "boxes.json", '{"a": []}'))
    assert table.boxes_of(a_slice("a")).shape == (0, 4)


def test_an_image_that_is_not_told_of(tmp_path: Path) -> None:
    table = read_boxes(write(tmp_path / "boxes.csv", "image,x0,y0,x1,y1\na,1,2,3,4\n"))
    with pytest.raises(InputError, match=r"expected boxes of the image c or c\.png, found a\. "):
        table.boxes_of(a_slice("c"))
    with pytest.raises(InputError, match="expected boxes of the image that has no name"):
        table.boxes_of(CTSlice(np.zeros((8, 8)), "grey"))


CSV = "image,slice,x0,y0,x1,y1\n"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("b.csv", "", "found no column image, x0, y0, x1, y1 in: an empty file"),
        ("b.csv", "image;x0;y0\n", "found no column image, x0, y0, x1, y1 in: image;x0;y0"),
        ("b.csv", CSV + "a,,1,2,3,4\na,,5,2,3,4\n", r"b\.csv, line 3: expected x0 < x1 .*found 5, 2, 3, 4"),
        ("b.csv", CSV + "a,,1,2,nan,4\n", "line 2: expected four finite numbers"),
        ("b.csv", CSV + "a,,1,2,x,4\n", "line 2: expected four finite numbers"),
        ("b.csv", CSV + "a,,1,2,3\n", "line 2: expected four finite numbers"),
        ("b.csv", CSV + ",,1,2,3,4\n", "line 2: expected the name of an image, found none"),
        ("b.csv", CSV + "a,-1,1,2,3,4\n", "line 2: expected a slice: a whole number, 0 or more, found '-1'"),
        ("b.json", "{", r"b\.json: expected a CSV with the columns"),
        ("b.json", "[]", "found JSON of a list"),
        ("b.json", '{"a": 3}', "b.json, a: expected four finite numbers"),
        ("b.json", '{"a": [[1, 2, 3, 4], [1, 2, Infinity, 4]]}', "a, box 2: expected four finite numbers"),
        ("b.json", '{"a": [[1, 2, 3]]}', "a, box 1: expected four finite numbers"),
        ("b.json", '{"a": {"first": [[1, 2, 3, 4]]}}', "a, slice first: expected a slice: a whole number"),
        ("b.json", '{"a": {"1": [[3, 2, 1, 4]]}}', "a, slice 1, box 1: expected x0 < x1"),
    ],
)
def test_bad_files(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_boxes(write(tmp_path / name, text))


def test_files_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00")
    for name in ("b.csv", "absent.csv"):
        with pytest.raises(InputError, match=f"{name}: expected a CSV"):
            read_boxes(tmp_path / name)
