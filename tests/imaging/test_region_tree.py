"""Regions of a merge tree by hand: what is foreground, and how far each is from merging."""

import numpy as np
import pytest

from fewct.errors import UsageError
from fewct.imaging.agglomeration import merge_tree
from fewct.imaging.cleanup import Cleanup
from fewct.imaging.region_tree import RegionTree
from fewct.types import CTSlice

LEAVES = np.array([[1, 1, 2, 2, 3, 3, 4, 4]], dtype=np.int32)
BOUNDARY = np.array([[0, 0.2, 0, 0.5, 0, 0.9, 0, 0]], dtype=np.float32)
"""Regions 1 and 2 merge at 0.2, with 3 at 0.5 and with 4 at 0.9."""


INSIDE = [1, 1, 1, 1, 1, 1, 1, 0]


def regions(
    foreground: list[float], min_foreground: float, cleanup: Cleanup | None = None, body: list[int] = INSIDE
) -> RegionTree:
    return RegionTree(
        tree=merge_tree(LEAVES, BOUNDARY),
        image=CTSlice(np.zeros(LEAVES.shape), "hu"),
        body=np.array([body], dtype=bool),
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


def test_a_mean_of_exactly_the_least_foreground_is_foreground() -> None:
    cut = regions([1, 0.5, 1, 0.5, 0.5, 0.5, 0.75, 0.75], 0.75).cut(0.3)
    assert cut.labels.tolist() == [[2, 2, 2, 2, 0, 0, 1, 1]]


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


def test_the_largest_part_keeps_the_id() -> None:
    whole = regions([1] * 8, 0).cut(1.0)
    parts = whole.split(1)
    assert parts.labels.tolist() == [[1, 1, 1, 1, 1, 1, 2, 2]]
    np.testing.assert_allclose(parts.scores, [0.4, 0.9], rtol=1e-6)
    finer = parts.split(1)
    assert finer.labels.tolist() == [[1, 1, 1, 1, 3, 3, 2, 2]]
    np.testing.assert_allclose(finer.scores, [0.3, 0.9, 0.5], rtol=1e-6)
    assert whole.labels.tolist() == [[1] * 8]


def test_a_merge_keeps_the_first_id_and_a_split_undoes_it() -> None:
    cut = regions([1] * 8, 0).cut(0.3)
    merged = cut.merge(2, 1)
    assert merged.labels.tolist() == [[3, 3, 3, 3, 2, 2, 2, 2]]
    np.testing.assert_allclose(merged.scores, [np.nan, np.nan, 0.3], rtol=1e-6)
    np.testing.assert_allclose(cut.scores, [0.5, 0.9, 0.3], rtol=1e-6)
    apart = merged.split(2)
    assert apart.labels.tolist() == [[3, 3, 3, 3, 2, 2, 4, 4]]
    np.testing.assert_allclose(apart.scores, [np.nan, 0.5, 0.3, 0.9], rtol=1e-6)


def test_splits_and_merges_are_clipped_to_the_body_where_the_clean_up_is() -> None:
    clipped = regions([1] * 8, 0, Cleanup(body_only=True)).cut(0.3)
    assert clipped.labels.tolist() == [[3, 3, 3, 3, 1, 1, 2, 0]]
    assert clipped.merge(1, 2).labels.tolist() == [[3, 3, 3, 3, 1, 1, 1, 0]]
    assert clipped.split(3).labels.tolist() == [[3, 3, 4, 4, 1, 1, 2, 0]]
    unclipped = regions([1] * 8, 0).cut(0.3)
    assert unclipped.merge(1, 2).labels.tolist() == [[3, 3, 3, 3, 1, 1, 1, 1]]


def test_the_largest_part_is_that_with_most_pixels_in_the_body() -> None:
    cut = regions([1] * 8, 0, Cleanup(body_only=True), [1, 0, 0, 0, 1, 1, 1, 1]).cut(1.0)
    assert cut.labels.tolist() == [[1, 0, 0, 0, 1, 1, 1, 1]]
    again = regions([1] * 8, 0, Cleanup(body_only=True), [1, 0, 1, 1, 1, 1, 1, 1]).cut(0.3).split(3)
    assert again.labels.tolist() == [[4, 0, 3, 3, 1, 1, 2, 2]]


@pytest.mark.parametrize("structure", [-1, 0, 4])
def test_structures_that_there_are_not(structure: int) -> None:
    cut = regions([1] * 6 + [0, 0], 0.5).cut(0.3)  # the last region is background
    message = f"structure: expected the id of a structure of this result, found {structure}"
    for edit in (cut.split, cut.n_regions, lambda k: cut.merge(k, 1), lambda k: cut.merge(1, k)):
        with pytest.raises(UsageError, match=message):
            edit(structure)


def test_one_region_is_neither_split_nor_merged_with_itself() -> None:
    cut = regions([1] * 8, 0).cut(0.3)
    with pytest.raises(
        UsageError, match="one of several regions of the merge tree, found 1, which is a single"
    ):
        cut.split(1)
    with pytest.raises(UsageError, match="structures: expected two, found 3 twice"):
        cut.merge(3, 3)


def test_leaves_of_the_background_are_in_no_structure() -> None:
    cut = regions([1] * 6 + [0, 0], 0.5).cut(0.3)
    assert cut.ids.tolist() == [2, 2, 1, 0]
    assert [cut.n_regions(structure) for structure in (1, 2)] == [1, 2]
