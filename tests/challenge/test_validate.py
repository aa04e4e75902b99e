from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from fewct.challenge.editions import EDITIONS, Edition, get_edition
from fewct.challenge.validate import validate
from fewct.errors import InputError, UsageError
from fewct.io.label_table import table as table_module
from fewct.io.label_table.layout import list_images
from fewct.io.label_table.table import read_table, write_table

Labels = NDArray[np.uint8]
Write = Callable[[str], Path]
TableText = Callable[..., str]


def make_images(folder: Path, numbers: list[int], shape: tuple[int, int] = (4, 4)) -> Path:
    folder.mkdir()
    for number in numbers:
        Image.fromarray(np.zeros(shape, np.uint8)).save(folder / f"{number}.png")
    return folder


def test_a_valid_table_says_what_it_holds(text: str, write: Write, edition: Edition) -> None:
    report = validate(write(text), edition)
    assert report.valid
    assert report.notes == ()
    assert str(report) == (
        "valid: 2 images of 16 pixels, 1.5 labels an image (1 to 2), 78.1% of the pixels labelled."
    )


@pytest.mark.parametrize(
    ("damage", "kind", "where", "message"),
    [
        (
            lambda t: t[: t.index("Pixel 12") + 9],
            "field count",
            "line 14",
            "expected 3 cells: the row's name, then a label for each of 2 images, found 2 cells. "
            "The file is cut off here; write it again.",
        ),
        (
            lambda t: t[: t.index("Pixel 12")],
            "row count",
            "line 13, the last",
            "expected 16 pixel rows (4 x 4, edition 2023), found 12, 4 too few. "
            "Write each label map on the pixel grid of its image, all of it.",
        ),
        (
            lambda t: t + "Pixel 16,0,0\n",
            "row count",
            "line 18, the last",
            "expected 16 pixel rows (4 x 4, edition 2023), found 17, 1 too many. "
            "Write each label map on the pixel grid of its image, all of it.",
        ),
        (
            lambda t: t.replace(",", ";"),
            "delimiter",
            "line 1",
            "expected cells parted by commas, found semicolons. "
            "Write the table with commas, as `DataFrame.to_csv` does by default.",
        ),
        (
            lambda t: t.replace(",", "\t"),
            "delimiter",
            "line 1",
            "expected cells parted by commas, found tabs. "
            "Write the table with commas, as `DataFrame.to_csv` does by default.",
        ),
        (
            lambda t: t.replace("Pixel 1,1", "Pixel 1,1.0"),
            "value",
            "line 3, column 0.png",
            'expected a whole number from 0 to 255, found "1.0". Write labels as uint8, 0 for background.',
        ),
        (
            lambda t: t.replace("Pixel 1,1,255", "Pixel 1,1,256"),
            "value",
            "line 3, column 1.png",
            'expected a whole number from 0 to 255, found "256". Write labels as uint8, 0 for background.',
        ),
        (
            lambda t: t.replace("Pixel 1,1,255", "Pixel 1,,255"),
            "value",
            "line 3, column 0.png",
            "expected a whole number from 0 to 255, found an empty cell. "
            "Write labels as uint8, 0 for background.",
        ),
        (
            lambda t: t.replace("Pixel 2,", "\nPixel 2,"),
            "field count",
            "line 4",
            "expected 3 cells: the row's name, then a label for each of 2 images, found an empty line. "
            "Write one label an image.",
        ),
        (
            lambda t: t.replace("Pixel 5,", "Pixel 6,"),
            "row name",
            "line 7",
            'expected Pixel 5, found "Pixel 6". Name the pixels 0, 1, 2, ... in C order, none left out.',
        ),
        (
            lambda t: t.replace("1.png", "1.PNG"),
            "column name",
            "line 1, column 3",
            'expected an image name such as 1.png, found "1.PNG". '
            "Name each column after its image: its number without leading zeros, then .png.",
        ),
        (
            lambda t: t.replace("1.png", "0.png"),
            "doubled column",
            "line 1, columns 2, 3",
            "expected one column an image, found 0.png 2 times. Keep one of them.",
        ),
        (
            lambda t: t.replace("0.png,1.png", "1.png,0.png"),
            "column order",
            "line 1, column 3",
            "expected columns in the order of the images' numbers, found 0.png after 1.png. "
            "Sort the columns by number: 2.png comes before 10.png.",
        ),
        (
            lambda t: t.replace("1.png", "3.png"),
            "missing column",
            "line 1",
            "expected 4 images, 0.png to 3.png, found no column for 1.png, 2.png. Write one column for each "
            "image of the edition; for a set of your own, name the folder of its images.",
        ),
        (
            lambda t: t.replace(",0.png", "index,0.png"),
            "header",
            "line 1",
            'expected an empty first cell, found "index". '
            "Leave the header of the row names empty, as `DataFrame.to_csv` does by default.",
        ),
        (
            lambda t: "\n".join(line.split(",")[0] for line in t.splitlines()[1:]),
            "header",
            "line 1",
            "expected an empty cell, then the images, found one cell. "
            "Write one column an image after the column of row names.",
        ),
        (
            lambda _: "",
            "encoding",
            "line 1",
            "expected a header of text, found nothing. "
            "Save the table as plain UTF-8 text, as `DataFrame.to_csv` does by default.",
        ),
        (
            lambda t: t.replace("\n", "\r"),
            "encoding",
            "line 1",
            "expected lines that end with LF or CR LF, found another line end, or one line only. "
            "The file is cut off, or comes from an old Mac; write it again.",
        ),
    ],
)
def test_each_problem_has_its_place_and_message(
    damage: Callable[[str], str],
    kind: str,
    where: str,
    message: str,
    text: str,
    write: Write,
    edition: Edition,
) -> None:
    report = validate(write(damage(text)), edition)
    assert (kind, where, message) in [(p.kind, p.where, p.message) for p in report.problems]
    assert not report.valid


