"""Rows of a label table, from text to uint8, without a loop over cells.

A label is one to three digits and one separator. Tens are added to the digit after them. Once the row names
and all digits but the last of each label are taken out of the text, every cell is two bytes, so that cells
can be counted and checked as an array. Hundreds, few in label maps, are added then.
"""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from fewct.io.label_table.layout import row_number, split_cells

ZERO, COMMA, NEWLINE = b"0,\n"
COMMA_VALUE, NEWLINE_VALUE = COMMA - ZERO + 256, NEWLINE - ZERO + 256
DROPPED = np.uint8(255)


def parse_rows(
    text: bytes, n_columns: int
) -> tuple[int, Annotated[NDArray[np.uint8], "pixels images"]] | None:
    r"""Parse consecutive rows.

    Args:
        text: Whole lines: `Pixel 12,0,0,3` and so on.
        n_columns: Number of labels of each row.

    Returns:
        The number in the first row's name, and the labels, uint8 (pixels, images); None if
        the names do not count on from it, or if any cell is not a number from 0 to 255 in plain digits.

    Example:
        >>> parse_rows(b"Pixel 8,0,12\nPixel 9,255,3\n", 2)
        (8, array([[  0,  12],
               [255,   3]], dtype=uint8))
        >>> parse_rows(b"Pixel 8,0,256\n", 2) is None
        True
    """
    plain = _plain(text)
    characters = np.frombuffer(plain, dtype=np.uint8)
    first_row = row_number(plain[: plain.find(b",")].decode("utf-8", errors="replace"))
    in_names = None if first_row is None else _find_names(characters, first_row)
    if first_row is None or in_names is None:
        return None
    packed = bytearray(plain)
    values = np.frombuffer(packed, dtype=np.uint8)
    values -= ZERO
    values[in_names] = DROPPED
    digit = values <= 9
    leading = digit[:-1] & digit[1:]
    hundreds = np.flatnonzero(leading[:-1] & leading[1:])
    n_separators = len(plain) - len(in_names) - np.count_nonzero(digit)
    tens = values[:-1] * leading
    tens *= 10
    values[1:] += tens
    values[:-1] |= np.multiply(leading, DROPPED, out=tens)
    cells = np.frombuffer(packed.translate(None, delete=bytes([DROPPED])), dtype=np.uint8)
    if len(cells) != 2 * n_separators or n_separators % n_columns:
        return None
    cells = cells.reshape(-1, n_columns, 2)
    if (cells[:, :-1, 1] != COMMA_VALUE).any() or (cells[:, -1, 1] != NEWLINE_VALUE).any():
        return None
    labels = cells[:, :, 0].copy()
    if len(hundreds) and not _add_hundreds(labels.reshape(-1), digit, in_names, hundreds, characters):
        return None
    return first_row, labels


def format_rows(labels: Annotated[NDArray[np.uint8], "pixels images"], first_row: int) -> bytes:
    r"""Return rows as text.

    Args:
        labels: uint8 (pixels, images).

    Example:
        >>> format_rows(np.array([[0, 12], [255, 3]], dtype=np.uint8), 8)
        b'Pixel 8,0,12\nPixel 9,255,3\n'
    """
    n_rows = len(labels)
    names = np.array([b"Pixel %d" % row for row in range(first_row, first_row + n_rows)])
    cells = np.array([b",%d" % label for label in range(256)])[np.ascontiguousarray(labels)]
    parts = (names[:, None], cells, np.full((n_rows, 1), b"\n"))
    padded = np.hstack([part.view(np.uint8).reshape(n_rows, -1) for part in parts])
    return padded.tobytes().translate(None, delete=b"\0")


def _plain(text: bytes) -> bytes:
    """Return rows without the variants that cannot be misread: quotes, Windows line ends, an open end."""
    if b'"' in text:
        rows = map(split_cells, text.removesuffix(b"\n").split(b"\n"))
        text = "\n".join(",".join(cell.replace(",", "?") for cell in cells) for cells in rows).encode()
    if b"\r" in text:
        text = text.replace(b"\r\n", b"\n").removesuffix(b"\r")
    return text if text.endswith(b"\n") else text + b"\n"


def _find_names(characters: NDArray[np.uint8], first_row: int) -> NDArray[np.int64] | None:
    """Return the positions of the row names and the comma after each; None if they are not in order."""
    ends = np.flatnonzero(characters == NEWLINE)
    names = [b"Pixel %d," % row for row in range(first_row, first_row + len(ends))]
    lengths = np.fromiter(map(len, names), dtype=np.int64, count=len(names))
    starts = np.concatenate([[0], ends[:-1] + 1])
    where = np.repeat(starts - (np.cumsum(lengths) - lengths), lengths)
    where += np.arange(len(where))
    if where[-1] >= len(characters) or characters[where].tobytes() != b"".join(names):
        return None
    return where


def _add_hundreds(
    labels: NDArray[np.uint8],
    digit: NDArray[np.bool_],
    in_names: NDArray[np.int64],
    hundreds: NDArray[np.int64],
    characters: NDArray[np.uint8],
) -> bool:
    """Add the digits at some places, in hundreds, to their labels; False if one has four, or passes 255."""
    if (np.diff(hundreds) == 1).any():
        return False
    separates = ~digit
    separates[in_names] = False
    label_of = np.searchsorted(np.flatnonzero(separates), hundreds)
    sums = labels[label_of] + 100 * (characters[hundreds] - ZERO).astype(np.int64)
    labels[label_of] = sums
    return bool(sums.max() <= 255)
