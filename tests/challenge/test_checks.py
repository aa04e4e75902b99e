"""Which images a table should label, and which labels and label maps it may hold."""

from dataclasses import replace

import numpy as np
import pytest

from fewct.challenge.checks import check_labels, check_numbers, check_orientation, expected_numbers
from fewct.challenge.editions import Edition

EDITION = Edition("2023", side=4, n_train=9, n_labelled=3, n_test=5)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["0.png", "1.png", "2.png"], 3),  # the labelled training images
        (["2.png"], 3),  # the last of them
        (["0.png", "1.png"], 5),  # test images, some of which are missing
        (["3.png"], 5),
        (["4.png"], 5),
        (["5.png"], 9),  # beyond the test images
        (["x", "y", "z"], 3),  # as many columns, whatever their names
        (["12.png"], 9),  # beyond all: the largest set
    ],
)
def test_the_smallest_set_with_room_for_the_columns(names: list[str], expected: int) -> None:
    assert expected_numbers(names, EDITION) == tuple(range(expected))


@pytest.mark.parametrize(("flipped", "kinds"), [(40, []), (60, ["scrambled pixels"])])
def test_label_maps_are_scrambled_where_fewer_than_half_of_the_neighbours_agree(
    flipped: int, kinds: list[str]
) -> None:
    """Of 99 pairs down the columns of 100 rows, one disagrees at each row where the label changes."""
    rows = np.cumsum(np.arange(100) * flipped % 100 < flipped) % 2 + 1
    maps = np.repeat(rows[:, None], 5, axis=1)[None].astype(np.uint8)
    assert [problem.kind for problem in check_orientation(maps, ["0.png"], {})] == kinds


def test_the_largest_class_of_the_edition_is_allowed() -> None:
    edition = replace(EDITION, n_classes=54)
    labels = np.array([[0, 54], [0, 55]], np.uint8)
    problems = list(check_labels(labels, ["0.png", "1.png"], edition, allow_empty=False))
    assert [problem.where for problem in problems] == ["line 3, column 1.png"]


def test_of_columns_out_of_order_the_first_is_named() -> None:
    names = ["0.png", "5.png", "1.png", "7.png", "2.png"]
    problems = {p.kind: p for p in check_numbers(names, (0, 1, 2, 5, 7), None)}
    assert list(problems) == ["column order"]
    assert problems["column order"].where == "line 1, column 4"
    assert "found 1.png after 5.png. Sort" in problems["column order"].message
