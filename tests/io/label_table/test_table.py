import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fewct.errors import InputError, OutputError
from fewct.io.label_table import table as table_module
from fewct.io.label_table.header import read_header
from fewct.io.label_table.table import as_label_stack, read_table, scan_table, write_table

Labels = NDArray[np.uint8]
Write = Callable[[str], Path]


def test_columns_become_images_in_c_order(write: Write) -> None:
    path = write(",0.png,1.png\nPixel 0,1,9\nPixel 1,2,8\nPixel 2,3,7\nPixel 3,255,0\n")
    table = read_table(path)
    assert table.numbers == (0, 1)
    assert table.labels.dtype == np.uint8
    assert table.labels.flags.c_contiguous
    assert table.labels.tolist() == [[[1, 2], [3, 255]], [[9, 8], [7, 0]]]


def test_images_come_in_the_order_of_their_numbers(write: Write, table_text: Callable[..., str]) -> None:
    maps = np.arange(12, dtype=np.uint8)[:, None, None] * np.ones((1, 2, 2), np.uint8)
    as_text_sorts = sorted(range(12), key=str)
    path = write(table_text(maps[as_text_sorts], [f"{i}.png" for i in as_text_sorts]))
    table = read_table(path)
    assert table.numbers == tuple(range(12))
    np.testing.assert_array_equal(table.labels, maps)


def test_blocks_of_any_size_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.random.default_rng(0).integers(0, 256, (7, 40, 40)).astype(np.uint8)
    write_table(tmp_path / "whole.csv", labels)
    with (tmp_path / "whole.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["", *(f"{i}.png" for i in range(7))]
    assert [row[0] for row in rows[1:]] == [f"Pixel {k}" for k in range(1600)]
    cells = np.array([row[1:] for row in rows[1:]], dtype=int)
    np.testing.assert_array_equal(cells.T.reshape(7, 40, 40), labels)
    monkeypatch.setattr(table_module, "BLOCK_BYTES", 100)
    write_table(tmp_path / "in_blocks.csv", labels)
    assert (tmp_path / "in_blocks.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    np.testing.assert_array_equal(read_table(tmp_path / "in_blocks.csv").labels, labels)


def test_numbers_may_come_in_any_order(tmp_path: Path, maps: Labels) -> None:
    write_table(tmp_path / "y.csv", maps, [10, 2])
    assert (tmp_path / "y.csv").read_text().splitlines()[0] == ",2.png,10.png"
    table = read_table(tmp_path / "y.csv")
    assert table.numbers == (2, 10)
    np.testing.assert_array_equal(table.labels, maps[::-1])


@pytest.mark.parametrize(
    "variant",
    [
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "\ufeff" + text,
        lambda text: "\n".join(",".join(f'"{c}"' for c in line.split(",")) for line in text.splitlines()),
        lambda text: text.removesuffix("\n"),
    ],
    ids=["windows line ends", "byte order mark", "quotes", "open last line"],
)
def test_harmless_variants_read_the_same(
    variant: Callable[[str], str], text: str, maps: Labels, write: Write
) -> None:
    np.testing.assert_array_equal(read_table(write(variant(text))).labels, maps)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda _: "", r"y\.csv, line 1: expected a header of text, found nothing"),
        (lambda t: t.replace(",", ";"), r"line 1: expected cells parted by commas, found semicolons"),
        (
            lambda t: t.replace("1.png", "1.PNG"),
            r'line 1, column 3: expected an image name .*, found "1\.PNG"',
        ),
        (
            lambda t: t.replace("1.png", "0.png"),
            r"line 1, columns 2, 3: expected one column an image, found 0\.png 2",
        ),
        (
            lambda t: t[: t.index("Pixel 10")],
            r"expected as many pixel rows as a square image .*, found 10 rows",
        ),
        (
            lambda t: t[: t.index("Pixel 15") + 9],
            r"line 17: expected 3 cells: .*found 2 cells. The file is cut off",
        ),
        (lambda t: t.replace("Pixel 3,1,", "Pixel 3,1.5,"), r'line 5, column 0\.png: .*, found "1\.5"'),
        (lambda t: t.replace("Pixel 3", "Pixel 4"), r'line 5: expected Pixel 3, found "Pixel 4"'),
        (lambda t: t.replace("Pixel", "Pixl"), r'line 2: expected Pixel 0, found "Pixl 0"'),
    ],
)
def test_what_cannot_be_read_is_refused(
    damage: Callable[[str], str], message: str, text: str, write: Write
) -> None:
    with pytest.raises(InputError, match=message):
        read_table(write(damage(text)))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.csv: expected a label table .*no such file"):
        read_table(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros((4, 4), int), r"expected square label maps .*, found shape \(4, 4\)"),
        (np.zeros((1, 4, 5), int), r"found shape \(1, 4, 5\)"),
        (np.zeros((0, 4, 4), int), r"found shape \(0, 4, 4\)"),
        (np.zeros((1, 4, 4), float), r"expected integers, found dtype float64"),
        (np.full((1, 4, 4), 256), r"expected labels from 0 to 255, .*, found labels from 256 to 256"),
        (np.full((1, 4, 4), -1), r"found labels from -1 to -1"),
    ],
)
def test_only_square_maps_of_8_bits_fit(labels: NDArray[np.int64], message: str) -> None:
    with pytest.raises(InputError, match=message):
        as_label_stack(labels)


@pytest.mark.parametrize("numbers", [[0], [1, 1], [-1, 0]])
def test_each_image_needs_its_own_number(numbers: list[int], maps: Labels, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected 2 different numbers from 0 up"):
        write_table(tmp_path / "y.csv", maps, numbers)


def test_a_table_is_written_whole_or_not_at_all(
    tmp_path: Path, maps: Labels, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "y.csv"
    path.write_text("before")

    def full_disk(*_: object) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(table_module, "format_rows", full_disk)
    with pytest.raises(OutputError, match="no space left"):
        write_table(path, maps)
    assert path.read_text() == "before"
    assert [entry.name for entry in tmp_path.iterdir()] == ["y.csv"]


def test_blocks_tell_of_quotes_and_open_ends(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_module, "BLOCK_BYTES", 1)
    path = write(',0.png\nPixel 0,1\n"Pixel 1",2\nPixel 2,3')
    blocks = list(scan_table(path, read_header(path)))
    assert [block.first_row for block in blocks] == [0, 1, 2]
    assert [block.quoted for block in blocks] == [False, True, False]
    assert [block.ended for block in blocks] == [True, True, False]


def test_labels_that_no_table_holds_are_told_from_lowest_to_highest() -> None:
    with pytest.raises(InputError, match=r"expected labels from 0 to 255, .* found labels from -3 to 9"):
        as_label_stack(np.array([[[0, 9], [-3, 1]]]))


def test_a_path_may_be_text(tmp_path: Path, maps: Labels) -> None:
    write_table(f"{tmp_path / 'y.csv'}", maps)
    np.testing.assert_array_equal(read_table(f"{tmp_path / 'y.csv'}").labels, maps)
