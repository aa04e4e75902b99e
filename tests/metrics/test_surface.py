import math

import numpy as np
import pytest
import surface_distance
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from fewct.errors import InputError, UsageError
from fewct.metrics import SurfaceDistances, surface_distances, surface_scores
from oracles import nearest_mm, surface_elements

SPACINGS = {2: [(1.0, 1.0), (0.7, 1.9)], 3: [(1.0, 1.0, 1.0), (5.0, 0.7, 0.9)]}


@st.composite
def pairs_of_masks(draw, max_side=7):
    shape = draw(npst.array_shapes(min_dims=2, max_dims=3, max_side=max_side))
    masks = npst.arrays(np.bool_, shape)
    return draw(masks), draw(masks), draw(st.sampled_from(SPACINGS[len(shape)]))


def ball(shape, centre, radius, spacing_mm):
    offsets = np.indices(shape).T * spacing_mm - np.array(centre) * spacing_mm
    return (np.sqrt((offsets**2).sum(axis=-1)) <= radius).T


def assert_equals_reference(truth, prediction, spacing_mm):
    reference = surface_distance.compute_surface_distances(truth, prediction, spacing_mm)
    distances = surface_distances(truth, prediction, spacing_mm)
    for ours, theirs in (
        (distances.true_to_pred_mm, "distances_gt_to_pred"),
        (distances.pred_to_true_mm, "distances_pred_to_gt"),
        (distances.true_weights, "surfel_areas_gt"),
        (distances.pred_weights, "surfel_areas_pred"),
    ):
        np.testing.assert_allclose(np.sort(ours), np.sort(reference[theirs]), rtol=0, atol=1e-12)
    for tolerance_mm in (0.0, 1.0, 1.9, 5.0):
        dice = surface_distance.compute_surface_dice_at_tolerance(reference, tolerance_mm)
        assert distances.surface_dice(tolerance_mm) == pytest.approx(dice, abs=1e-12)
    hausdorff = surface_distance.compute_robust_hausdorff(reference, 95)
    assert distances.hausdorff_95_mm() == pytest.approx(hausdorff, abs=1e-12)


# The reference calls SciPy by names that SciPy has deprecated.
@pytest.mark.filterwarnings("ignore:Please import:DeprecationWarning")
@given(pairs_of_masks())
@settings(max_examples=100)
def test_equals_deepminds_on_noise(case):
    truth, prediction, spacing_mm = case
    assume(truth.any() and prediction.any())
    assert_equals_reference(truth, prediction, spacing_mm)


@pytest.mark.filterwarnings("ignore:Please import:DeprecationWarning")
@pytest.mark.parametrize("spacing_mm", SPACINGS[2] + SPACINGS[3])
def test_equals_deepminds_on_balls(spacing_mm):
    shape = (24, 26, 28)[: len(spacing_mm)]
    truth = ball(shape, (11, 12, 13)[: len(shape)], 8.0, spacing_mm)
    prediction = ball(shape, (12, 11, 15)[: len(shape)], 6.5, spacing_mm)
    assert_equals_reference(truth, prediction, spacing_mm)


@given(pairs_of_masks(max_side=5))
@settings(max_examples=60)
def test_distances_are_those_of_every_pair(case):
    truth, prediction, spacing_mm = case
    true_elements, pred_elements = surface_elements(truth), surface_elements(prediction)
    distances = surface_distances(truth, prediction, spacing_mm)
    assert len(distances.true_weights) == len(true_elements)
    assert len(distances.pred_weights) == len(pred_elements)
    if len(true_elements) and len(pred_elements):
        expected = nearest_mm(true_elements, pred_elements, spacing_mm)
        np.testing.assert_allclose(distances.true_to_pred_mm, expected, rtol=0, atol=1e-12)
        expected = nearest_mm(pred_elements, true_elements, spacing_mm)
        np.testing.assert_allclose(distances.pred_to_true_mm, expected, rtol=0, atol=1e-12)


@given(pairs_of_masks())
@settings(max_examples=60)
def test_symmetric_and_bounded(case):
    truth, prediction, spacing_mm = case
    assume(truth.any() and prediction.any())
    there = surface_distances(truth, prediction, spacing_mm)
    back = surface_distances(prediction, truth, spacing_mm)
    assert there.hausdorff_95_mm() == back.hausdorff_95_mm() >= 0
    values = [there.surface_dice(tolerance_mm) for tolerance_mm in (0.0, 0.5, 1.0, 2.0, 100.0)]
    assert values == sorted(values)
    assert 0 <= values[0] <= values[-1] == 1
    assert back.surface_dice(1.0) == pytest.approx(there.surface_dice(1.0))
    same = surface_distances(truth, truth, spacing_mm)
    assert (same.surface_dice(0.0), same.hausdorff_95_mm()) == (1, 0)


def test_contour_of_a_square_by_hand():
    square = np.zeros((10, 12), dtype=bool)
    square[2:6, 3:8] = True  # 4 rows of 2 mm, 5 columns of 1 mm
    distances = surface_distances(square, square, (2.0, 1.0))
    # The contour runs through pixel centres of the edge, corners cut: 2 * 3 * 2 + 2 * 4 * 1 + 4 diagonals.
    assert distances.true_weights.sum() == pytest.approx(12 + 8 + 4 * math.sqrt(5) / 2)


