"""The oracle of merge trees, and the instances of tissue maps, in benchmarks/regions.py."""

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from fewct.imaging.agglomeration import merge_tree
from fewct.imaging.cleanup import Cleanup
from fewct.imaging.region_tree import RegionTree
from fewct.types import CTSlice

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
LEAVES = np.repeat([[1, 1, 2, 2, 3, 3, 0]], 2, axis=0).astype(np.int32)
BOUNDARY = np.repeat([[0, 0.25, 0.25, 0, 0.5, 0.5, 0]], 2, axis=0).astype(np.float32)


@pytest.fixture(scope="module")
def regions() -> ModuleType:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import regions
    finally:
        sys.path.remove(str(BENCHMARKS))
    return regions


def test_the_best_region_of_a_structure_may_be_a_leaf_or_a_merge(regions: ModuleType) -> None:
    truth = np.repeat([[0, 7, 7, 7, 0, 4, 4]], 2, axis=0).astype(np.int32)
    # structure 4: half of leaf 3 and one column outside; 7: three of the four columns of leaves 1 and 2
    assert regions.best_regions(merge_tree(LEAVES, BOUNDARY), truth).tolist() == [1 / 3, 3 / 4]


def test_a_tree_without_leaves_holds_nothing(regions: ModuleType) -> None:
    empty = merge_tree(np.zeros((2, 3), np.int32), np.zeros((2, 3), np.float32))
    assert regions.best_regions(empty, np.array([[1, 1, 0], [0, 0, 2]], np.int32)).tolist() == [0, 0]


def test_cuts_are_scored_at_the_levels_asked_for_and_at_the_best_one(regions: ModuleType) -> None:
    truth = np.repeat([[1, 1, 2, 2, 3, 3, 0]], 2, axis=0).astype(np.int32)
    image, inside = CTSlice(np.zeros((2, 7), np.float32), "grey"), LEAVES > 0
    tree = RegionTree(merge_tree(LEAVES, BOUNDARY), image, inside, inside.astype(np.float32), 0.5, Cleanup())
    case = regions.RegionCase("p", image, {"hearts": truth, "tissue_bone": (truth == 1).astype(np.int32)})
    three, one = regions.slice_scores(tree, case, [0.7, 0.2])
    ari, foreground, iou = three.at_level[0]
    assert (np.isnan(ari), foreground, iou) == (True, 0, pytest.approx(1 / 3))
    assert three.at_level[1][1:] == (1, 1)
    assert three.oracle == (1, 0.25, 1, 1)  # the level nearest to the first of those that are best
    assert (three.n_true, one.n_true) == (3, 1)
    assert np.isnan(one.at_level[0][1])  # the Rand index of a single structure says nothing
    assert one.at_level[0][2] == pytest.approx(1 / 3)


def test_rows_are_means_over_slices_with_intervals_by_patient(regions: ModuleType) -> None:
    def scored(patient: str, n_true: int, foreground: float, iou: float) -> object:
        return regions.SliceScores(
            "hearts", patient, n_true, ((np.nan, foreground, iou),), (1, 0.4, 0.5, 0.5)
        )

    scores = [scored("a", 3, 0.25, 0.5), scored("a", 1, np.nan, 0.25), scored("b", 2, 0.75, 0.75)]
    (row,) = regions.summary_rows("shipped", scores, [0.45])
    assert (row["slices"], row["slices_of_two"], row["patients"]) == (3, 2, 2)
    assert (row["ari"], row["ari_foreground"], row["mean_best_iou"]) == ("", "0.5000", "0.5000")
    assert (row["ari_foreground_low"], row["ari_foreground_high"]) == ("0.2500", "0.7500")


@pytest.mark.usefixtures("regions")
def test_instances_are_large_parts_of_each_class() -> None:
    instances = sys.modules["region_sets"].instances
    tissue = np.zeros((12, 20), np.uint8)
    tissue[:6, :6] = 1
    tissue[:6, 6:12] = 2  # touches the first, of another class
    tissue[7:12, :6] = 2
    tissue[7:12, 10:15] = 1  # 25 pixels: too few
    labels = instances(tissue, (1, 2))
    assert np.unique(labels).tolist() == [0, 1, 2, 3]
    assert (labels[0, 0], labels[0, 6], labels[8, 0], labels[8, 11]) == (1, 2, 3, 0)
    assert np.bincount(labels.ravel())[1:].tolist() == [36, 36, 30]
    assert instances(tissue, (9,)).max() == 0