def test_a_transposed_table_is_not_read_at_all(maps: Labels, write: Write, edition: Edition) -> None:
    header = "," + ",".join(f"Pixel {k}" for k in range(16))
    rows = [f"{i}.png," + ",".join(map(str, labels.ravel())) for i, labels in enumerate(maps)]
    report = validate(write("\n".join([header, *rows]) + "\n"), edition)
    assert [str(problem) for problem in report.problems] == [
        "line 1: expected images in columns, found pixels in columns. "
        "Transpose it: reading it as it is would scramble the pixels across images."
    ]


@pytest.mark.parametrize(
    "content", ["\ufeff,0.png\n".encode("utf-16"), b"\x1f\x8b\x08\xff\xff\n", b",0\0.png\n"]
)
def test_other_encodings_are_refused(content: bytes, tmp_path: Path, edition: Edition) -> None:
    (tmp_path / "y.csv").write_bytes(content)
    (problem,) = validate(tmp_path / "y.csv", edition).problems
    assert str(problem).startswith("line 1: expected a header of text, found bytes that are not UTF-8 text.")


@pytest.mark.parametrize(
    ("variant", "note"),
    [
        (lambda t: t.replace("\n", "\r\n"), "The lines end as on Windows (CR LF)."),
        (lambda t: "\ufeff" + t, "The file starts with a byte order mark."),
        (lambda t: t.replace("0.png", '"0.png"'), "Column names stand in quotes."),
        (lambda t: t.replace("Pixel 3", '"Pixel 3"'), "Cells stand in quotes."),
        (lambda t: t.removesuffix("\n"), "The last line has no end: make sure that the file is not cut off."),
    ],
)
def test_harmless_variants_are_valid_with_a_note(
    variant: Callable[[str], str], note: str, text: str, write: Write, edition: Edition
) -> None:
    report = validate(write(variant(text)), edition)
    assert report.valid
    assert report.notes == (note,)
    assert str(report).endswith(f"note: {note}")


