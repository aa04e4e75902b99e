"""Cluster bootstrap: means over slices, and how sure they are.

Slices of one patient resemble each other: resampled one by one they would feign many independent cases. So
whole patients are drawn, with all their slices (Field and Welsh 2007,
https://doi.org/10.1111/j.1467-9868.2007.00593.x).
"""

import math
from typing import Annotated, TypeAlias

import numpy as np
from numpy.typing import NDArray

Values: TypeAlias = Annotated[NDArray[np.float64], "methods slices metrics"]
Draws: TypeAlias = Annotated[NDArray[np.float64], "draws groups"]
RESAMPLES = 2000
COVERED = (0.025, 0.975)


def draw_groups(n_groups: int, seed: int) -> Draws:
    """Return how often each group is drawn in each resample; no resamples of a single group."""
    n_draws = RESAMPLES if n_groups > 1 else 0
    rng = np.random.default_rng(seed)
    return rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=n_draws).astype(np.float64)


def cluster_means(
    values: Values, groups: NDArray[np.int64], draws: Draws
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return means and how they vary when groups are drawn anew with all their slices.

    Args:
        values: float64 (methods, slices, metrics), NaN where undefined.
        groups: int64 (slices,): number of each slice's group, below the number of groups.
        draws: What `draw_groups` gave.

    Returns:
        Means over the slices (methods, metrics); ends of their 95 % intervals (2, methods, metrics), NaN
        without draws; means of each draw (draws, methods, metrics).

    Example:
        >>> values = np.array([[[0.2], [0.4], [0.9]]])
        >>> means, intervals, _ = cluster_means(values, np.array([0, 0, 1]), draw_groups(2, seed=0))
        >>> means.round(2), intervals.round(2).ravel()
        (array([[0.5]]), array([0.3, 0.9]))
    """
    member = (groups == np.arange(draws.shape[1])[:, None]).astype(np.float64)
    defined = ~np.isnan(values)
    sums = member @ np.where(defined, values, 0.0)
    counts = member @ defined.astype(np.float64)
    with np.errstate(invalid="ignore"):
        means = sums.sum(axis=1) / counts.sum(axis=1)
        resampled = np.moveaxis((draws @ sums) / (draws @ counts), 1, 0)
    intervals = np.full((2, *means.shape), math.nan)
    for index in np.argwhere(~np.isnan(means)).tolist():
        column = resampled[:, index[0], index[1]]
        column = column[~np.isnan(column)]
        if column.size:
            intervals[:, index[0], index[1]] = np.quantile(column, COVERED)
    return means, intervals, resampled
