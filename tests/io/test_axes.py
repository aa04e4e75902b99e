"""Axis orders: there and back, and where voxels lie in the patient."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewct.errors import InputError
from fewct.io.axes import arrange, arrange_affine, closest_axes, restore, restore_affine

SIGNED_AXES = [
    tuple(sign * axis for sign, axis in zip(signs, order, strict=True))
    for order in itertools.permutations((1, 2, 3))
    for signs in itertools.product((1, -1), repeat=3)
]


@pytest.mark.parametrize("axes", SIGNED_AXES)
def test_restore_undoes_arrange(axes: tuple[int, int, int]) -> None:
    stored = np.arange(24).reshape(2, 3, 4)
    np.testing.assert_array_equal(restore(arrange(stored, axes), axes), stored)


@settings(max_examples=60)
@given(axes=st.sampled_from(SIGNED_AXES), seed=st.integers(0, 1000))
def test_each_voxel_stays_where_it_is(axes: tuple[int, int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    affine = np.vstack([rng.normal(size=(3, 4)), [0, 0, 0, 1]])
    stored = np.arange(24).reshape(2, 3, 4)
    arranged = arrange(stored, axes)
    arranged_affine = arrange_affine(affine, arranged.shape, axes)
    for value in (0, 7, 23):
        place = affine @ [*np.argwhere(stored == value)[0], 1]
        np.testing.assert_allclose(
            arranged_affine @ [*np.argwhere(arranged == value)[0], 1], place, atol=1e-12
        )
    np.testing.assert_allclose(restore_affine(arranged_affine, arranged.shape, axes), affine, atol=1e-12)


def patient_directions(affine: np.ndarray, shape: tuple[int, int, int]) -> list[str]:
    """Where slices, rows and columns run to, from the arranged affine's largest entries."""
    axes = closest_axes(affine, shape, "scan")
    arranged = arrange(np.empty(shape), axes)
    columns = arrange_affine(affine, arranged.shape, axes)[:3, :3].T
    letters = ("RL", "AP", "IS")
    return [letters[np.abs(c).argmax()][int(c[np.abs(c).argmax()] > 0)] for c in columns]


@settings(max_examples=60)
@given(axes=st.sampled_from(SIGNED_AXES), tilt=st.floats(-0.6, 0.6))
def test_volumes_become_axial(axes: tuple[int, int, int], tilt: float) -> None:
    turn = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    affine = np.eye(4)
    affine[:3, :3] = turn[:, [abs(axis) - 1 for axis in axes]] * np.sign(axes) * [0.7, 0.8, 5.0]
    assert patient_directions(affine, (4, 5, 6)) == ["S", "P", "L"]


@pytest.mark.parametrize(
    ("shape", "directions"),
    [
        ((4, 5, 1), ["S", "P", "L"]),
        ((4, 1, 6), ["P", "I", "L"]),
        ((1, 5, 6), ["L", "I", "P"]),
        ((1, 1, 6), ["L", "I", "P"]),
        ((1, 5, 1), ["S", "P", "L"]),
    ],
)
def test_an_axis_of_size_1_is_the_slice_axis(shape: tuple[int, int, int], directions: list[str]) -> None:
    for signs in itertools.product((1, -1), repeat=3):
        affine = np.diag([*signs, 1]).astype(float)
        assert patient_directions(affine, shape) == directions
        assert arrange(np.empty(shape), closest_axes(affine, shape, "scan")).shape[0] == 1


def test_axes_in_one_plane() -> None:
    flat = np.array([[1e6, 1e6, 0, 0], [0, 1e-10, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    with pytest.raises(InputError, match=r"scan.nii: expected three axes that point different ways"):
        closest_axes(flat, (2, 2, 2), "scan.nii")
