"""Rand index and adjusted Rand index.

The sums over pairs of pixels are integers until the last division.
"""

import math
from typing import Any

from numpy.typing import NDArray

from fewct.metrics.contingency import Contingency, as_table

FEWEST_STRUCTURES = 2
"""True structures from which on the adjusted Rand index of their pixels says something."""


def rand_index(
    truth: NDArray[Any] | Contingency,
    prediction: NDArray[Any] | None = None,
    *,
    foreground_only: bool = False,
) -> float:
    """Return the share of pixel pairs on which two label maps agree: together in both, or apart in both.

    RI = (pairs together in both + pairs apart in both) / all pairs (Rand 1971,
    https://doi.org/10.1080/01621459.1971.10482356). Background is a region like any other.

    Args:
        truth: Label map, or the table of both.
        prediction: Label map of the same shape; None with a table.
        foreground_only: Count only pixels that truth gives to a structure (truth above 0). Label 0 in the
            prediction is a region there.

    Returns:
        A value in [0, 1]. 1 for a single pixel, which has no pairs; NaN without any pixel (truth is all
        background and `foreground_only`).

    Raises:
        InputError: If one is not a label map, or their shapes differ.

    Example:
        >>> import numpy as np
        >>> rand_index(np.array([[1, 1, 2]]), np.array([[1, 1, 1]]))  # agree on 1 pair of 3
        0.3333333333333333
    """
    table = _table(truth, prediction, foreground_only)
    if table.total < 2:
        return 1.0 if table.total else math.nan
    together, only_true, only_pred, apart = _pairs(table)
    return (together + apart) / (together + only_true + only_pred + apart)


def adjusted_rand_index(
    truth: NDArray[Any] | Contingency,
    prediction: NDArray[Any] | None = None,
    *,
    foreground_only: bool = False,
) -> float:
    """Return the Rand index, corrected so that labels drawn by chance score 0 on average.

    ARI = (RI - expected RI) / (1 - expected RI) (Hubert and Arabie 1985,
    https://doi.org/10.1007/BF01908075); equal to scikit-learn's `adjusted_rand_score` on the flat arrays.
    On all pixels, background is a region like any other: where it fills most of the slice, a prediction of
    background alone scores high. Report the index on foreground pixels beside it.

    Args:
        truth: Label map, or the table of both.
        prediction: Label map of the same shape; None with a table.
        foreground_only: Count only pixels that truth gives to a structure (truth above 0). Label 0 in the
            prediction is a region there.

    Returns:
        A value of at most 1. 1 if the two agree on every pair (so also if both are a single region, or
        hold a single pixel), 0 if just one of them is a single region; NaN without any pixel (truth is
        all background and `foreground_only`).

    Raises:
        InputError: If one is not a label map, or their shapes differ.

    Example:
        >>> import numpy as np
        >>> truth = np.array([[0, 0, 1, 1, 2, 2]])
        >>> adjusted_rand_index(truth, np.array([[0, 0, 5, 5, 3, 3]]))
        1.0
        >>> round(adjusted_rand_index(truth, np.array([[0, 0, 1, 1, 1, 1]])), 3)  # merged
        0.444
        >>> adjusted_rand_index(truth, np.array([[0, 0, 1, 1, 1, 1]]), foreground_only=True)
        0.0
    """
    table = _table(truth, prediction, foreground_only)
    if table.total == 0:
        return math.nan
    together, only_true, only_pred, apart = _pairs(table)
    if only_true == only_pred == 0:
        return 1.0
    chance = (together + only_true) * (only_true + apart) + (together + only_pred) * (only_pred + apart)
    return 2 * (together * apart - only_true * only_pred) / chance


def foreground_ari(truth: NDArray[Any] | Contingency, prediction: NDArray[Any] | None = None) -> float:
    """Return the adjusted Rand index of truth-foreground pixels, for truth with at least two structures.

    With a single true structure the index is 1 if all of its pixels have one label in the prediction, be it
    background, and 0 if not, even if a single pixel differs. That says nothing about how well the structure
    was found, so such truth has no index here and is left out of means over slices.

    Args:
        truth: Label map, or the table of both.
        prediction: Label map of the same shape; None with a table.

    Returns:
        `adjusted_rand_index` with `foreground_only`; NaN with fewer than two true structures.

    Raises:
        InputError: If one is not a label map, or their shapes differ.

    Example:
        >>> import numpy as np
        >>> foreground_ari(np.array([[0, 1, 1, 2]]), np.array([[0, 5, 5, 3]]))
        1.0
        >>> foreground_ari(np.array([[0, 1, 1, 1]]), np.array([[0, 5, 5, 3]]))
        nan
    """
    table = as_table(truth, prediction)
    if (table.true_ids > 0).sum() < FEWEST_STRUCTURES:
        return math.nan
    return adjusted_rand_index(table, foreground_only=True)


def _table(
    truth: NDArray[Any] | Contingency, prediction: NDArray[Any] | None, foreground_only: bool
) -> Contingency:
    """Return the table of the pixels that count."""
    table = as_table(truth, prediction)
    return table.labelled() if foreground_only else table


def _pairs(table: Contingency) -> tuple[int, int, int, int]:
    """Return the numbers of ordered pixel pairs: together in both, only in truth, only in prediction, apart.

    Squares of sizes fit int64 up to 3e9 pixels; the results are Python's integers, of any size.
    """
    in_both = int(table.counts @ table.counts)
    in_truth = int(table.true_sizes @ table.true_sizes)
    in_prediction = int(table.pred_sizes @ table.pred_sizes)
    apart = table.total**2 - in_truth - in_prediction + in_both
    return in_both - table.total, in_truth - in_both, in_prediction - in_both, apart
