"""How benchmarks/level_by_slice.py learns a level for each slice."""

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from fewct.imaging.agglomeration import merge_tree

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def by_slice() -> ModuleType:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import level_by_slice
    finally:
        sys.path.remove(str(BENCHMARKS))
    return level_by_slice


def example(by_slice: ModuleType, best: int, name: str = "hearts", patient: str = "p") -> object:
    """Return a slice whose best level is `best`, which its first statistic tells."""
    worth = -0.1 * np.abs(np.arange(len(by_slice.GRID)) - best)
    scores = by_slice.SliceScores(name, patient, 2, (), ())
    return by_slice.Example(scores, np.column_stack([worth] * 3), np.array([float(best), 1.0, 0, 0, 0, 0, 0]))


def test_a_level_is_learned_from_the_statistics(by_slice: ModuleType) -> None:
    some = [example(by_slice, best) for best in (2, 2, 2, 2, 9, 9, 9, 9)]
    choose = by_slice.learned(some, (0, 1))
    assert (choose(some[0].features), choose(some[-1].features)) == (2, 9)


def test_the_one_level_for_all_gives_each_set_the_same_weight(by_slice: ModuleType) -> None:
    few, many = [example(by_slice, 3)] * 2, [example(by_slice, 8, "btcv_val")] * 10
    assert by_slice.balanced([*few, *many]).tolist() == pytest.approx([3.0] * 2 + [0.6] * 10)
    assert 3 <= by_slice.best_level([*few, *many]) <= 8
    assert by_slice.best_level([*few, few[0], example(by_slice, 8)]) == 3


def test_a_person_is_not_judged_by_what_was_learned_on_it(by_slice: ModuleType) -> None:
    odd = [example(by_slice, 9, patient="a")]
    others = [example(by_slice, 2, patient="b") for _ in range(6)]
    chosen = by_slice.crossed([*odd, *others], (0,))
    assert chosen[0] == 2
    assert by_slice.learned([*odd, *others], (0,))(odd[0].features) != 2


def test_rows_tell_what_each_way_of_choosing_reaches(by_slice: ModuleType) -> None:
    train = [example(by_slice, 4, patient=f"{k}") for k in range(4)]
    val = [example(by_slice, 4, patient="x"), example(by_slice, 6, "btcv_val", patient="y")]
    rows = {(row["level"], row["set"]): row for row in by_slice.table(train, val)}
    assert rows["0.3 for all", "hearts"]["mean_of_both"] == "0.0000"
    assert rows["0.3 for all", "btcv_val"]["mean_of_both"] == "-0.2000"
    assert rows["0.3 for all", "mean over sets"]["mean_best_iou"] == "-0.1000"
    assert rows["oracle", "mean over sets"]["ari_foreground"] == "0.0000"


def test_statistics_tell_how_a_tree_merges(by_slice: ModuleType) -> None:
    boundary = np.array([[0, 0.5, 0, 0.3, 0]], np.float32)
    tree = merge_tree(np.array([[1, 1, 2, 3, 3]], np.int32), boundary)
    log_leaves, *logs, low, middle, high = by_slice.statistics(tree).tolist()
    assert log_leaves == pytest.approx(np.log(4))
    assert logs == pytest.approx([0, np.log(3 / 4), np.log(2 / 4)])
    assert (low, middle, high) == pytest.approx((0.35, 0.4, 0.45))
    nothing = merge_tree(np.zeros((1, 3), np.int32), np.zeros((1, 3), np.float32))
    assert by_slice.statistics(nothing).tolist() == [0] * 7
