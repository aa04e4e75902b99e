"""Means, intervals by patient, paired differences and ranks against slow, obvious code."""

import math
from collections.abc import Mapping

import numpy as np
import pytest

from fewct.benchmark.rows import Row
from fewct.benchmark.summary import SummaryRow, shared_rows, summarise
from fewct.benchmark.worker import Measured
from fewct.metrics.bootstrap import RESAMPLES

GROUPS = ("A", "A", "A", "B", "C", "C")


def rows(metrics: Mapping[str, list[Mapping[str, float]]], groups: tuple[str, ...] = GROUPS) -> list[Row]:
    """Rows from the metrics of each method on each slice."""
    return [
        Row("data", f"{k}", group, "complete", method, "", Measured(dict(one), ()))
        for method, all_metrics in metrics.items()
        for k, (group, one) in enumerate(zip(groups, all_metrics, strict=True))
    ]


def of(summary: list[SummaryRow], method: str, metric: str = "ari") -> SummaryRow:
    (row,) = [row for row in summary if (row.method, row.metric) == (method, metric)]
    return row


def test_interval_draws_patients_with_all_their_slices() -> None:
    values = np.random.default_rng(0).random(6)
    summary = summarise(rows({"m": [{"ari": value} for value in values]}), seed=3)
    counts = np.random.default_rng(3).multinomial(3, [1 / 3] * 3, size=RESAMPLES)
    means = []
    for draw in counts:
        drawn = [v for v, group in zip(values, GROUPS, strict=True) for _ in range(draw["ABC".index(group)])]
        means.append(np.mean(drawn))
    row = of(summary, "m")
    assert row.mean == pytest.approx(values.mean())
    assert (row.low, row.high) == pytest.approx((min(means), max(means)))  # of so few as three groups
    assert (row.n_slices, row.n_groups) == (6, 3)


def test_slices_drawn_one_by_one_would_feign_certainty() -> None:
    """Neighbouring slices of one patient are no independent cases."""
    groups = tuple(f"p{k // 20}" for k in range(100))
    of_patient = np.random.default_rng(1).random(5)
    metrics = {"m": [{"ari": of_patient[k // 20]} for k in range(100)]}
    honest = of(summarise(rows(metrics, groups)), "m")
    feigned = of(summarise(rows(metrics, tuple(map(str, range(100))))), "m")
    assert honest.mean == pytest.approx(feigned.mean)
    assert honest.high - honest.low > 3 * (feigned.high - feigned.low)


def test_a_metric_that_one_patient_has_is_ranked_without_certainty() -> None:
    scores = {"m": [{"ari": 0.5}] * 6, "n": [{"ari": 0.4}] * 6}
    for method, value in (("m", 0.9), ("n", 0.8)):
        scores[method] = [{"ari": 0.5, "pq": value}, *[{"ari": 0.5}] * 5]
    row = of(summarise(rows(scores)), "m", "pq")
    assert (row.mean, row.rank) == (0.9, 1)
    assert all(math.isnan(value) for value in (row.low, row.high, row.first))


def test_a_single_patient_gives_no_interval() -> None:
    row = of(summarise(rows({"m": [{"ari": 0.5}] * 6}, ("A",) * 6)), "m")
    assert row.mean == 0.5
    assert all(math.isnan(value) for value in (row.low, row.high, row.difference_low, row.first))


def test_differences_are_paired_slice_by_slice() -> None:
    easy_and_hard = np.array([0.1, 0.9, 0.2, 0.8, 0.3, 0.7])
    summary = summarise(
        rows(
            {
                "first": [{"ari": value} for value in easy_and_hard],
                "second": [{"ari": value + 0.05} for value in easy_and_hard],
            }
        )
    )
    first, second = of(summary, "first"), of(summary, "second")
    assert (first.difference, first.difference_low, first.difference_high) == (0, 0, 0)
    assert second.difference == pytest.approx(0.05)
    assert (second.difference_low, second.difference_high) == pytest.approx((0.05, 0.05))
    assert second.low < first.high  # intervals of the means overlap, and hide what the pairs show
    assert (first.rank, second.rank) == (2, 1)
    assert (first.first, second.first) == (0, 1)


def test_what_is_undefined_on_a_slice_does_not_count_there() -> None:
    metrics = [{"ari": 0.2}, {"ari": math.nan}, {}, {"ari": 0.4}, {"ari": 0.6}, {"ari": math.nan}]
    row = of(summarise(rows({"m": metrics})), "m")
    assert row.mean == pytest.approx(0.4)
    assert row.n_slices == 3
    assert 0.2 <= row.low <= row.high <= 0.6
    nowhere = of(summarise(rows({"m": [{"ari": math.nan}] * 6})), "m")
    assert math.isnan(nowhere.mean)
    assert math.isnan(nowhere.rank)
    assert math.isnan(nowhere.first)


def test_ranks_know_what_is_better() -> None:
    metrics = {
        "slow": [{"ari": 0.9, "seconds": 2.0, "n_predicted": 7.0}] * 6,
        "fast": [{"ari": 0.5, "seconds": 1.0, "n_predicted": 8.0}] * 6,
        "same": [{"ari": 0.9, "seconds": 3.0, "n_predicted": 9.0}] * 6,
    }
    summary = summarise(rows(metrics))
    assert [of(summary, method).rank for method in metrics] == [1, 3, 1]
    assert [of(summary, method, "seconds").rank for method in metrics] == [2, 1, 3]
    assert all(math.isnan(of(summary, method, "n_predicted").rank) for method in metrics)


def test_methods_are_compared_on_the_slices_that_all_finished() -> None:
    everything = rows({"a": [{"ari": k / 10} for k in range(6)], "b": [{"ari": 0.5}] * 6})
    without = [row for row in everything if (row.method, row.case) != ("b", "5")]
    assert {row.case for row in shared_rows(without)} == set("01234")
    assert of(summarise(without), "a").mean == pytest.approx(0.2)
    disjoint = [row for row in everything if (row.method == "a") == (row.case in "012")]
    assert summarise(disjoint) == []


def test_same_seed_same_intervals() -> None:
    metrics = {"m": [{"ari": value} for value in np.random.default_rng(5).random(12)]}
    some = rows(metrics, tuple("ABCDEFGHIJKL"))
    assert summarise(some, seed=1) == summarise(some, seed=1)
    assert of(summarise(some, seed=1), "m").low != of(summarise(some, seed=2), "m").low
