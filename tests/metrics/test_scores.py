import math

import numpy as np

from fewct import metrics
from fewct.metrics import contingency, score

TRUTH = np.array([[0, 0, 0, 1, 1, 1, 2, 2, 2, 3]])
PREDICTION = np.array([[0, 9, 9, 4, 4, 4, 6, 6, 9, 0]])


def test_each_metric_is_that_of_its_function():
    scores = score(TRUTH, PREDICTION, partial=True)
    assert (scores.n_true, scores.n_predicted) == (3, 3)
    assert scores.rand_index == metrics.rand_index(TRUTH, PREDICTION)
    assert scores.rand_index_foreground == metrics.rand_index(TRUTH, PREDICTION, foreground_only=True)
    assert scores.ari == metrics.adjusted_rand_index(TRUTH, PREDICTION)
    assert scores.ari_foreground == metrics.adjusted_rand_index(TRUTH, PREDICTION, foreground_only=True)
    assert scores.mean_best_iou == metrics.mean_best_iou(TRUTH, PREDICTION)
    assert scores.matched == metrics.match_structures(TRUTH, PREDICTION).mean()
    assert scores.foreground == metrics.foreground_overlap(TRUTH, PREDICTION)
    assert scores.panoptic == metrics.panoptic_quality(TRUTH, PREDICTION)
    upper = metrics.foreground_overlap(TRUTH, PREDICTION, ignore_unlabelled=True)
    assert scores.foreground_upper == upper
    upper = metrics.panoptic_quality(TRUTH, PREDICTION, ignore_unlabelled=True)
    assert scores.panoptic_upper == upper
    assert score(contingency(TRUTH, PREDICTION), partial=True) == scores


def test_flat_names_are_unique_and_complete():
    complete, partial = score(TRUTH, PREDICTION).as_dict(), score(TRUTH, PREDICTION, partial=True).as_dict()
    assert list(complete) == [
        *("n_true", "n_predicted", "rand_index", "rand_index_foreground", "ari", "ari_foreground"),
        *("mean_best_iou", "matched_iou", "matched_dice", "matched_precision", "matched_recall"),
        *("foreground_iou", "foreground_dice", "foreground_precision", "foreground_recall"),
        *("pq", "sq", "rq", "tp", "fp", "fn"),
    ]
    upper = [name for name in partial if name not in complete]
    assert upper == [
        *("foreground_iou_upper", "foreground_dice_upper", "foreground_precision_upper"),
        *("pq_upper", "rq_upper"),
    ]
    assert all(partial[name] > partial[name.removesuffix("_upper")] for name in upper)
    assert partial["foreground_precision_upper"] == 1


def test_perfect_is_one_everywhere():
    renamed = np.array([0, 300, 2, 77])[TRUTH]
    for name, value in score(TRUTH, renamed, partial=True).as_dict().items():
        expected = {"n": 3, "tp": 3, "fp": 0, "fn": 0}.get(name.partition("_")[0], 1)
        assert value == expected, name


def test_nothing_on_nothing_is_undefined_but_agrees():
    scores = score(np.zeros((4, 4), int), np.zeros((4, 4), int)).as_dict()
    assert scores["rand_index"] == scores["ari"] == 1
    undefined = {name for name, value in scores.items() if math.isnan(value)}
    assert undefined == set(scores) - {"n_true", "n_predicted", "rand_index", "ari", "tp", "fp", "fn"}
