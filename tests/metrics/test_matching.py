import math

import numpy as np
import pytest
from hypothesis import assume, given, settings

from fewct.metrics import PanopticQuality, contingency, match_structures, panoptic_quality, structure_overlaps
from oracles import ious_of_structures, largest_total_iou, pairs_of_label_maps, panoptic_quality_by_pairs

EXAMPLES = settings(max_examples=150)


@given(pairs_of_label_maps())
@EXAMPLES
def test_no_one_to_one_matching_has_a_larger_total(pair):
    truth, prediction = pair
    matching = match_structures(contingency(truth, prediction))
    ious = ious_of_structures(truth, prediction)
    assert matching.iou.sum() == pytest.approx(largest_total_iou(ious))
    matched = matching.pred_ids[matching.pred_ids > 0]
    assert len(set(matched.tolist())) == len(matched)


@given(pairs_of_label_maps())
@EXAMPLES
def test_metrics_belong_to_the_matched_pair(pair):
    matching, overlaps = match_structures(*pair), structure_overlaps(*pair)
    np.testing.assert_array_equal(matching.true_ids, overlaps.true_ids)
    for row, pred_id in enumerate(matching.pred_ids):
        column = np.flatnonzero(overlaps.pred_ids == pred_id)
        for name in ("iou", "dice", "precision", "recall"):
            expected = getattr(overlaps, name)[row, column].sum()  # of nothing: 0
            assert getattr(matching, name)[row] == expected
        assert (matching.iou[row] > 0) == (pred_id > 0)


def test_matching_gives_up_the_best_pair_for_the_best_total():
    # IoU: true 1 with 5: 4/7, with 6: 2/6; true 2 with 5: 3/8 and nothing else.
    truth = np.array([[1, 1, 1, 1, 1, 1, 2, 2, 2, 0]])
    prediction = np.array([[6, 6, 5, 5, 5, 5, 5, 5, 5, 0]])
    matching = match_structures(truth, prediction)
    assert matching.pred_ids.tolist() == [6, 5]
    np.testing.assert_allclose(matching.iou, [2 / 6, 3 / 7])
    np.testing.assert_allclose(matching.mean().recall, (2 / 6 + 3 / 3) / 2)


def test_matching_maximises_the_iou_and_not_the_dice():
    # True 1 with 5: 20, with 6: 7; true 2 with 5: 7. IoU 20/34 > 7/27 + 7/27, Dice 40/54 < 14/34 + 14/34.
    truth = np.repeat([1, 1, 2], [20, 7, 7])[None]
    prediction = np.repeat([5, 6, 5], [20, 7, 7])[None]
    matching = match_structures(truth, prediction)
    assert matching.pred_ids.tolist() == [5, 0]
    np.testing.assert_allclose(matching.iou, [20 / 34, 0])


def test_missed_structures_count_zero_in_the_mean():
    truth, prediction = np.array([[1, 1, 2, 3]]), np.array([[9, 9, 0, 0]])
    matching = match_structures(truth, prediction)
    assert matching.pred_ids.tolist() == [9, 0, 0]
    assert matching.mean().iou == matching.mean().dice == pytest.approx(1 / 3)


def test_matching_of_nothing():
    nothing, something = np.zeros((2, 2), int), np.ones((2, 2), int)
    assert math.isnan(match_structures(nothing, something).mean().iou)
    assert match_structures(something, nothing).mean().iou == 0


@given(pairs_of_label_maps())
@EXAMPLES
def test_panoptic_quality_from_pairs(pair):
    truth, prediction = pair
    assume(truth.any() or prediction.any())
    quality = panoptic_quality(contingency(truth, prediction))
    pq, tp, fp, fn = panoptic_quality_by_pairs(ious_of_structures(truth, prediction))
    assert (quality.tp, quality.fp, quality.fn) == (tp, fp, fn)
    assert quality.pq == pytest.approx(pq)
    if tp:
        assert quality.pq == pytest.approx(quality.sq * quality.rq)
        assert 0.5 < quality.sq <= 1
    else:
        assert math.isnan(quality.sq)


@given(pairs_of_label_maps())
@EXAMPLES
def test_swapping_truth_and_prediction_swaps_false_positives_and_negatives(pair):
    truth, prediction = pair
    there, back = panoptic_quality(truth, prediction), panoptic_quality(prediction, truth)
    assert (there.tp, there.fp, there.fn) == (back.tp, back.fn, back.fp)
    np.testing.assert_allclose(there.pq, back.pq)


@given(pairs_of_label_maps())
@EXAMPLES
def test_ignoring_unlabelled_pixels_gives_upper_bounds(pair):
    lower, upper = panoptic_quality(*pair), panoptic_quality(*pair, ignore_unlabelled=True)
    if pair[0].any():
        assert upper.pq >= lower.pq
        assert upper.rq >= lower.rq
        assert upper.tp >= lower.tp
    assert upper.fp <= lower.fp
    assert upper.fn <= lower.fn


def test_mostly_unlabelled_predictions_are_not_false():
    truth = np.array([[1, 1, 1, 1, 0, 0, 0, 0, 0]])
    half_out = np.array([[2, 2, 2, 3, 3, 0, 0, 0, 0]])
    mostly_out = np.array([[2, 2, 2, 3, 3, 3, 0, 4, 4]])
    assert panoptic_quality(truth, half_out, ignore_unlabelled=True).fp == 1
    assert panoptic_quality(truth, mostly_out, ignore_unlabelled=True).fp == 0
    assert panoptic_quality(truth, mostly_out).fp == 2


def test_an_iou_of_exactly_one_half_is_no_match():
    truth, prediction = np.array([[1, 1, 1, 0]]), np.array([[0, 1, 1, 1]])
    assert panoptic_quality(truth, prediction).tp == 0
    assert panoptic_quality(truth, np.array([[0, 1, 1, 0]])).tp == 1


def test_panoptic_quality_of_nothing():
    nothing, something = np.zeros((2, 2), int), np.ones((2, 2), int)
    empty = panoptic_quality(nothing, nothing)
    assert (empty.tp, empty.fp, empty.fn) == (0, 0, 0)
    assert all(map(math.isnan, (empty.pq, empty.sq, empty.rq)))
    missed = panoptic_quality(something, nothing)
    assert (missed.pq, missed.rq, missed.fn) == (0, 0, 1)
    assert panoptic_quality(something, something) == PanopticQuality(1, 1, 1, 1, 0, 0)
