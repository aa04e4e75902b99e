"""Small holes and islands, and large regions, of masks of any shape."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from fewct.methods.sam.mask_generator.small_regions import without_large_regions, without_small_regions

PROPERTY = settings(max_examples=40)
masks_of_any_shape = npst.arrays(np.bool_, npst.array_shapes(min_dims=2, max_dims=2, max_side=8))


@PROPERTY
@given(masks_of_any_shape, st.integers(1, 10))
def test_small_regions_are_gone(mask: NDArray[np.bool_], area: int) -> None:
    cleaned = without_small_regions(mask, area)
    again = without_small_regions(cleaned, area)
    assert np.array_equal(again, cleaned)
    assert cleaned.any() or not mask.any()
    assert np.array_equal(without_small_regions(mask, 0), mask)


@PROPERTY
@given(masks_of_any_shape, st.integers(0, 10))
def test_large_regions_are_gone(mask: NDArray[np.bool_], area: int) -> None:
    left = without_large_regions(mask, area)
    assert not (left & ~mask).any()
    assert np.array_equal(without_large_regions(left, area), left)
    assert np.array_equal(without_large_regions(mask, mask.size), mask)


def test_corners_connect() -> None:
    mask = np.eye(3, dtype=bool)
    assert without_large_regions(mask, 3).sum() == 3
    assert without_large_regions(mask, 2).sum() == 0


def test_holes_and_islands_of_the_area_itself_stay() -> None:
    mask = np.zeros((7, 12), dtype=bool)
    mask[1:6, 1:6] = True
    mask[2, 2:4] = False  # a hole of 2 pixels
    mask[4, 2:5] = False  # of 3
    mask[1, 8:10] = True  # an island of 2
    mask[4, 8:11] = True  # of 3
    cleaned = without_small_regions(mask, 3)
    changed = np.zeros_like(mask)
    changed[2, 2:4] = changed[1, 8:10] = True
    np.testing.assert_array_equal(cleaned != mask, changed)
    largest = without_small_regions(mask[:, 7:], 4)
    np.testing.assert_array_equal(largest, mask[:, 7:] & (np.arange(7) > 2)[:, None])
