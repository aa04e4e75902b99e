"""Orientation of label maps against the edges of images made by hand."""

import numpy as np
import pytest
from numpy.typing import NDArray

from fewct.challenge.orientation import better_orientation, neighbour_agreement

Labels = NDArray[np.uint8]


def pair(turned: bool = False) -> tuple[Labels, Labels]:
    """An image of an L, and its label map as it stands or transposed."""
    labels = np.zeros((16, 16), np.uint8)
    labels[2:14, 2:5] = 1
    labels[11:14, 2:8] = 1
    return labels * 100, labels.T if turned else labels


@pytest.mark.parametrize(("n_turned", "found"), [(7, None), (8, None), (9, "transposed"), (10, "transposed")])
def test_nine_of_ten_label_maps_must_fit_better(n_turned: int, found: str | None) -> None:
    assert better_orientation([pair(k < n_turned) for k in range(10)]) == found


@pytest.mark.parametrize(("n", "found"), [(0, None), (3, None), (4, "transposed")])
def test_fewer_than_four_label_maps_tell_nothing(n: int, found: str | None) -> None:
    assert better_orientation([pair(True)] * n) == found


def test_label_maps_that_fit_as_well_when_turned_tell_nothing() -> None:
    labels = np.zeros((16, 16), np.uint8)
    labels[4:12, 4:12] = 1
    assert better_orientation([(labels * 100, labels)] * 6) is None


def test_agreement_is_that_of_the_direction_with_less() -> None:
    stripes = np.repeat(np.array([[1], [2], [1], [2]], np.uint8), 4, axis=1)
    assert neighbour_agreement(stripes[None]) == 0
    assert neighbour_agreement(stripes.T[None]) == 0
    block = np.zeros((4, 4), np.uint8)
    block[:2, :] = 3  # 4 of 8 pairs down the columns with a label agree, 6 of 6 along the rows
    assert neighbour_agreement(block[None]) == 0.5
