"""Means over slices, their intervals, differences between methods, and ranks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fewct.benchmark.rows import Row
from fewct.metrics.bootstrap import compare_with_first
from fewct.metrics.catalog import METRICS

MEASURES = ("mean", "low", "high", "difference", "difference_low", "difference_high", "rank", "first")


@dataclass(frozen=True)
class SummaryRow:
    """One metric of one method on one data set; NaN for what is undefined.

    Args:
        data: Name of the data set.
        metric: One of `fewct.metrics.catalog.METRICS`.
        mean: Mean over the slices on which it is defined.
        low: Lower end of the mean's 95 % interval; NaN with one patient only.
        high: Its upper end.
        difference: Mean over slices of this method's metric minus the first method's on the same slice.
        difference_low: Lower end of its 95 % interval.
        difference_high: Its upper end.
        rank: Rank of the mean, 1 for the best, shared by equals; NaN for mere counts.
        first: Share of the resamples in which the method ranks first, alone or with others.
        n_slices: Slices on which the metric is defined.
        n_groups: Patients, or groups of similar slices, that were resampled.
    """

    data: str
    method: str
    metric: str
    mean: float
    low: float
    high: float
    difference: float
    difference_low: float
    difference_high: float
    rank: float
    first: float
    n_slices: int
    n_groups: int


def summarise(rows: Sequence[Row], seed: int = 0) -> list[SummaryRow]:
    """Sum up the rows of each data set.

    Methods are compared on the slices that all of them finished. How intervals are made:
    `fewct.metrics.bootstrap`.

    Args:
        rows: One a slice and method; the first method is the one that others are compared with.
        seed: Of the resampling, which is the same for all methods and metrics.

    Returns:
        One row for each data set, method and metric, in this order.
    """
    summary = []
    for data in dict.fromkeys(row.data for row in rows):
        summary += _summarise_data([row for row in rows if row.data == data], seed)
    return summary


def shared_rows(rows: Sequence[Row]) -> list[Row]:
    """Return the rows of the slices that all methods finished."""
    methods = {row.method for row in rows}
    finished: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        finished.setdefault((row.data, row.case), set()).add(row.method)
    return [row for row in rows if finished[row.data, row.case] == methods]


def _summarise_data(rows: Sequence[Row], seed: int) -> list[SummaryRow]:
    """Sum up the rows of one data set."""
    rows = shared_rows(rows)
    if not rows:
        return []
    methods = list(dict.fromkeys(row.method for row in rows))
    cases = list(dict.fromkeys(row.case for row in rows))
    metrics = [name for name in METRICS if any(name in row.metrics for row in rows)]
    values = np.full((len(methods), len(cases), len(metrics)), math.nan)
    group_of: dict[str, str] = {}
    for row in rows:
        group_of[row.case] = row.group
        metrics_of_row = [row.metrics.get(name, math.nan) for name in metrics]
        values[methods.index(row.method), cases.index(row.case)] = metrics_of_row
    compared, resampled = compare_with_first(values, [group_of[case] for case in cases], seed)
    ranks, first = _ranks(compared[0], metrics), _ranks(resampled, metrics) == 1
    unsure = np.isnan(compared[1]) | np.isnan(ranks)  # of one patient, or of none
    first_share = np.where(unsure, math.nan, first.mean(axis=0)) if len(first) else ranks * math.nan
    defined = (~np.isnan(values)).sum(axis=1)
    columns = np.stack([*compared, ranks, first_share])
    return [
        SummaryRow(
            rows[0].data,
            method,
            metric,
            **dict(zip(MEASURES, columns[:, m, f].tolist(), strict=True)),
            n_slices=int(defined[m, f]),
            n_groups=len(set(group_of.values())),
        )
        for m, method in enumerate(methods)
        for f, metric in enumerate(metrics)
    ]


def _ranks(means: NDArray[np.float64], metrics: Sequence[str]) -> NDArray[np.float64]:
    """Return the rank of each method, 1 + the number of better ones, from means (..., methods, metrics).

    NaN for counts, and where a mean is undefined.
    """
    better = [METRICS[name].higher_is_better for name in metrics]
    sign = np.array([math.nan if higher is None else 2.0 * higher - 1 for higher in better])
    scores = means * sign
    ranks = 1.0 + (scores[..., None, :, :] > scores[..., :, None, :]).sum(axis=-2)
    return np.where(np.isnan(scores), math.nan, ranks)
