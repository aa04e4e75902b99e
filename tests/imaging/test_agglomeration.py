"""The merge tree against a slow agglomeration."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from fewct.errors import InputError
from fewct.imaging.agglomeration import FEW_PAIRS, RegionPairs, merge_tree, region_borders
from fewct.imaging.merge_tree import cut_level, oversegment

some = settings(max_examples=40)


@st.composite
def scenes(draw):
    """Leaves of a random boundary map in a random mask that may fall apart, and what random pairs say."""
    shape = draw(st.tuples(st.integers(1, 12), st.integers(1, 12)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    boundary = ndimage.gaussian_filter(rng.random(shape), draw(st.sampled_from([0.0, 1.0])))
    boundary = boundary.astype(np.float32)
    leaves = oversegment(boundary, rng.random(shape) < draw(st.sampled_from([0.6, 0.9, 1.0])), depth=0)
    n = int(leaves.max(initial=0))
    count = draw(st.sampled_from([0, 5, 200])) if n > 1 else 0
    first = rng.integers(1, max(n, 1) + 1, count)
    second = (first + rng.integers(1, max(n, 2), count) - 1) % max(n, 1) + 1
    return leaves, boundary, (first, second, rng.random(count))


def slow_merges(leaves, boundary, pairs, share):
    """Merge the two neighbours that are least apart until none touch; return (level, mask) of each merge."""
    labels = leaves.astype(int)
    level = dict.fromkeys(np.unique(labels).tolist(), 0.0)
    now = {label: label for label in level}
    merges = []
    while True:
        borders, said = {}, {}
        for (i, j), a in np.ndenumerate(labels):
            for p, q in ((i + 1, j), (i, j + 1)):
                if p < labels.shape[0] and q < labels.shape[1] and 0 < a != labels[p, q] > 0:
                    pair = tuple(sorted((int(a), int(labels[p, q]))))
                    borders.setdefault(pair, []).append(float(max(boundary[i, j], boundary[p, q])))
        for first, second, value in zip(*pairs, strict=True):
            a, b = sorted((now[int(first)], now[int(second)]))
            if a != b:
                said.setdefault((a, b), []).append(value)
        if not borders:
            return merges

        def apart(pair, borders=borders, said=said):
            values = said.get(pair, [])
            weight = share * len(values) / (len(values) + FEW_PAIRS)
            return (1 - weight) * np.mean(borders[pair]) + weight * (np.mean(values) if values else 0)

        a, b = min(borders, key=apart)
        distance = apart((a, b))
        labels[labels == b] = a
        now = {label: a if to == b else to for label, to in now.items()}
        level[a] = max(level[a], level[b], distance)
        merges.append((level[a], labels == a))


def same_partition(first, second):
    pairs = set(zip(first.ravel().tolist(), second.ravel().tolist(), strict=True))
    return len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


def test_borders_by_hand():
    leaves = np.array([[1, 2, 0], [1, 2, 3]], dtype=np.int32)
    boundary = np.array([[0.1, 0.4, 0.9], [0.2, 0.1, 0.7]], dtype=np.float32)
    borders = region_borders(leaves, boundary)
    assert borders.nodes.tolist() == [[0, 1], [1, 2]]
    np.testing.assert_allclose(borders.sums, [0.4 + 0.2, 0.7])
    assert borders.counts.tolist() == [2, 1]


@some
@given(scenes(), st.floats(0, 1), st.floats(0, 1))
def test_tree_is_that_of_the_slow_agglomeration(scene, share, level):
    leaves, boundary, pairs = scene
    tree = merge_tree(leaves, boundary, RegionPairs.summed(*pairs), share)
    merges = slow_merges(leaves, boundary, pairs, share)
    joins = tree.n_leaves - 1 - len(merges) if tree.n_leaves else 0
    expected_levels = sorted(merged_at for merged_at, _ in merges) + [1.0] * joins
    np.testing.assert_allclose(np.sort(tree.levels[tree.n_leaves :]), expected_levels, rtol=1e-6)
    expected = leaves.copy()
    for number, (merged_at, region) in enumerate(merges, start=int(leaves.max(initial=0)) + 1):
        if merged_at < level:
            expected[region] = number
    assert same_partition(cut_level(tree, level), expected)


@some
@given(scenes())
def test_without_pairs_borders_alone_decide(scene):
    leaves, boundary, pairs = scene
    alone = merge_tree(leaves, boundary)
    weightless = merge_tree(leaves, boundary, RegionPairs.summed(*pairs), share=0)
    np.testing.assert_array_equal(alone.parents, weightless.parents)
    np.testing.assert_allclose(alone.levels, weightless.levels, rtol=1e-12)


def test_20_pairs_weigh_half_of_what_many_do():
    leaves, boundary = np.array([[1, 2]], dtype=np.int32), np.full((1, 2), 0.5, dtype=np.float32)
    for n, level in ((20, 0.75), (60, 0.875)):  # (1 - w) * 0.5 + w * 1 with w of 20/40 and 60/80
        said = RegionPairs.summed(np.full(n, 1), np.full(n, 2), np.ones(n))
        assert merge_tree(leaves, boundary, said, share=1.0).levels[2] == level


def test_pairs_keep_an_organ_together_across_a_vessel():
    leaves = np.repeat(np.array([[1, 2, 3]], dtype=np.int32), 4, axis=1).reshape(1, 12)
    boundary = np.full(leaves.shape, 0.4, dtype=np.float32)
    n = 1000
    say = RegionPairs.summed(np.array([1, 2] * n), np.array([2, 3] * n), [0.0, 1.0] * n)
    assert cut_level(merge_tree(leaves, boundary), 0.5).max() == 1
    labels = cut_level(merge_tree(leaves, boundary, say, 0.5), 0.3)
    assert labels[0, 0] == labels[0, 4] != labels[0, 8]


def test_pairs_of_regions_without_a_border_count_once_they_touch():
    leaves = np.array([[1, 2, 3]], dtype=np.int32)
    boundary = np.array([[0.1, 0.1, 0.3]], dtype=np.float32)
    far_apart = RegionPairs.summed(np.full(10_000, 1), np.full(10_000, 3), np.ones(10_000))
    tree = merge_tree(leaves, boundary, far_apart, share=1.0)
    assert tree.levels[3] == pytest.approx(0.1)
    assert tree.levels[4] == pytest.approx(1.0, abs=0.01)
    assert tree.levels[4] < 1


def test_certain_borders_merge_before_parts_are_joined():
    leaves = np.array([[1, 2, 0, 3]], dtype=np.int32)
    tree = merge_tree(leaves, np.ones((1, 4), dtype=np.float32))
    assert tree.levels[3] < 1
    assert tree.levels[4] == 1
    assert cut_level(tree, 1).tolist() == [[2, 2, 0, 1]]


def test_shapes_must_agree():
    with pytest.raises(InputError, match="leaves and boundary"):
        merge_tree(np.ones((2, 2), dtype=np.int32), np.zeros((2, 3), dtype=np.float32))


def test_pairs_weigh_half_by_default():
    leaves, boundary = np.array([[1, 2]], dtype=np.int32), np.array([[0.25, 0.25]], dtype=np.float32)
    pairs = RegionPairs.summed(np.array([1] * 20), np.array([2] * 20), np.full(20, 0.75))
    assert merge_tree(leaves, boundary, pairs).levels[2] == pytest.approx(0.75 * 0.25 + 0.25 * 0.75)


def test_parts_are_joined_one_by_one():
    leaves = np.array([[1, 0, 2, 0, 3]], dtype=np.int32)
    tree = merge_tree(leaves, np.zeros((1, 5), dtype=np.float32))
    assert tree.parents.tolist() == [3, 3, 4, 4, 4]
    assert tree.levels.tolist() == [0, 0, 0, 1, 1]


def test_what_shares_no_border_is_joined_last_whatever_pairs_say():
    leaves = np.array([[1, 0, 2, 3]], dtype=np.int32)
    alike = RegionPairs.summed(np.array([1] * 20), np.array([2] * 20), np.zeros(20))
    tree = merge_tree(leaves, np.full((1, 4), 0.75, dtype=np.float32), alike)
    assert tree.parents.tolist() == [4, 3, 3, 4, 4]
    assert tree.levels.tolist() == [0, 0, 0, 0.75, 1]
