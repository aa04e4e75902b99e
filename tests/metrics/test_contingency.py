import numpy as np
import pytest
from hypothesis import given, settings
from sklearn.metrics.cluster import contingency_matrix

from fewct.errors import InputError, UsageError
from fewct.metrics import Contingency, as_table, contingency, merge_tables
from fewct.metrics import contingency as count
from oracles import pairs_of_label_maps


def dense(table: Contingency) -> np.ndarray:
    matrix = np.zeros((len(table.true_ids), len(table.pred_ids)), dtype=np.int64)
    matrix[table.rows, table.columns] = table.counts
    return matrix


def assert_equal(first: Contingency, second: Contingency) -> None:
    for name in ("true_ids", "pred_ids", "rows", "columns", "counts"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


@given(pairs_of_label_maps())
@settings(max_examples=100)
def test_equals_scikit_learn(pair):
    truth, prediction = pair
    table = contingency(truth, prediction)
    np.testing.assert_array_equal(dense(table), contingency_matrix(truth.ravel(), prediction.ravel()))
    np.testing.assert_array_equal(table.true_ids, np.unique(truth))
    np.testing.assert_array_equal(table.pred_ids, np.unique(prediction))
    np.testing.assert_array_equal(table.true_sizes, np.unique(truth, return_counts=True)[1])
    np.testing.assert_array_equal(table.pred_sizes, np.unique(prediction, return_counts=True)[1])
    assert table.total == truth.size
    assert (table.counts > 0).all()


def test_labels_may_be_large_and_far_apart():
    rng = np.random.default_rng(0)
    truth, prediction = rng.integers(0, 6, (2, 40, 50))
    ids = np.array([0, 3, 70_000, 2**20, 2**31 - 2, 2**31 - 1])
    table = contingency(ids[truth], ids[prediction])
    np.testing.assert_array_equal(dense(table), dense(contingency(truth, prediction)))
    np.testing.assert_array_equal(table.true_ids, ids)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int8, np.int16, np.uint64, np.int64])
def test_every_integer_type_counts_alike(dtype):
    rng = np.random.default_rng(1)
    truth, prediction = rng.integers(0, 120, (2, 30, 30))
    assert_equal(contingency(truth.astype(dtype), prediction.astype(dtype)), contingency(truth, prediction))


def test_more_than_255_labels_in_narrow_arrays():
    truth = np.arange(256, dtype=np.uint8).reshape(16, 16)
    prediction = np.arange(300, 556, dtype=np.uint16).reshape(16, 16)
    table = contingency(truth, prediction)
    assert len(table.counts) == 256
    assert table.pred_ids[-1] == 555


def test_masks_are_label_maps():
    truth = np.array([[True, True, False]])
    table = contingency(truth, ~truth)
    assert dense(table).tolist() == [[0, 1], [2, 0]]


def test_volume_larger_than_a_chunk():
    rng = np.random.default_rng(2)
    truth, prediction = rng.integers(0, 4, (2, 5, 512, 512), dtype=np.uint8)
    table = contingency(truth, prediction)
    np.testing.assert_array_equal(dense(table), contingency_matrix(truth.ravel(), prediction.ravel()))
    assert_equal(contingency(truth.T, prediction.T), table)
    ids = np.array([0, 5, 10**6, 10**9])
    np.testing.assert_array_equal(dense(contingency(ids[truth], ids[prediction])), dense(table))


def test_slices_merge_to_the_scan():
    rng = np.random.default_rng(3)
    truth, prediction = rng.integers(0, 9, (2, 6, 8, 7))
    truth[2] = 0
    prediction[3] = 1000
    tables = [contingency(*slices) for slices in zip(truth, prediction, strict=True)]
    assert_equal(merge_tables(tables), contingency(truth, prediction))


def test_labelled_keeps_the_pixels_of_true_structures():
    rng = np.random.default_rng(4)
    truth, prediction = rng.integers(0, 3, (2, 9, 9))
    inside = truth > 0
    assert_equal(
        contingency(truth, prediction).labelled(), contingency(truth[inside][None], prediction[inside][None])
    )
    assert contingency(np.zeros((2, 2), int), prediction[:2, :2]).labelled().total == 0


def test_as_table_takes_arrays_or_a_table():
    labels = np.eye(3, dtype=int)
    table = contingency(labels, labels)
    assert as_table(table) is table
    assert_equal(as_table(labels, labels), table)
    with pytest.raises(UsageError, match="found a table and a prediction"):
        as_table(table, labels)
    with pytest.raises(UsageError, match="found truth alone"):
        as_table(labels)


@pytest.mark.parametrize(
    ("truth", "prediction", "message"),
    [
        (np.zeros((3, 3), int), np.zeros((3, 4), int), r"truth and prediction: expected arrays of the same"),
        (np.zeros((3, 3), int), np.zeros((1, 3, 3), int), r"found \(3, 3\) and \(1, 3, 3\)"),
        (np.zeros((3, 3), int), np.full((3, 3), -1), r"prediction: expected labels of 0"),
        (np.zeros((3, 3)), np.zeros((3, 3), int), r"truth: expected integer labels.*float64"),
        (np.zeros(3, int), np.zeros(3, int), r"truth: expected a non-empty label map"),
        (np.zeros((0, 3), int), np.zeros((0, 3), int), r"truth: expected a non-empty label map"),
        (np.zeros((3, 3), int), np.full((3, 3), 2**31), r"prediction: expected labels up to 2147483647"),
    ],
)
def test_what_is_no_pair_of_label_maps_is_refused(truth, prediction, message):
    with pytest.raises(InputError, match=message):
        count(truth, prediction)
