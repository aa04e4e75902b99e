import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewct.io.label_table.cells import format_rows, parse_rows
from fewct.io.label_table.faults import find_faults, last_shift
from fewct.io.label_table.layout import row_number, split_cells

NAMES = ("0.png", "1.png", "2.png")


def obvious_parse(text: bytes) -> tuple[int, list[list[int]]] | None:
    """Parse rows cell by cell."""
    rows = [split_cells(line) for line in text.removesuffix(b"\n").split(b"\n")]
    first = row_number(rows[0][0])
    if first is None:
        return None
    labels = []
    for number, (name, *cells) in enumerate(rows, start=first):
        whole = all(re.fullmatch("[0-9]{1,3}", cell) and int(cell) < 256 for cell in cells)
        if name != f"Pixel {number}" or len(cells) != len(NAMES) or not whole:
            return None
        labels.append([int(cell) for cell in cells])
    return first, labels


@st.composite
def damaged_rows(draw: st.DrawFn) -> bytes:
    """Rows of a table, with up to three characters changed, left out or put in."""
    first = draw(st.sampled_from([0, 8, 98]))
    labels = draw(st.lists(st.tuples(*[st.integers(0, 255)] * 3), min_size=1, max_size=4))
    text = "".join(f"Pixel {first + i},{a},{b},{c}\n" for i, (a, b, c) in enumerate(labels))
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(text)))
        gone = draw(st.integers(0, 2))
        text = text[:place] + draw(st.sampled_from(["", *'0123456789,\n"\r. -+/éx'])) + text[place + gone :]
    return text.encode() or b"\n"


@settings(max_examples=600)
@given(damaged_rows())
def test_fast_parser_agrees_with_the_obvious_one_and_fails_only_with_a_reason(text: bytes) -> None:
    fast, slow = parse_rows(text, len(NAMES)), obvious_parse(text)
    assert (fast is None) == (slow is None)
    if fast is not None and slow is not None:
        assert fast[0] == slow[0]
        assert fast[1].tolist() == slow[1]
        assert fast[1].dtype == np.uint8
    shift = row_number(split_cells(text.split(b"\n")[0])[0]) or 0
    assert (fast is None) == any(find_faults(text, NAMES, first_row=0, shift=shift))


@settings(max_examples=50)
@given(st.integers(1, 5), st.integers(0, 200))
def test_rows_survive_writing_and_parsing(n_columns: int, first_row: int) -> None:
    rng = np.random.default_rng(first_row)
    labels = rng.integers(0, 256, (7, n_columns)).astype(np.uint8)
    parsed = parse_rows(format_rows(labels, first_row), n_columns)
    assert parsed is not None
    assert parsed[0] == first_row
    np.testing.assert_array_equal(parsed[1], labels)


@pytest.mark.parametrize(
    "cell",
    ["256", "999", "0007", "1000", "/", "1/", "/1", "1/2", "-1", "1.0", "", " 1", "+1", "1e1", "NaN", "12 "],
)
def test_only_plain_numbers_up_to_255_are_labels(cell: str) -> None:
    assert parse_rows(f"Pixel 0,1,{cell},3\n".encode(), 3) is None


@pytest.mark.parametrize(
    "text",
    [
        b"Pixel 8,0,12\r\nPixel 9,255,3\r\n",
        b'"Pixel 8","0",12\n"Pixel 9",255,3\n',
        b"Pixel 8,0,12\nPixel 9,255,3",
        b'"Pixel 8",0,12\r\nPixel 9,255,3\r',
    ],
)
def test_harmless_variants_are_parsed(text: bytes) -> None:
    parsed = parse_rows(text, 2)
    assert parsed is not None
    assert parsed[0] == 8
    assert parsed[1].tolist() == [[0, 12], [255, 3]]


@pytest.mark.parametrize(
    ("text", "shift", "expected"),
    [
        (b"Pixel 7,1\nPixel 9,2\n", 0, 1),  # the last row stands for number 8
        (b"Pixel 7,1\nPixel 9,2\n", 1, 1),
        (b"Pixel 7,1\nPixel 8,2", 1, 0),
        (b"Pixel 8,1\nx,2\n", 3, 3),
    ],
)
def test_the_last_row_tells_by_how_much_rows_are_shifted(text: bytes, shift: int, expected: int) -> None:
    assert last_shift(text, last_row=8, shift=shift) == expected


def test_format_takes_a_transposed_view() -> None:
    columns = np.array([[0, 255], [12, 3]], dtype=np.uint8)
    assert format_rows(columns.T, 8) == b"Pixel 8,0,12\nPixel 9,255,3\n"


def test_what_is_no_text_is_no_row() -> None:
    assert parse_rows(b"\xff 0,1\n", 1) is None
    assert split_cells(b"\xff,1\r") == ["\ufffd", "1"]
