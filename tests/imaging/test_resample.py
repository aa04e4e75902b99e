"""Images of another size: nothing moves."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewct.imaging.resample import resize

sides = st.integers(2, 60)


@given(sides, sides, sides, sides)
def test_a_ramp_stays_where_it_is(rows: int, columns: int, new_rows: int, new_columns: int) -> None:
    """A linear ramp is reproduced exactly, away from the ends, whatever the sizes."""
    y, x = ((np.arange(side) + 0.5) / side for side in (rows, columns))
    ramp = (y[:, None] + 2 * x[None, :]).astype(np.float32)
    resized = resize(ramp, (new_rows, new_columns))
    y, x = ((np.arange(side) + 0.5) / side for side in (new_rows, new_columns))
    margin_y, margin_x = 1.01 / rows + 1 / new_rows, 1.01 / columns + 1 / new_columns
    inner = np.ix_((y > margin_y) & (y < 1 - margin_y), (x > margin_x) & (x < 1 - margin_x))
    expected = (y[:, None] + 2 * x[None, :])[inner]
    np.testing.assert_allclose(resized[inner], expected, atol=1e-4)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_fewer_pixels_are_averages(factor: int) -> None:
    values = np.random.default_rng(0).random((5 * factor, 7 * factor)).astype(np.float32)
    expected = values.reshape(5, factor, 7, factor).mean(axis=(1, 3))
    np.testing.assert_allclose(resize(values, (5, 7)), expected, atol=1e-6)


@given(sides, sides, st.sampled_from([2, 3]))
def test_there_and_back_keeps_the_centre_of_mass(rows: int, columns: int, factor: int) -> None:
    values = np.zeros((rows + 8, columns + 8), dtype=np.float32)
    values[4:-4, 4:-4] = np.random.default_rng(rows).random((rows, columns))
    back = resize(resize(values, (factor * values.shape[0], factor * values.shape[1])), values.shape)
    for axis in (0, 1):
        place = np.arange(values.shape[axis])
        centres = [image.sum(axis=1 - axis) @ place / image.sum() for image in (values, back)]
        assert centres[0] == pytest.approx(centres[1], abs=1e-3)


def test_the_same_size_is_the_same_array() -> None:
    values = np.ones((3, 4), dtype=np.float32)
    assert resize(values, (3, 4)) is values