def test_surface_of_a_large_ball_is_that_of_a_sphere():
    shell = ball((41, 41, 41), (20, 20, 20), 18.0, (1.0, 1.0, 1.0))
    area = surface_distances(shell, shell, (1.0, 1.0, 1.0)).true_weights.sum()
    assert area == pytest.approx(4 * math.pi * 18.0**2, rel=0.1)


def test_a_shift_is_its_distance():
    truth = np.zeros((4, 30, 30), dtype=bool)
    truth[1:3, 8:20, 8:20] = True
    distances = surface_distances(truth, np.roll(truth, 3, axis=1), (2.5, 0.8, 0.8))
    assert distances.hausdorff_95_mm() == pytest.approx(2.4)
    assert distances.surface_dice(2.4 + 1e-9) == 1
    assert distances.surface_dice(2.3) < 1


def test_a_stray_pixel_does_not_move_the_95_percent():
    truth = np.zeros((60, 60), dtype=bool)
    truth[10:40, 10:40] = True
    prediction = truth.copy()
    prediction[58, 58] = True
    assert surface_distances(truth, prediction, (1.0, 1.0)).hausdorff_95_mm() == 0


def test_of_20_equal_elements_19_are_95_percent():
    distances, still = np.arange(1.0, 21.0), np.zeros(20)
    weights = np.ones(20)
    assert SurfaceDistances(distances, still, weights, weights).hausdorff_95_mm() == 19
    assert SurfaceDistances(still, distances[::-1], weights, weights).hausdorff_95_mm() == 19
    weights[0] = 2  # 20 of 21
    assert SurfaceDistances(distances, still, weights, weights).hausdorff_95_mm() == 19
    weights[0] = 0.5  # 18.5 of 19.5 are less, 94.9 %
    assert SurfaceDistances(distances, still, weights, weights).hausdorff_95_mm() == 20


def test_empty_masks():
    empty, full = np.zeros((4, 4), dtype=bool), np.ones((4, 4), dtype=bool)
    for pair in ((empty, full), (full, empty)):
        distances = surface_distances(*pair, (1.0, 1.0))
        assert distances.surface_dice(100.0) == 0
        assert math.isnan(distances.hausdorff_95_mm())
    nothing = surface_distances(empty, empty, (1.0, 1.0))
    assert math.isnan(nothing.surface_dice(1.0))
    assert math.isnan(nothing.hausdorff_95_mm())


@pytest.mark.parametrize("ids", [(1, 2, 3), (7, 300, 60_000), (5, 2**20 + 1, 2**31 - 1)])
def test_pairs_of_structures_equal_their_masks(ids):
    rng = np.random.default_rng(0)
    names = np.array([0, *ids])
    truth = names[rng.integers(0, 4, (6, 12, 9))]
    prediction = names[rng.integers(0, 4, (6, 12, 9))]
    truth[:3][truth[:3] == ids[1]] = 0
    pairs = [(ids[0], ids[1]), (ids[1], ids[0]), (ids[2], ids[2]), (ids[0], 0), (ids[0], 4), (0, 0)]
    dice, hausdorff_mm = surface_scores(truth, prediction, pairs, (3.0, 0.9, 0.8), 0.9)
    for (true_id, pred_id), *metrics in zip(pairs[:3], dice[:3], hausdorff_mm[:3], strict=True):
        distances = surface_distances(truth == true_id, prediction == pred_id, (3.0, 0.9, 0.8))
        assert metrics == [distances.surface_dice(0.9), distances.hausdorff_95_mm()]
    assert dice[3:].tolist() == [0, 0, 0]
    assert np.isnan(hausdorff_mm[3:]).all()


def test_unknown_spacing_leaves_the_metrics_undefined():
    labels = np.ones((3, 3), dtype=np.int32)
    dice, hausdorff_mm = surface_scores(labels, labels, [(1, 1)], None, 2.0)
    assert np.isnan(dice).all()
    assert np.isnan(hausdorff_mm).all()


@pytest.mark.parametrize("spacing_mm", [(1.0,), (1.0, 1.0, 1.0), (1.0, 0.0), (1.0, -1.0), (1.0, math.nan)])
def test_bad_spacing_is_refused(spacing_mm):
    mask = np.ones((3, 3), dtype=bool)
    with pytest.raises(UsageError, match="spacing_mm: expected 2 positive numbers"):
        surface_distances(mask, mask, spacing_mm)


@pytest.mark.parametrize("tolerance_mm", [-1.0, math.nan])
def test_bad_tolerance_is_refused(tolerance_mm):
    labels = np.ones((3, 3), dtype=np.int32)
    with pytest.raises(UsageError, match="tolerance_mm: expected 0 or more"):
        surface_scores(labels, labels, [(1, 1)], None, tolerance_mm)


def test_what_are_no_masks_is_refused():
    mask = np.ones((3, 3), dtype=bool)
    with pytest.raises(InputError, match="prediction: expected a mask"):
        surface_distances(mask, mask.astype(int), (1.0, 1.0))
    with pytest.raises(InputError, match="truth: expected a mask"):
        surface_distances(mask[0], mask[0], (1.0,))
    with pytest.raises(InputError, match="expected arrays of the same shape"):
        surface_distances(mask, mask[:2], (1.0, 1.0))
    with pytest.raises(InputError, match="expected arrays of the same shape"):
        surface_scores(mask, mask[:2], [], (1.0, 1.0), 1.0)