def test_all_problems_are_told_at_once(text: str, write: Write, edition: Edition) -> None:
    damaged = text.replace("1.png", "1.PNG").replace("Pixel 3,1,", "Pixel 3,x,").replace("Pixel 7", "Pixel 9")
    report = validate(write(damaged + "Pixel 16,0,0\n"), edition)
    kinds = {problem.kind for problem in report.problems}
    assert kinds == {"column name", "missing column", "row count", "value", "row name"}


def test_a_row_left_out_is_one_problem_even_between_blocks(
    text: str, write: Write, edition: Edition, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = text.splitlines(keepends=True)
    for size in (1, 30, 10_000):
        monkeypatch.setattr(table_module, "BLOCK_BYTES", size)
        report = validate(write("".join(lines[:6] + lines[7:])), edition)
        assert [p.where for p in report.problems if p.kind == "row name"] == ["line 7"]


def test_at_most_ten_of_a_kind_and_reading_stops(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_module, "BLOCK_BYTES", 1500)
    side = 20
    rows = "".join(f"Pixel {k},1.0\n" for k in range(side * side))
    report = validate(write(",0.png\n" + rows), Edition("2023", side, n_train=4, n_labelled=3, n_test=1))
    assert [problem.kind for problem in report.problems] == ["value"] * 10
    assert report.notes == ("There may be more: reading stopped after 100 problems.",)


def test_empty_columns_must_be_allowed(
    maps: Labels, table_text: TableText, write: Write, edition: Edition
) -> None:
    maps[1] = 0
    path = write(table_text(maps))
    report = validate(path, edition)
    (problem,) = report.problems
    assert report.notes == ()
    assert str(problem) == (
        "column 1.png: expected at least one label, found 0 in all pixels. "
        "Predict this image, or allow empty images where some are unlabelled on purpose."
    )
    allowed = validate(path, edition, allow_empty=True)
    assert allowed.valid
    assert allowed.notes == ("Without any label: 1.png.",)


def test_classes_beyond_the_edition_are_named(text: str, write: Write, edition: Edition) -> None:
    (problem,) = validate(write(text), replace(edition, n_classes=54)).problems
    assert str(problem) == (
        "line 2, column 1.png: expected a class from 0 to 54, found labels up to 255. "
        "Edition 2023 has 54 classes; use their numbers."
    )


def test_columns_are_checked_against_the_images(
    tmp_path: Path, text: str, write: Write, edition: Edition
) -> None:
    path = write(text)
    assert validate(path, edition, images=make_images(tmp_path / "right", [0, 1])).valid
    (problem,) = validate(path, edition, images=make_images(tmp_path / "other", [1, 2, 10])).problems[:1]
    assert problem.kind == "missing column"
    assert "expected 3 images, 1.png, 2.png, 10.png, found no column for 2.png, 10.png" in problem.message
    report = validate(path, edition, images=make_images(tmp_path / "fewer", [0]))
    assert [p.kind for p in report.problems] == ["extra column"]
    assert "expected only 1 images, 0.png, found columns for 1.png too" in report.problems[0].message


@pytest.mark.parametrize(
    ("shape", "found"), [((4, 3), "a non-square image of 4 x 3"), ((2, 2), "an image of 2 x 2")]
)
def test_label_maps_must_have_the_size_of_their_images(
    shape: tuple[int, int], found: str, tmp_path: Path, text: str, write: Write, edition: Edition
) -> None:
    report = validate(write(text), edition, images=make_images(tmp_path / "images", [0, 1], shape))
    assert [str(problem) for problem in report.problems] == [
        f"{number}.png: expected 4 x 4 pixels, found {found}. "
        "A label map has the pixels of its image: use the edition's own images."
        for number in (0, 1)
    ]


def test_two_images_of_one_number_are_refused(tmp_path: Path) -> None:
    folder = make_images(tmp_path / "images", [1])
    (folder / "01.png").write_bytes((folder / "1.png").read_bytes())
    with pytest.raises(InputError, match=r"expected one image a number, found 01\.png and 1\.png"):
        list_images(folder)


@pytest.mark.parametrize("name", ["1.PNG", "a.png", "01.png"])
def test_images_need_the_challenges_names(name: str, tmp_path: Path) -> None:
    folder = make_images(tmp_path / "images", [0])
    (folder / "0.png").rename(folder / name)
    with pytest.raises(InputError, match=rf'expected an image name such as 1\.png, found "{name}"'):
        list_images(folder)


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected images named 0\.png, 1\.png, \.\.\., found none"):
        list_images(tmp_path)
    with pytest.raises(InputError, match="expected a folder of images, found no such folder"):
        list_images(tmp_path / "none")


def test_a_damaged_image_is_named(tmp_path: Path, text: str, write: Write, edition: Edition) -> None:
    folder = make_images(tmp_path / "images", [0, 1])
    (folder / "1.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"1\.png: expected a whole PNG image"):
        validate(write(text), edition, images=folder)


def test_images_are_sorted_as_numbers(tmp_path: Path) -> None:
    folder = make_images(tmp_path / "images", [10, 2, 1])
    (folder / "notes.txt").touch()
    assert [path.name for path in list_images(folder).values()] == ["1.png", "2.png", "10.png"]


@pytest.mark.parametrize(
    ("turn", "name"),
    [
        (np.transpose, "transposed"),
        (lambda labels: np.rot90(labels, 1), "rotated by 270 degrees"),
        (lambda labels: np.rot90(labels, 2), "rotated by 180 degrees"),
        (lambda labels: np.rot90(labels, 3), "rotated by 90 degrees"),
    ],
)
def test_turned_label_maps_are_noticed(
    turn: Callable[[Labels], Labels], name: str, example: Path, small_edition: Edition, tmp_path: Path
) -> None:
    truth = read_table(example / "Y_test.csv")
    turned = np.stack([turn(labels) for labels in truth.labels])
    write_table(tmp_path / "y.csv", turned)
    (problem,) = validate(tmp_path / "y.csv", small_edition, images=example / "test").problems
    assert str(problem) == (
        "all columns: expected label maps that stand as their images do, found label maps that fit the "
        f"images' edges when {name}. Flatten each label map row by row (C order), in the orientation of its "
        "image."
    )


def test_editions_are_those_of_the_challenge() -> None:
    assert {name: (e.n_pixels, e.n_train, e.n_test, e.max_label) for name, e in EDITIONS.items()} == {
        "2023": (262144, 1000, 500, 255),
        "2024": (262144, 2000, 500, 255),
        "2025": (65536, 2000, 500, 54),
    }
    with pytest.raises(UsageError, match='edition: expected one of 2023, 2024, 2025, found "2022"'):
        get_edition("2022")


def test_a_doubled_column_is_in_order(text: str, write: Write, edition: Edition) -> None:
    report = validate(write(text.replace("1.png", "0.png")), edition)
    assert {problem.kind for problem in report.problems} == {"doubled column", "missing column"}


def test_contents_of_a_table_that_cannot_be_read_are_not_told(
    text: str, write: Write, edition: Edition, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_module, "BLOCK_BYTES", 30)
    for damaged in (text.replace("Pixel 1,1,", "Pixel 1,x,"), text.replace("Pixel 14,0,", "Pixel 14,x,")):
        report = validate(write(damaged), edition)
        assert [problem.kind for problem in report.problems] == ["value"]
        assert report.summary == "2 images of 16 pixels."


def test_a_header_alone_has_no_open_end(write: Write, edition: Edition) -> None:
    report = validate(write(",0.png,1.png\n"), edition)
    assert {problem.kind for problem in report.problems} == {"row count", "empty column"}
    assert report.notes == ()
