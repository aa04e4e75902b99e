import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score, rand_score

from fewct.errors import InputError
from fewct.metrics import adjusted_rand_index, contingency, foreground_ari, rand_index
from oracles import pairs_of_label_maps, rand_index_by_pairs

METRICS = (rand_index, adjusted_rand_index)
SKLEARN = (rand_score, adjusted_rand_score)
EXAMPLES = settings(max_examples=150)


@given(pairs_of_label_maps())
@EXAMPLES
def test_equal_to_scikit_learn_on_all_pixels(pair):
    truth, prediction = pair
    for metric, reference in zip(METRICS, SKLEARN, strict=True):
        expected = reference(truth.ravel(), prediction.ravel())
        assert metric(truth, prediction) == pytest.approx(expected, abs=1e-12)


@given(pairs_of_label_maps())
@EXAMPLES
def test_equal_to_scikit_learn_on_foreground_pixels(pair):
    truth, prediction = pair
    inside = truth > 0
    assume(inside.any())
    for metric, reference in zip(METRICS, SKLEARN, strict=True):
        expected = reference(truth[inside], prediction[inside])
        assert metric(truth, prediction, foreground_only=True) == pytest.approx(expected, abs=1e-12)


@given(pairs_of_label_maps())
@EXAMPLES
def test_rand_index_counts_pairs(pair):
    truth, prediction = pair
    assume(truth.size > 1)
    assert rand_index(truth, prediction) == pytest.approx(rand_index_by_pairs(truth, prediction), abs=1e-15)


@given(pairs_of_label_maps(), st.permutations(range(6)))
@EXAMPLES
def test_symmetric_bounded_and_blind_to_ids(pair, order):
    truth, prediction = pair
    renamed = np.array(order)[prediction]
    for metric in METRICS:
        value = metric(truth, prediction)
        assert value == metric(prediction, truth) == metric(truth, renamed)
        assert value <= 1
        assert metric(truth, truth) == 1
    assert rand_index(truth, prediction) >= 0


def test_a_table_gives_what_its_arrays_give():
    truth, prediction = np.random.default_rng(0).integers(0, 5, (2, 20, 20))
    table = contingency(truth, prediction)
    for metric in METRICS:
        for foreground_only in (False, True):
            expected = metric(truth, prediction, foreground_only=foreground_only)
            assert metric(table, foreground_only=foreground_only) == expected


def test_by_hand():
    # Pairs together: truth {01, 23}, prediction {01, 02, 12}; both {01}; all 6.
    truth, prediction = np.array([[1, 1, 2, 2]]), np.array([[1, 1, 1, 2]])
    assert rand_index(truth, prediction) == 3 / 6
    # ARI = (1 - 2 * 3 / 6) / ((2 + 3) / 2 - 2 * 3 / 6) = 0
    assert adjusted_rand_index(truth, prediction) == 0


def test_chance_scores_zero_on_average():
    rng = np.random.default_rng(1)
    scores = [adjusted_rand_index(*rng.integers(0, 4, (2, 30, 30))) for _ in range(200)]
    assert abs(np.mean(scores)) < 0.001


def test_one_label_for_all_foreground_is_great_on_all_pixels_and_worthless_on_foreground():
    truth = np.zeros((200, 200), dtype=np.int32)
    label = 0
    for row in range(10, 200, 40):
        for column in range(10, 200, 40):
            label += 1
            truth[row : row + 13, column : column + 12] = label
    assert (truth > 0).mean() == pytest.approx(0.10, abs=0.003)
    foreground = (truth > 0).astype(np.int32)
    assert adjusted_rand_index(truth, foreground) == pytest.approx(0.97, abs=0.005)
    assert adjusted_rand_index(truth, foreground, foreground_only=True) == 0


@pytest.mark.parametrize("metric", METRICS)
def test_single_regions_and_single_pixels(metric):
    one, two = np.ones((2, 2), int), np.array([[1, 1], [2, 2]])
    assert metric(one, one) == metric(0 * one, one) == metric(np.array([[3]]), np.array([[0]])) == 1
    assert (
        metric(two, one)
        == metric(one, two)
        == (rand_score if metric is rand_index else adjusted_rand_score)(one.ravel(), two.ravel())
    )
    assert metric(np.array([[0, 7]]), np.array([[1, 2]]), foreground_only=True) == 1


@pytest.mark.parametrize("metric", METRICS)
def test_no_foreground_is_undefined(metric):
    background = np.zeros((3, 3), dtype=np.int32)
    assert math.isnan(metric(background, background + 1, foreground_only=True))
    assert metric(background, background) == 1


def test_counts_of_a_large_scan_do_not_overflow():
    table = contingency(np.array([[0, 1, 1, 2]]), np.array([[0, 1, 2, 2]]))
    size = 512 * 512 * 2000 // 4
    large = type(table)(table.true_ids, table.pred_ids, table.rows, table.columns, table.counts * size)
    # With n pixels a cell: together n(n-1) * 4, truth 6n^2, prediction 6n^2, of 16n^2 pairs.
    n = size
    together, only, total = 4 * n * (n - 1), 2 * n * n, 4 * n * (4 * n - 1)
    assert rand_index(large) == (total - 2 * only) / total
    expected = (together + only) ** 2 / total
    ari = (together - expected) / (together + only - expected)
    assert adjusted_rand_index(large) == pytest.approx(ari, abs=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_wrong_shapes_are_refused(metric):
    with pytest.raises(InputError, match="expected arrays of the same shape"):
        metric(np.ones((2, 2), int), np.ones((2, 3), int))


def test_foreground_ari_needs_two_true_structures():
    truth, prediction = np.array([[0, 4, 4, 9, 9]]), np.array([[1, 1, 2, 3, 3]])
    expected = adjusted_rand_index(truth, prediction, foreground_only=True)
    assert foreground_ari(truth, prediction) == foreground_ari(contingency(truth, prediction)) == expected
    assert 0 < expected < 1
    one = np.where(truth == 4, truth, 0)
    assert math.isnan(foreground_ari(one, prediction))
    assert math.isnan(foreground_ari(one, one))  # exact, but nothing was told apart
    assert math.isnan(foreground_ari(np.zeros_like(one), prediction))
    nothing = np.zeros_like(one)
    assert adjusted_rand_index(one, nothing, foreground_only=True) == 1  # why one structure is not enough
    assert math.isnan(foreground_ari(one, nothing))
