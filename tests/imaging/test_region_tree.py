"""Regions of a merge tree by hand: what is foreground, and how far each is from merging."""

import numpy as np
import pytest

from fewct.imaging.agglomeration import merge_tree
from fewct.imaging.cleanup import Cleanup
from fewct.imaging.region_tree import RegionTree
from fewct.types import CTSlice

LEAVES = np.array([[1, 1, 2, 2, 3, 3, 4, 4]], dtype=np.int32)
BOUNDARY = np.array([[0, 0.2, 0, 0.5, 0, 0.9, 0, 0]], dtype=np.float32)
"""Regions 1 and 2 merge at 0.2, with 3 at 0.5 and with 4 at 0.9."""


def regions(foreground: list[float], min_foreground: float, cleanup: Cleanup | None = None) -> RegionTree:
    return RegionTree(
        tree=merge_tree(LEAVES, BOUNDARY),
        image=CTSlice(np.zeros(LEAVES.shape), "hu"),
        body=np.array([[1, 1, 1, 1, 1, 1, 1, 0]], dtype=bool),
        foreground=np.array([foreground], dtype=np.float32),
        min_foreground=min_foreground,
        cleanup=cleanup or Cleanup(),
    )


def test_scores_are_how_far_the_level_moves_until_a_structure_merges() -> None:
    cut = regions([1] * 8, 0).cut(0.3)
    assert cut.labels.tolist() == [[3, 3, 3, 3, 1, 1, 2, 2]]
    np.testing.assert_allclose(cut.scores, [0.5, 0.9, 0.5 - 0.2], rtol=1e-6)
    np.testing.assert_allclose(cut.at_level(0.6).scores, [0.9, 0.9 - 0.5], rtol=1e-6)
    np.testing.assert_allclose(cut.at_level(1.0).scores, [1 - 0.9], rtol=1e-6)


def test_regions_of_low_mean_foreground_are_background() -> None:
    foreground = [1, 0.6, 0.8, 0.6, 0.9, 0.9, 0.9, 0.5]  # means 0.75, 0.9 and 0.7 at a level of 0.3
    by_limit = {limit: regions(foreground, limit).cut(0.3) for limit in (0.65, 0.72, 0.83, 0.95)}
    assert by_limit[0.65].labels.tolist() == [[3, 3, 3, 3, 1, 1, 2, 2]]
    assert by_limit[0.72].labels.tolist() == [[2, 2, 2, 2, 1, 1, 0, 0]]
    assert by_limit[0.83].labels.tolist() == [[0, 0, 0, 0, 1, 1, 0, 0]]
    assert by_limit[0.95].labels.tolist() == [[0] * 8]
    np.testing.assert_allclose(by_limit[0.72].scores, [0.5, 0.3], rtol=1e-6)


def test_clean_up_applies_to_the_structures_with_their_scores() -> None:
    cut = regions([1] * 8, 0, Cleanup("2px", body_only=True)).cut(0.3)
    assert cut.labels.tolist() == [[2, 2, 2, 2, 1, 1, 0, 0]]
    np.testing.assert_allclose(cut.scores, [0.5, 0.3], rtol=1e-6)


@pytest.mark.parametrize(("level", "n_leaves"), [(0.1, [1, 1, 1, 1]), (0.3, [1, 1, 2]), (1.0, [4])])
def test_structures_consist_of_leaves(level: float, n_leaves: list[int]) -> None:
    cut = regions([1] * 8, 0).cut(level)
    assert [cut.n_regions(structure) for structure in range(1, len(n_leaves) + 1)] == n_leaves


def test_a_split_undoes_the_last_merge_and_scores_its_parts() -> None:
    parts = regions([1] * 8, 0).cut(0.3).split(3)
    assert parts.labels.tolist() == [[3, 3, 4, 4, 1, 1, 2, 2]]
    np.testing.assert_allclose(parts.scores, [0.5, 0.9, 0.2, 0.2], rtol=1e-6)
