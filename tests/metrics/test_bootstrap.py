"""The cluster bootstrap against draws written out, one by one."""

import math

import numpy as np
import pytest
from scipy import stats

from fewct.metrics.bootstrap import RESAMPLES, cluster_means, compare_with_first, expanded_quantile

GROUPS = ["b", "a", "a", "c", "b", "b"]


def drawn_means(values: np.ndarray, seed: int) -> list[float]:
    """Mean of each draw: every drawn group brings all its slices."""
    counts = np.random.default_rng(seed).multinomial(3, [1 / 3] * 3, size=RESAMPLES)
    return [
        float(np.mean([v for v, g in zip(values, GROUPS, strict=True) for _ in range(draw["abc".index(g)])]))
        for draw in counts
    ]


def test_groups_are_drawn_with_all_their_slices() -> None:
    values = np.random.default_rng(0).random(6)
    means, intervals, resampled = cluster_means(values[None, :, None], GROUPS, seed=3)
    expected = drawn_means(values, seed=3)
    assert means[0, 0] == pytest.approx(values.mean())
    np.testing.assert_allclose(resampled[:, 0, 0], expected)
    # of three groups Student's interval is longer than all draws: it ends at the lowest and the highest mean
    np.testing.assert_allclose(intervals[:, 0, 0], [min(expected), max(expected)])


@pytest.mark.parametrize("n", [5, 8, 40])
def test_ends_are_students_quantiles_on_the_scale_of_the_draws(n: int) -> None:
    values = np.random.default_rng(n).random(n)
    _, intervals, resampled = cluster_means(values[None, :, None], np.arange(n))
    # a draw's mean varies sqrt((n - 1) / n) times as much as the standard error says
    reach = stats.t.ppf(0.975, n - 1) * np.sqrt(n / (n - 1))
    expected = np.quantile(resampled[:, 0, 0], [stats.norm.cdf(-reach), stats.norm.cdf(reach)])
    np.testing.assert_allclose(intervals[:, 0, 0], expected)


def test_intervals_of_five_patients_hold_the_true_mean_nine_times_of_ten() -> None:
    rng = np.random.default_rng(0)
    quantile, true_mean = expanded_quantile(5), 0.0
    held = narrow = 0
    for _ in range(600):
        draws = rng.multinomial(5, [0.2] * 5, 1000) @ rng.normal(true_mean, size=5) / 5
        ends = np.quantile(draws, [quantile, 1 - quantile, 0.025, 0.975])
        held += ends[0] <= true_mean <= ends[1]
        narrow += ends[2] <= true_mean <= ends[3]
    assert held / 600 > 0.9 > 0.87 > narrow / 600


def test_numbers_and_names_of_groups_are_the_same() -> None:
    values = np.random.default_rng(1).random((2, 6, 1))
    numbers = ["abc".index(name) for name in GROUPS]
    for named, numbered in zip(cluster_means(values, GROUPS), cluster_means(values, numbers), strict=True):
        np.testing.assert_array_equal(named, numbered)


def test_a_single_group_has_no_interval() -> None:
    means, intervals, resampled = cluster_means(np.array([[[0.2], [0.6]]]), ["a", "a"])
    assert means[0, 0] == pytest.approx(0.4)
    assert np.isnan(intervals).all()
    assert len(resampled) == 0


def test_a_metric_that_only_one_group_has_gets_no_interval() -> None:
    values = np.array([[[0.2, 0.5], [0.6, math.nan], [0.4, math.nan]]])
    means, intervals, _ = cluster_means(values, ["a", "b", "b"])
    assert means[0, 1] == 0.5
    assert np.isnan(intervals[:, 0, 1]).all()
    assert not np.isnan(intervals[:, 0, 0]).any()


def test_undefined_values_do_not_count() -> None:
    values = np.array([[[math.nan, 0.5], [math.nan, math.nan], [math.nan, 0.7]]])
    means, intervals, _ = cluster_means(values, ["a", "b", "c"])
    assert math.isnan(means[0, 0])
    assert np.isnan(intervals[:, 0, 0]).all()
    assert means[0, 1] == pytest.approx(0.6)
    assert 0.5 <= intervals[0, 0, 1] <= intervals[1, 0, 1] <= 0.7


def test_differences_are_those_of_the_same_slices() -> None:
    first = np.random.default_rng(2).random(6)
    values = np.stack([first, first + 0.25])[..., None]
    compared, resampled = compare_with_first(values, GROUPS, seed=5)
    assert compared.shape == (6, 2, 1)
    np.testing.assert_array_equal(compared[3:, 0, 0], 0)
    np.testing.assert_allclose(compared[3:, 1, 0], 0.25)
    np.testing.assert_allclose(resampled[:, 1] - resampled[:, 0], 0.25)


def test_intervals_of_forty_groups_leave_two_percent_of_the_draws_on_each_side() -> None:
    """Student's 2.0227 of 39 degrees of freedom, times sqrt(40 / 39), is passed by 2.026 % of a normal."""
    values = np.random.default_rng(7).random((1, 40, 1))
    _, intervals, resampled = cluster_means(values, np.arange(40))
    below, above = (resampled[:, 0, 0] < intervals[0]).mean(), (resampled[:, 0, 0] > intervals[1]).mean()
    assert below == pytest.approx(0.02026, abs=0.0002)
    assert above == pytest.approx(0.02026, abs=0.0002)
