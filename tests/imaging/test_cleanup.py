"""What a clean-up keeps: area limits in each unit, and what lies inside the body."""

import numpy as np
import pytest

from fewct.errors import InputError, UsageError
from fewct.imaging.cleanup import Cleanup, clean, clean_proposals
from fewct.imaging.masks import proposals_from_labels, proposals_from_masks
from fewct.types import CTSlice, Geometry


@pytest.fixture
def patient() -> CTSlice:
    """A body of 40 x 40 pixels of water in air, 0.5 mm x 0.5 mm."""
    pixels = np.full((64, 64), -1000.0)
    pixels[12:52, 12:52] = 0.0
    return CTSlice(pixels, "hu", Geometry.from_spacing((5.0, 0.5, 0.5)))


def areas(labels):
    return np.bincount(np.asarray(labels).ravel())[1:].tolist()


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


@pytest.mark.parametrize(("inside_px", "kept"), [(3, False), (4, False), (5, True), (6, True)])
def test_structures_with_half_of_their_pixels_inside_the_body_stay(patient, inside_px, kept):
    labels = np.zeros((64, 64), dtype=np.int32)
    labels[20, 2 + inside_px : 12 + inside_px] = 1  # 10 pixels; the body begins at column 12
    cleaned, _ = clean(labels, patient, Cleanup(body_only=True))
    assert np.count_nonzero(cleaned) == (inside_px if kept else 0)
    proposals = clean_proposals(proposals_from_labels(labels), patient, Cleanup(body_only=True))
    assert proposals.areas.tolist() == ([inside_px] if kept else [])


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


def test_only_label_maps_are_cleaned(patient):
    for labels in (np.full((64, 64), -1), np.ones((64, 64))):
        with pytest.raises(InputError, match="labels: expected"):
            clean(labels, patient, Cleanup(body_only=True))


def test_cleaning_checks_shapes_and_scores(patient):
    labels = np.zeros((64, 64), dtype=np.int32)
    labels[20:30, 20:30] = 3
    with pytest.raises(InputError, match="labels and slice: expected arrays of the same shape"):
        clean(labels[1:], patient, Cleanup())
    with pytest.raises(InputError, match=r"one score for each id up to 3, found shape \(2,\)"):
        clean(labels, patient, Cleanup(), scores=[1, 2])
    with pytest.raises(InputError, match=r"masks of the slice's shape \(64, 64\), found shape \(63, 64\)"):
        clean_proposals(proposals_from_labels(labels[1:]), patient, Cleanup())


def test_limits_may_be_equal(patient):
    labels = np.zeros((64, 64), dtype=np.int32)
    labels[20:30, 20:30], labels[40, 20:30] = 1, 2
    assert areas(clean(labels, patient, Cleanup("100px", "100px"))[0]) == [100]
    assert areas(clean(labels, patient, Cleanup("100px", "25mm2"))[0]) == [100]


def test_a_body_that_is_given_is_not_sought(patient):
    body = np.zeros((64, 64), dtype=bool)
    body[:, :32] = True
    labels = np.zeros((64, 64), dtype=np.int32)
    labels[20:30, 20:40], labels[40:50, 2:12] = 1, 2
    cleaned, scores = clean(labels, patient, Cleanup(body_only=True), [0.25, 0.5], body)
    assert areas(cleaned) == [120, 100]
    assert scores.dtype == np.float32
    proposals = clean_proposals(proposals_from_labels(labels), patient, Cleanup(body_only=True), body)
    assert proposals.areas.tolist() == [120, 100]


def test_proposals_are_clipped_at_each_side(patient):
    labels = np.zeros((64, 64), dtype=np.int32)
    labels[5:30, 40:55] = 1
    labels[35:56, 9:24] = 2
    proposals = clean_proposals(proposals_from_labels(labels), patient, Cleanup(body_only=True))
    assert proposals.boxes_xyxy.tolist() == [[40, 12, 52, 30], [12, 35, 24, 52]]
