"""Numbering and area limits of label maps, and their place on another grid."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from fewct.errors import InputError
from fewct.imaging.labelmap import filter_by_area, labels_on_grid, place_on_grid, relabel_sequential
from fewct.types import Geometry, LabelMap

PROPERTY = settings(max_examples=60)
label_maps = npst.arrays(
    np.int32,
    npst.array_shapes(min_dims=2, max_dims=3, max_side=6),
    elements=st.sampled_from([0, 1, 2, 5, 2**31 - 1]),
)


@PROPERTY
@given(label_maps)
def test_relabelling_keeps_structures_and_their_order(labels):
    small, ids = relabel_sequential(labels)
    assert ids.tolist() == sorted(set(labels.ravel().tolist()) - {0})
    assert small.dtype == np.int32
    np.testing.assert_array_equal(np.concatenate([[0], ids])[small], labels)


@PROPERTY
@given(label_maps, st.integers(0, 8), st.integers(0, 40))
def test_area_limits_against_one_structure_at_a_time(labels, min_px, max_px):
    expected = labels.copy()
    for label in set(labels.ravel().tolist()) - {0}:
        if not min_px <= np.count_nonzero(labels == label) <= max_px:
            expected[labels == label] = 0
    np.testing.assert_array_equal(filter_by_area(labels, min_px, max_px), expected)


@pytest.mark.parametrize("function", [relabel_sequential, filter_by_area])
def test_negative_labels_are_refused(function):
    with pytest.raises(InputError, match="smallest label of -1"):
        function(np.array([[-1, 2]]))


def random_labels(shape):
    return np.random.default_rng(0).integers(0, 9, shape, dtype=np.int32)


def affine(axes, spacing=(5.0, 0.8, 0.7), origin=(-50.0, 20.0, 100.0)):
    """Columns for slice, row, column: unit vectors `axes` (x, y, z counted from 1, sign for direction)."""
    matrix = np.eye(4)
    matrix[:3, :3] = 0
    for column, (axis, mm) in enumerate(zip(axes, spacing, strict=True)):
        matrix[abs(axis) - 1, column] = np.sign(axis) * mm
    matrix[:3, 3] = origin
    return matrix


def test_a_label_map_on_its_own_grid_stays():
    labels, geometry = random_labels((3, 4, 5)), Geometry(affine((3, 2, 1)))
    np.testing.assert_array_equal(place_on_grid(LabelMap(labels, geometry), geometry, (3, 4, 5)), labels)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
@pytest.mark.parametrize("flips", [(), (0,), (1, 2), (0, 1, 2)])
def test_turned_and_flipped_grids_are_exact(order, flips):
    labels, target = random_labels((3, 4, 5)), Geometry(affine((3, 2, 1)))
    turned = np.flip(labels.transpose(order), flips)
    to_target = np.eye(4)  # from voxels of the turned map to voxels of the target
    to_target[:3, :3] = np.eye(3)[:, order]
    for axis in flips:
        to_target[:3, 3] += to_target[:3, axis] * (turned.shape[axis] - 1)
        to_target[:3, axis] *= -1
    there = Geometry(target.affine @ to_target)
    np.testing.assert_array_equal(place_on_grid(LabelMap(turned, there), target, (3, 4, 5)), labels)


def test_oblique_grids_against_each_voxel():
    labels = random_labels((4, 6, 6))
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]]
    source = Geometry(turn @ affine((3, 2, 1), origin=(0, 0, 0)))
    target = Geometry(affine((3, 2, 1), spacing=(4.0, 0.6, 0.6), origin=(-1.0, 0.4, 1.0)))
    placed = place_on_grid(LabelMap(labels, source), target, (4, 7, 8))
    for index in np.ndindex(4, 7, 8):
        there = np.linalg.solve(source.affine, target.affine @ [*index, 1.0])[:3]
        voxel = tuple(int(np.floor(v + 0.5)) for v in there)
        inside = all(0 <= v < n for v, n in zip(voxel, labels.shape, strict=True))
        assert placed[index] == (labels[voxel] if inside else 0)


def test_a_finer_grid_repeats_voxels_and_a_shifted_one_is_cut():
    labels = np.array([[[1, 2], [3, 4]]], dtype=np.int32)
    source = Geometry.from_spacing((1.0, 2.0, 2.0))
    fine = np.eye(4) @ Geometry.from_spacing((1.0, 1.0, 1.0)).affine
    fine[:2, 3] = -0.5
    assert place_on_grid(LabelMap(labels, source), Geometry(fine), (1, 4, 4))[0].tolist() == [
        [1, 1, 2, 2],
        [1, 1, 2, 2],
        [3, 3, 4, 4],
        [3, 3, 4, 4],
    ]
    shifted = source.affine.copy()
    shifted[0, 3] += 2.0
    assert place_on_grid(LabelMap(labels, source), Geometry(shifted), (1, 2, 2))[0].tolist() == [
        [2, 0],
        [4, 0],
    ]


@pytest.mark.parametrize("rounding", [-1e-9, 0.0, 1e-9])
def test_pixels_halfway_between_two_voxels_take_the_later_one_however_the_affine_is_rounded(rounding):
    labels = np.array([[[1, 2, 3]]], dtype=np.int32)
    target = Geometry.from_spacing((1.0, 1.0, 1.0)).affine.copy()
    target[0, 3] = 0.5 + rounding
    placed = place_on_grid(
        LabelMap(labels, Geometry.from_spacing((1.0, 1.0, 1.0))), Geometry(target), (1, 1, 3)
    )
    assert placed.tolist() == [[[2, 3, 0]]]


def test_one_slice_of_a_scan_and_back():
    labels, geometry = random_labels((3, 4, 5)), Geometry(affine((3, 2, 1)))
    slice_map = place_on_grid(LabelMap(labels, geometry), geometry.at_slice(2), (4, 5))
    np.testing.assert_array_equal(slice_map, labels[2])
    back = place_on_grid(LabelMap(slice_map, geometry.at_slice(2)), geometry, (3, 4, 5))
    np.testing.assert_array_equal(back[2], labels[2])
    assert not back[:2].any()


def test_maps_that_cannot_be_placed_are_refused():
    labels, geometry = random_labels((3, 4, 5)), Geometry(affine((3, 2, 1)))
    with pytest.raises(InputError, match="label map: expected a known position"):
        place_on_grid(LabelMap(labels), geometry, (3, 4, 5))
    with pytest.raises(InputError, match="target: expected a known position"):
        place_on_grid(LabelMap(labels, geometry), None, (3, 4, 5))
    with pytest.raises(InputError, match="no voxel in common"):
        place_on_grid(LabelMap(labels, geometry), geometry.at_slice(99), (3, 4, 5))
    one, two = Geometry(geometry.affine, "1.2.3"), Geometry(geometry.affine, "1.2.4")
    with pytest.raises(InputError, match=r"frame of reference 1\.2\.4, found 1\.2\.3"):
        place_on_grid(LabelMap(labels, one), two, (3, 4, 5))


def test_labels_stay_as_they_are_where_a_place_is_unknown_or_the_same():
    labels, geometry = random_labels((3, 4, 5)), Geometry(affine((3, 2, 1)))
    moved = Geometry(geometry.affine @ np.array([[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]))
    known = LabelMap(labels, geometry)
    for label_map, target, shape in (
        (LabelMap(labels), geometry, (3, 4, 5)),
        (known, None, (9, 9)),
        (known, geometry, (3, 4, 5)),
        (known, Geometry(geometry.affine + 9e-5), (3, 4, 5)),
    ):
        assert labels_on_grid(label_map, target, shape) is label_map.labels
    np.testing.assert_array_equal(labels_on_grid(known, moved, (2, 4, 5)), labels[1:])
    np.testing.assert_array_equal(labels_on_grid(known, moved, (3, 4, 5))[:2], labels[1:])
    np.testing.assert_array_equal(labels_on_grid(known, geometry, (2, 4, 5)), labels[:2])
