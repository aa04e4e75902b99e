"""The contingency table of two label maps, from which all pixel-counting metrics follow.

Counted once, it replaces the label maps: a few hundred numbers instead of a quarter of a million pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fewct.errors import UsageError, as_labels, check_same_shape

Counts: TypeAlias = Annotated[NDArray[np.int64], "n"]

CHUNK_PIXELS = 2**20
DENSE_CELLS = 2**20


@dataclass(frozen=True, eq=False)
class Contingency:
    """How many pixels carry each pair of (true label, predicted label); only pairs that occur are kept.

    Args:
        true_ids: int64 (n,): the labels in truth, ascending, 0 (background) among them if it occurs.
        pred_ids: int64 (m,): the labels in the prediction, likewise.
        rows: int64 (pairs,): index into `true_ids` of each pair; pairs are sorted by row, then column.
        columns: int64 (pairs,): index into `pred_ids` of each pair.
        counts: int64 (pairs,): pixels of each pair, above 0.
    """

    true_ids: Counts
    pred_ids: Counts
    rows: Counts
    columns: Counts
    counts: Counts

    @cached_property
    def total(self) -> int:
        """Number of pixels."""
        return int(self.counts.sum())

    @cached_property
    def true_sizes(self) -> Counts:
        """Pixels of each true label, int64 (n,)."""
        return _sums(self.rows, self.counts, len(self.true_ids))

    @cached_property
    def pred_sizes(self) -> Counts:
        """Pixels of each predicted label, int64 (m,)."""
        return _sums(self.columns, self.counts, len(self.pred_ids))

    def labelled(self) -> "Contingency":
        """Return the table of the pixels that truth gives to a structure (truth above 0)."""
        kept = self.true_ids[self.rows] > 0
        return _from_pairs(
            self.true_ids[self.rows[kept]], self.pred_ids[self.columns[kept]], self.counts[kept]
        )


def contingency(truth: NDArray[Any], prediction: NDArray[Any]) -> Contingency:
    """Count how often each true label meets each predicted label.

    Args:
        truth: Label map, integers of 0 or more, (rows, columns) or (slices, rows, columns). Labels need
            not be consecutive.
        prediction: Label map of the same shape.

    Returns:
        The sparse table of the two.

    Raises:
        InputError: If one is not a label map, or their shapes differ.

    Example:
        >>> table = contingency(np.array([[0, 1, 1, 7]]), np.array([[0, 2, 2, 2]]))
        >>> table.true_ids, table.pred_ids, table.counts
        (array([0, 1, 7]), array([0, 2]), array([1, 2, 1]))
    """
    true = as_labels(np.asarray(truth), "truth")
    pred = as_labels(np.asarray(prediction), "prediction")
    check_same_shape(true, pred, ("truth", "prediction"))
    width = int(pred.max()) + 1
    cells = (int(true.max()) + 1) * width
    flat_true, flat_pred = true.reshape(-1), pred.reshape(-1)
    codes, counts = [], []
    for start in range(0, true.size, CHUNK_PIXELS):
        chunk = slice(start, start + CHUNK_PIXELS)
        some_codes, some_counts = _count(flat_true[chunk].astype(np.int64) * width + flat_pred[chunk], cells)
        codes.append(some_codes)
        counts.append(some_counts)
    all_codes = np.concatenate(codes)
    return _from_pairs(all_codes // width, all_codes % width, np.concatenate(counts))


def merge_tables(tables: Sequence[Contingency]) -> Contingency:
    """Return the table of all pixels of several tables, such as a scan's from those of its slices.

    Args:
        tables: At least one table; a label means the same structure in all of them.

    Example:
        >>> slices = [contingency(np.array([[0, 1]]), np.array([[0, 3]])) for _ in range(5)]
        >>> merge_tables(slices).counts
        array([5, 5])
    """
    return _from_pairs(
        np.concatenate([table.true_ids[table.rows] for table in tables]),
        np.concatenate([table.pred_ids[table.columns] for table in tables]),
        np.concatenate([table.counts for table in tables]),
    )


def as_table(truth: NDArray[Any] | Contingency, prediction: NDArray[Any] | None = None) -> Contingency:
    """Return the table of two label maps, or a table as it is.

    Raises:
        InputError: If one is not a label map, or their shapes differ.
        UsageError: If a table comes with a prediction, or a label map without.
    """
    if isinstance(truth, Contingency) and prediction is None:
        return truth
    if isinstance(truth, Contingency) or prediction is None:
        raise UsageError(
            "truth and prediction",
            expected="two label maps, or one contingency table alone",
            found="a table and a prediction" if isinstance(truth, Contingency) else "truth alone",
            fix="Pass (truth, prediction) or contingency(truth, prediction).",
        )
    return contingency(truth, prediction)


def _count(codes: Counts, cells: int) -> tuple[Counts, Counts]:
    """Return the codes that occur, ascending, and how often; codes lie below `cells`."""
    if cells > DENSE_CELLS:
        return np.unique(codes, return_counts=True)
    counts = np.bincount(codes)
    occurring = np.flatnonzero(counts)
    return occurring, counts[occurring]


def _from_pairs(true: Counts, pred: Counts, counts: Counts) -> Contingency:
    """Return the table of pairs of labels that may repeat; their counts are added up."""
    true_ids, rows = np.unique(true, return_inverse=True)
    pred_ids, columns = np.unique(pred, return_inverse=True)
    width = max(len(pred_ids), 1)
    codes, where = np.unique(rows * width + columns, return_inverse=True)
    return Contingency(true_ids, pred_ids, codes // width, codes % width, _sums(where, counts, len(codes)))


def _sums(groups: Counts, counts: Counts, n: int) -> Counts:
    """Return the sum of the counts of each of `n` groups (exact below 2**53)."""
    return np.bincount(groups, weights=counts, minlength=n).astype(np.int64)
