"""Cluster bootstrap: means over slices with 95 % intervals, from whole patients that are drawn anew.

Slices of one patient resemble each other: resampled one by one they would pass for many independent cases.
So patients are drawn with replacement, each with all its slices (Field and Welsh 2007,
https://doi.org/10.1111/j.1467-9868.2007.00593.x). An interval holds the middle 95 % of the means of 2000
draws; a single patient gives none. With few patients intervals are too narrow rather than too wide.
"""

import math
from typing import Annotated, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

SliceValues: TypeAlias = Annotated[NDArray[np.float64], "methods slices metrics"]
Means: TypeAlias = Annotated[NDArray[np.float64], "... methods metrics"]

RESAMPLES = 2000
COVERED = (0.025, 0.975)


def cluster_means(values: SliceValues, groups: ArrayLike, seed: int = 0) -> tuple[Means, Means, Means]:
    """Return means over slices and how they vary when groups are drawn anew with all their slices.

    Args:
        values: float64 (methods, slices, metrics), NaN where undefined.
        groups: (slices,): patient, or another group, of each slice: numbers or names.
        seed: Of the draws, which are the same for all methods and metrics.

    Returns:
        Means over the slices (methods, metrics); ends of their 95 % intervals (2, methods, metrics), NaN with
        a single group; means of each draw (draws, methods, metrics), of a single group none.

    Example:
        >>> means, intervals, _ = cluster_means(np.array([[[0.2], [0.4], [0.9]]]), ["a", "a", "b"])
        >>> means.round(2), intervals.round(2).ravel()
        (array([[0.5]]), array([0.3, 0.9]))
    """
    names, numbers = np.unique(np.asarray(groups), return_inverse=True)
    n = len(names)
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(n, np.full(n, 1 / n), RESAMPLES if n > 1 else 0).astype(np.float64)
    member = (numbers == np.arange(n)[:, None]).astype(np.float64)
    defined = ~np.isnan(values)
    sums = member @ np.where(defined, values, 0.0)
    counts = member @ defined.astype(np.float64)
    with np.errstate(invalid="ignore"):
        means = sums.sum(axis=1) / counts.sum(axis=1)
        resampled = np.moveaxis((draws @ sums) / (draws @ counts), 1, 0)
    intervals = np.full((2, *means.shape), math.nan)
    for method, metric in np.argwhere(~np.isnan(means)).tolist():
        column = resampled[:, method, metric]
        column = column[~np.isnan(column)]
        if column.size:
            intervals[:, method, metric] = np.quantile(column, COVERED)
    return means, intervals, resampled


def compare_with_first(
    values: SliceValues, groups: ArrayLike, seed: int = 0
) -> tuple[Annotated[NDArray[np.float64], "6 methods metrics"], Means]:
    """Return means and differences from the first method on the same slices, with their intervals.

    Args:
        values: As in `cluster_means`; so are `groups` and `seed`.

    Returns:
        (6, methods, metrics): mean, lower and upper end of its 95 % interval; mean difference, lower and
        upper end of its interval. And the means of each draw (draws, methods, metrics).
    """
    means, intervals, resampled = cluster_means(values, groups, seed)
    differences, difference_intervals, _ = cluster_means(values - values[:1], groups, seed)
    return np.stack([means, *intervals, differences, *difference_intervals]), resampled
