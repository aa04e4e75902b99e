import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, jaccard_score, precision_score, recall_score

from fewct.metrics import (
    Overlap,
    best_iou,
    class_dice,
    contingency,
    foreground_overlap,
    mean_best_iou,
    mean_class_dice,
    structure_overlaps,
)
from oracles import ious_of_structures, pairs_of_label_maps

EXAMPLES = settings(max_examples=150)


@given(pairs_of_label_maps(max_label=3))
@settings(EXAMPLES, max_examples=30)
def test_structures_are_scored_mask_by_mask(pair):
    truth, prediction = pair
    overlaps = structure_overlaps(truth, prediction)
    np.testing.assert_allclose(overlaps.iou, ious_of_structures(truth, prediction), rtol=0, atol=1e-15)
    assert 0 not in overlaps.true_ids
    assert 0 not in overlaps.pred_ids
    for i, true_id in enumerate(overlaps.true_ids):
        for j, pred_id in enumerate(overlaps.pred_ids):
            masks = (truth == true_id).ravel(), (prediction == pred_id).ravel()
            assert overlaps.dice[i, j] == pytest.approx(f1_score(*masks))
            assert overlaps.precision[i, j] == pytest.approx(precision_score(*masks))
            assert overlaps.recall[i, j] == pytest.approx(recall_score(*masks))


@given(pairs_of_label_maps())
@EXAMPLES
def test_best_iou_is_the_largest_of_its_row(pair):
    truth, prediction = pair
    ious = ious_of_structures(truth, prediction)
    best = [max(row, default=0.0) for row in ious.tolist()]
    np.testing.assert_allclose(best_iou(truth, prediction), best, rtol=0, atol=1e-15)
    mean = mean_best_iou(contingency(truth, prediction))
    assert mean == pytest.approx(np.mean(best)) if best else math.isnan(mean)


def test_best_iou_by_hand():
    truth = np.array([[1, 1, 1, 2, 2, 0, 3]])
    prediction = np.array([[4, 4, 9, 9, 9, 9, 0]])
    np.testing.assert_allclose(best_iou(truth, prediction), [2 / 3, 2 / 4, 0])
    assert mean_best_iou(truth, prediction) == pytest.approx((2 / 3 + 1 / 2) / 3)


def test_inventing_structures_where_truth_is_unknown_does_not_change_best_iou():
    truth = np.array([[1, 1, 0, 0, 0]])
    assert mean_best_iou(truth, np.array([[5, 5, 0, 0, 0]])) == 1
    assert mean_best_iou(truth, np.array([[5, 5, 6, 7, 8]])) == 1


@given(pairs_of_label_maps())
@EXAMPLES
def test_foreground_equals_scikit_learn(pair):
    truth, prediction = (labels > 0 for labels in pair)
    overlap = foreground_overlap(*pair)
    masks = truth.ravel(), prediction.ravel()
    metrics = {
        "iou": (jaccard_score, (truth | prediction).any()),
        "dice": (f1_score, (truth | prediction).any()),
        "precision": (precision_score, prediction.any()),
        "recall": (recall_score, truth.any()),
    }
    for name, (reference, defined) in metrics.items():
        value = getattr(overlap, name)
        assert value == pytest.approx(reference(*masks)) if defined else math.isnan(value)


@given(pairs_of_label_maps())
@EXAMPLES
def test_ignoring_unlabelled_pixels_gives_upper_bounds(pair):
    lower, upper = foreground_overlap(*pair), foreground_overlap(*pair, ignore_unlabelled=True)
    for name in ("iou", "dice", "precision", "recall"):
        bounds = getattr(lower, name), getattr(upper, name)
        assert bounds[1] >= bounds[0] or math.isnan(bounds[1])
    truth, prediction = pair
    inside = truth > 0
    if inside.any():
        assert upper == foreground_overlap(truth[inside][None], prediction[inside][None])


def test_foreground_of_nothing():
    nothing, something = np.zeros((2, 2), int), np.ones((2, 2), int)
    assert all(map(math.isnan, vars(foreground_overlap(nothing, nothing)).values()))
    missed = foreground_overlap(something, nothing)
    assert (missed.iou, missed.dice, missed.recall) == (0, 0, 0)
    assert math.isnan(missed.precision)
    invented = foreground_overlap(nothing, something)
    assert (invented.iou, invented.dice, invented.precision) == (0, 0, 0)
    assert math.isnan(invented.recall)
    assert foreground_overlap(something, something) == Overlap(1, 1, 1, 1)


@given(pairs_of_label_maps(), st.sets(st.integers(1, 7)))
@EXAMPLES
def test_class_dice_is_the_dice_of_equal_labels(pair, annotated):
    truth, prediction = pair
    classes = range(1, 8)
    every = class_dice(truth, prediction, classes=classes)
    known = class_dice(truth, prediction, classes=classes, annotated=annotated)
    for label, dice, with_annotated in zip(classes, every, known, strict=True):
        masks = truth == label, prediction == label
        if masks[0].any() or masks[1].any():
            assert dice == pytest.approx(f1_score(*(mask.ravel() for mask in masks)))
        else:
            assert math.isnan(dice)
        np.testing.assert_equal(with_annotated, dice if label in annotated else math.nan)


def test_the_challenges_two_bounds_by_hand():
    # Image 1: class 1 annotated, 2 not. Image 2: both annotated, class 2 absent and not predicted.
    classes = [1, 2]
    images = [
        (np.array([[1, 1, 0, 0]]), np.array([[1, 0, 2, 0]]), [1]),
        (np.array([[1, 0, 0, 0]]), np.array([[1, 0, 0, 0]]), [1, 2]),
    ]
    upper = np.array([class_dice(t, p, classes=classes, annotated=known) for t, p, known in images])
    lower = np.array([class_dice(t, p, classes=classes) for t, p, _ in images])
    np.testing.assert_allclose(upper, [[2 / 3, np.nan], [1, np.nan]])
    np.testing.assert_allclose(lower, [[2 / 3, 0], [1, np.nan]])
    assert mean_class_dice(upper) == pytest.approx(5 / 6)
    assert mean_class_dice(lower) == pytest.approx((5 / 6 + 0) / 2)


def test_mean_class_dice_of_nothing_is_undefined():
    assert math.isnan(mean_class_dice(np.full((3, 2), np.nan)))
