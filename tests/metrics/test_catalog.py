"""The catalog has every metric of a row, and says rightly what partial truth does to each."""

import math

import numpy as np

from fewct.metrics import score
from fewct.metrics.catalog import MAIN_METRIC, METRICS, is_interpretable


def test_every_metric_of_a_row_has_a_meaning() -> None:
    labels = np.array([[0, 1, 2]])
    made = set(score(labels, labels, partial=True).as_dict())
    extra = {"surface_dice", "hausdorff_95_mm", "seconds", "peak_memory_mb"}
    assert set(METRICS) == made | extra
    assert all(is_interpretable(metric, truth) for truth, metric in MAIN_METRIC.items())


def test_metrics_that_partial_truth_leaves_sound_do_not_punish_what_nobody_annotated() -> None:
    """An unannotated structure, found or not: sound metrics stay, misleading ones move."""
    truth = np.zeros((8, 12), dtype=int)
    truth[1:4, 1:4], truth[5:7, 1:6] = 1, 2
    unannotated = truth.copy()
    unannotated[2:7, 8:11] = 3
    plain, more = (
        score(truth, truth, partial=True).as_dict(),
        score(truth, unannotated, partial=True).as_dict(),
    )
    moved = {name for name in plain if plain[name] != more[name] and not math.isnan(plain[name])}
    counts = {"n_predicted"}
    assert moved - counts == {
        name
        for name, metric in METRICS.items()
        if metric.on_partial_truth in ("misleading", "lower bound") and name != "n_true"
    }


def test_lower_is_better_of_distances_errors_and_costs() -> None:
    lower = {name for name, metric in METRICS.items() if metric.higher_is_better is False}
    assert lower == {"hausdorff_95_mm", "fp", "fn", "seconds", "peak_memory_mb"}
    assert {name for name, metric in METRICS.items() if metric.higher_is_better is None} == {
        "n_true",
        "n_predicted",
    }


def test_bounds_are_for_the_truth_that_they_bound() -> None:
    by_validity = {"ari": (True, False), "sq": (True, True), "pq": (True, True), "pq_upper": (False, True)}
    for metric, (complete, partial) in by_validity.items():
        assert is_interpretable(metric, "complete") == complete
        assert is_interpretable(metric, "partial") == partial
