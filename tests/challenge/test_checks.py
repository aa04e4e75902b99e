"""Which images a table should label, by the number of its columns."""

import pytest

from fewct.challenge.checks import expected_numbers
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
