"""The cluster bootstrap against draws written out, one by one."""

import math

import numpy as np
import pytest

from fewct.metrics.bootstrap import COVERED, RESAMPLES, cluster_means, compare_with_first

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
    np.testing.assert_allclose(intervals[:, 0, 0], np.quantile(expected, COVERED))


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


def test_intervals_hold_95_percent_of_the_draws() -> None:
    values = np.random.default_rng(7).random((1, 40, 1))
    _, intervals, resampled = cluster_means(values, np.arange(40))
    below, above = (resampled[:, 0, 0] < intervals[0]).mean(), (resampled[:, 0, 0] > intervals[1]).mean()
    assert below == pytest.approx(0.025, abs=0.002)
    assert above == pytest.approx(0.025, abs=0.002)
