"""Mistakes that were made with the challenge's tables: each is made here again, and must not be ours."""

import csv
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fewct.challenge.editions import Edition
from fewct.challenge.validate import validate
from fewct.errors import InputError
from fewct.io.label_table.table import read_table, write_table
from fewct.metrics.rand import adjusted_rand_index

Labels = NDArray[np.uint8]
SIDE = 32


@pytest.fixture
def truth() -> Labels:
    """Twelve label maps, each with a square of its own label at its own place."""
    maps = np.zeros((12, SIDE, SIDE), np.uint8)
    for number, labels in enumerate(maps):
        labels[number : number + 16, 8:24] = number + 1
    return maps


def cells_of(path: Path) -> tuple[list[str], NDArray[np.int64]]:
    """Read a table as data frames do: column names, and cells (pixels, images)."""
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    return header[1:], np.array([row[1:] for row in rows], dtype=np.int64)


def test_reshaping_the_table_as_it_lies_scrambles_pixels_across_images(tmp_path: Path, truth: Labels) -> None:
    write_table(tmp_path / "y.csv", truth)
    _, cells = cells_of(tmp_path / "y.csv")
    defective = cells.reshape(len(truth), SIDE, SIDE)
    assert not np.array_equal(defective, truth)
    assert adjusted_rand_index(truth[3], defective[3]) < 0.1
    np.testing.assert_array_equal(read_table(tmp_path / "y.csv").labels, truth)


def test_a_table_of_scrambled_pixels_is_told(tmp_path: Path, truth: Labels) -> None:
    edition = Edition("2023", SIDE, n_train=20, n_labelled=15, n_test=12)
    write_table(tmp_path / "good.csv", truth)
    assert validate(tmp_path / "good.csv", edition).valid
    scrambled = truth.reshape(12, -1).T.reshape(12, SIDE, SIDE)
    write_table(tmp_path / "scrambled.csv", scrambled)
    (problem,) = validate(tmp_path / "scrambled.csv", edition, allow_empty=True).problems
    assert problem.kind == "scrambled pixels"
    assert problem.message.startswith("expected neighbouring pixels that mostly share their label, found ")


def test_columns_in_text_order_belong_to_other_images(tmp_path: Path, truth: Labels) -> None:
    names = sorted(f"{number}.png" for number in range(12))
    assert names[:3] == ["0.png", "1.png", "10.png"]
    in_text_order = [int(name.removesuffix(".png")) for name in names]
    write_table(tmp_path / "y.csv", truth)
    lines = (tmp_path / "y.csv").read_text().splitlines()
    shuffled = [[line.split(",")[0], *(line.split(",")[1 + i] for i in in_text_order)] for line in lines]
    (tmp_path / "y.csv").write_text("".join(",".join(cells) + "\n" for cells in shuffled))
    _, cells = cells_of(tmp_path / "y.csv")
    defective = cells.T.reshape(12, SIDE, SIDE)
    assert not np.array_equal(defective[2], truth[2])
    np.testing.assert_array_equal(read_table(tmp_path / "y.csv").labels, truth)
    edition = Edition("2023", SIDE, n_train=20, n_labelled=15, n_test=12)
    (problem,) = validate(tmp_path / "y.csv", edition).problems
    assert problem.where == "line 1, column 6"
    assert "found 2.png after 11.png (sorted as text)" in problem.message


def test_labels_beyond_255_never_wrap_round(tmp_path: Path) -> None:
    labels = np.array([[[1, 257], [256, 0]]])
    defective = labels.astype(np.uint8)
    assert defective.tolist() == [[[1, 1], [0, 0]]]
    with pytest.raises(InputError, match="found labels from 0 to 257"):
        write_table(tmp_path / "y.csv", labels)
    assert not (tmp_path / "y.csv").exists()


def test_predictions_of_two_classes_are_refused_instead_of_cut(tmp_path: Path) -> None:
    scores = np.random.default_rng(0).random((3, SIDE, SIDE, 2))
    predicted = scores.argmax(axis=-1)
    defective = (scores.reshape(3, SIDE, 2 * SIDE)[:, :, :SIDE] > 0.5).astype(np.int64)
    assert defective.shape == predicted.shape
    assert (defective != predicted).mean() > 0.3
    with pytest.raises(InputError, match=r"found shape \(3, 32, 32, 2\)"):
        write_table(tmp_path / "y.csv", (scores > 0.5).astype(np.int64))
    with pytest.raises(InputError, match=r"found shape \(3, 32, 64\)"):
        write_table(tmp_path / "y.csv", (scores > 0.5).astype(np.int64).reshape(3, SIDE, 2 * SIDE))
    write_table(tmp_path / "y.csv", predicted)
    np.testing.assert_array_equal(read_table(tmp_path / "y.csv").labels, predicted)
