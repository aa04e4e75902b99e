import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from fewct.errors import InputError, UsageError
from fewct.imaging.cleanup import Cleanup, clean, clean_proposals
from fewct.imaging.labelmap import filter_by_area, place_on_grid, relabel_sequential
from fewct.imaging.masks import proposals_from_labels, proposals_from_masks
from fewct.types import CTSlice, Geometry, LabelMap

PROPERTY = settings(max_examples=60)
label_maps = npst.arrays(
    np.int32,
    npst.array_shapes(min_dims=2, max_dims=3, max_side=6),
    elements=st.sampled_from([0, 1, 2, 5, 2**31 - 1]),
)


@pytest.fixture
def patient() -> CTSlice:
    """A body of 40 x 40 pixels of water in air, 0.5 mm x 0.5 mm."""
    pixels = np.full((64, 64), -1000.0)
    pixels[12:52, 12:52] = 0.0
    return CTSlice(pixels, "hu", Geometry.from_spacing((5.0, 0.5, 0.5)))


def areas(labels):
    return np.bincount(np.asarray(labels).ravel())[1:].tolist()


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


def test_default_cleanup_keeps_everything(patient):
    labels = np.full((64, 64), 9, dtype=np.int32)  # the rest of the frame: larger than the body
    labels[:10, :10] = 4
    labels[20:30, 20:30] = 2
    cleaned, scores = clean(labels, patient, Cleanup())
    assert areas(cleaned) == [100, 100, 64 * 64 - 200]
    assert cleaned[25, 25] == 1
    assert np.isnan(scores).all()
    assert scores.dtype == np.float32


@pytest.mark.parametrize(
    ("smallest", "largest", "kept"),
    [
        ("50px", None, [3, 4]),
        ("0px", "50px", [1, 2]),
        ("10mm2", "100%", [2, 3, 4]),
        ("5%", "30%", [3]),
        ("0px", "100%", [1, 2, 3, 4]),
    ],
)
def test_area_limits_in_each_unit(patient, smallest, largest, kept):
    labels = np.zeros((64, 64), dtype=np.int32)
    labels[20, 20:30] = 1  # 10 px, 2.5 mm2, 0.6 % of the body
    labels[22:26, 20:30] = 2  # 40 px, 10 mm2, 2.5 %
    labels[28:38, 20:30] = 3  # 100 px, 25 mm2, 6.25 %
    labels[14:39, 30:50] = 4  # 500 px, 125 mm2, 31.25 %
    cleaned, scores = clean(labels, patient, Cleanup(smallest, largest), scores=[0.1, 0.2, 0.3, 0.4])
    np.testing.assert_allclose(scores, np.array(kept) / 10, rtol=1e-6)
    np.testing.assert_array_equal(
        cleaned, np.searchsorted(kept, labels, side="right") * np.isin(labels, kept)
    )
    proposals = clean_proposals(
        proposals_from_labels(labels, [1, 2, 3, 4]), patient, Cleanup(smallest, largest)
    )
    assert proposals.scores.tolist() == kept


def test_body_only_clips_structures_and_drops_those_outside(patient):
    labels = np.zeros((64, 64), dtype=np.int32)
    labels[30:40, 2:22] = 3  # half inside
    labels[42:46, 2:16] = 5  # 40 of 56 outside
    labels[0:8, 0:60] = 7  # outside
    cleaned, scores = clean(labels, patient, Cleanup(body_only=True), scores=np.arange(7) / 10)
    assert areas(cleaned) == [100]
    assert scores.tolist() == [np.float32(0.2)]
    assert not cleaned[:, :12].any()
    proposals = clean_proposals(proposals_from_labels(labels), patient, Cleanup(body_only=True))
    assert proposals.boxes_xyxy.tolist() == [[12, 30, 22, 40]]
    np.testing.assert_array_equal(proposals.mask(0), cleaned == 1)


def test_limits_apply_to_what_is_left_inside_the_body(patient):
    labels = np.zeros((64, 64), dtype=np.int32)
    labels[30:40, 2:22] = 1
    assert clean(labels, patient, Cleanup("101px", body_only=True))[0].max() == 0
    assert clean(labels, patient, Cleanup("101px", body_only=False))[0].max() == 1
    assert len(clean_proposals(proposals_from_labels(labels), patient, Cleanup("101px", body_only=True))) == 0


def test_empty_proposals_go(patient):
    masks = np.zeros((2, 64, 64), dtype=bool)
    masks[1, 20, 20] = True
    assert clean_proposals(proposals_from_masks(masks, [1, 2]), patient, Cleanup()).scores.tolist() == [2]


def test_nothing_is_left_of_an_empty_map(patient):
    cleaned, scores = clean(np.zeros((64, 64), dtype=np.uint8), patient, Cleanup(body_only=True))
    assert not cleaned.any()
    assert scores.shape == (0,)


@pytest.mark.parametrize("limits", [("200", "100%"), ("0px", "tiny")])
def test_unreadable_limits_are_refused_at_once(limits):
    with pytest.raises(UsageError, match="a number followed by px, mm2 or %"):
        Cleanup(*limits)


def test_limits_that_cross_are_refused(patient):
    with pytest.raises(UsageError, match=r"min_area and max_area: .*found 20px and 10px"):
        Cleanup("20px", "10px")
    with pytest.raises(UsageError, match="found 500px and 1%"):
        clean(np.zeros((64, 64), dtype=np.int32), patient, Cleanup("500px", "1%"))


def test_square_millimetres_need_spacing(patient):
    image = CTSlice(patient.pixels, "hu")
    with pytest.raises(UsageError, match="area 5mm2: expected a slice with known pixel spacing"):
        clean(np.zeros((64, 64), dtype=np.int32), image, Cleanup("5mm2"))


def test_cleaning_checks_shapes_and_scores(patient):
    labels = np.zeros((64, 64), dtype=np.int32)
    labels[20:30, 20:30] = 3
    with pytest.raises(InputError, match="labels and slice: expected arrays of the same shape"):
        clean(labels[1:], patient, Cleanup())
    with pytest.raises(InputError, match=r"one score for each id up to 3, found shape \(2,\)"):
        clean(labels, patient, Cleanup(), scores=[1, 2])
    with pytest.raises(InputError, match=r"masks of the slice's shape \(64, 64\), found shape \(63, 64\)"):
        clean_proposals(proposals_from_labels(labels[1:]), patient, Cleanup())


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
