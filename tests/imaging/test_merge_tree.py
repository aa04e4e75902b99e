"""Over-segmentation, and the properties that every cut of a merge tree has."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from fewct.errors import InputError, UsageError
from fewct.imaging.agglomeration import merge_tree
from fewct.imaging.merge_tree import (
    cut_level,
    nodes_at_level,
    oversegment,
    paint,
    persistence,
)

some = settings(max_examples=40)
levels = st.floats(0, 1)


@st.composite
def scenes(draw):
    """A random boundary map, smoothed or not, and a random mask that may fall apart."""
    shape = draw(st.tuples(st.integers(1, 12), st.integers(1, 12)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    boundary = ndimage.gaussian_filter(rng.random(shape), draw(st.sampled_from([0.0, 1.0])))
    return boundary.astype(np.float32), rng.random(shape) < draw(st.sampled_from([0.6, 0.9, 1.0]))


@st.composite
def trees(draw):
    boundary, mask = draw(scenes())
    return merge_tree(oversegment(boundary, mask, depth=0), boundary)


def same_partition(first, second):
    pairs = set(zip(first.ravel().tolist(), second.ravel().tolist(), strict=True))
    return len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


def is_refinement(fine, coarse):
    return len(set(zip(fine.ravel().tolist(), coarse.ravel().tolist(), strict=True))) == len(np.unique(fine))


def assert_regions(labels, inside):
    """Regions are numbered without gaps, fill the mask and are 4-connected."""
    np.testing.assert_array_equal(labels > 0, inside)
    assert labels.dtype == np.int32
    for region in range(1, labels.max(initial=0) + 1):
        assert ndimage.label(labels == region)[1] == 1


@some
@given(scenes(), st.sampled_from([0.0, 0.02, 0.3]), st.sampled_from([1, 5]))
def test_leaves_fill_the_mask(scene, depth, min_leaf_px):
    boundary, mask = scene
    assert_regions(oversegment(boundary, mask, depth=depth, min_leaf_px=min_leaf_px), mask)


def test_deeper_minima_give_fewer_leaves():
    boundary = np.array([[0.0, 0.3, 0.2, 0.9, 0.1]], dtype=np.float32)
    mask = np.ones_like(boundary, dtype=bool)
    counts = [oversegment(boundary, mask, depth=depth).max() for depth in (0, 0.05, 0.15, 0.85)]
    assert counts == [3, 3, 2, 1]


def test_small_leaves_join_a_neighbour_but_keep_lonely_parts():
    boundary = np.array([[0, 0, 0, 0.9, 0.2, 0.9, 0, 0, 0.5, 0.1]], dtype=np.float32)
    mask = np.array([[1, 1, 1, 1, 1, 1, 1, 1, 0, 1]], dtype=bool)
    leaves = oversegment(boundary, mask, depth=0, min_leaf_px=3)
    assert leaves.max() == 3
    assert leaves[0, 4] in (leaves[0, 0], leaves[0, 7])
    assert leaves[0, 9] not in (leaves[0, 0], leaves[0, 7])


def test_leaves_are_limited():
    boundary = np.random.default_rng(0).random((60, 60)).astype(np.float32)
    mask = np.ones((60, 60), dtype=bool)
    assert oversegment(boundary, mask, depth=0).max() > 300
    assert 1 < oversegment(boundary, mask, depth=0, max_leaves=50).max() <= 50
    apart = np.indices((6, 6)).sum(axis=0) % 2 == 0
    assert oversegment(boundary[:6, :6], apart, max_leaves=1).max() == 18  # one for each connected part


def test_as_many_leaves_as_allowed_are_not_merged():
    boundary = np.array([[0.0, 0.5, 0.1, 0.5, 0.2]], dtype=np.float32)
    mask = np.ones_like(boundary, dtype=bool)
    counts = [oversegment(boundary, mask, depth=0, max_leaves=limit).max() for limit in (4, 3, 2, 1)]
    assert counts == [3, 3, 2, 1]


def test_leaves_of_one_pixel_are_smaller_than_two():
    boundary = np.array([[0.0, 0.0, 0.3, 0.2, 0.0, 0.0, 0.0]], dtype=np.float32)
    mask = np.array([[1, 1, 1, 1, 0, 1, 1]], dtype=bool)
    assert oversegment(boundary, mask, depth=0, min_leaf_px=1).tolist() == [[1, 1, 1, 2, 0, 3, 3]]
    assert oversegment(boundary, mask, depth=0, min_leaf_px=2).tolist() == [[1, 1, 1, 1, 0, 2, 2]]


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_constant_boundary_is_one_leaf_a_part(value):
    mask = np.ones((4, 9), dtype=bool)
    mask[:, 4] = False
    leaves = oversegment(np.full((4, 9), value, dtype=np.float32), mask)
    assert_regions(leaves, mask)
    assert leaves.max() == 2


@some
@given(trees())
def test_tree_is_well_formed(tree):
    nodes = np.arange(len(tree.parents))
    assert len(nodes) == max(0, 2 * tree.leaves.max() - 1)
    assert (tree.parents[:-1] > nodes[:-1]).all()
    assert (tree.parents[-1:] == nodes[-1:]).all()
    assert (tree.levels[tree.parents] >= tree.levels).all()
    assert ((tree.levels >= 0) & (tree.levels <= 1)).all()
    lasting = persistence(tree)
    assert ((lasting >= 0) & (lasting <= 1)).all()


@some
@given(trees(), levels, levels)
def test_cuts_are_nested(tree, one, other):
    fine, coarse = cut_level(tree, min(one, other)), cut_level(tree, max(one, other))
    assert_regions(fine, tree.leaves > 0)
    assert is_refinement(fine, coarse)


@some
@given(trees())
def test_the_two_ends_of_the_level(tree):
    assert same_partition(cut_level(tree, 0), tree.leaves)
    assert same_partition(cut_level(tree, 1), ndimage.label(tree.leaves > 0)[0])


def leaves_below(tree, node):
    below = [node]
    for child in range(len(tree.parents) - 1, -1, -1):
        if tree.parents[child] in below and child not in below:
            below.append(child)
    return sorted(n for n in below if n < tree.n_leaves)


@pytest.mark.parametrize("cut", [lambda t: cut_level(t, 0.5)])
@pytest.mark.parametrize("n_leaves", [0, 1])
def test_no_leaf_and_one_leaf(cut, n_leaves):
    leaves = np.full((2, 3), n_leaves, dtype=np.int32)
    tree = merge_tree(leaves, np.zeros((2, 3), dtype=np.float32))
    assert tree.n_leaves == n_leaves
    assert len(tree.parents) == len(tree.levels) == n_leaves
    np.testing.assert_array_equal(cut(tree), leaves)
    assert persistence(tree).tolist() == [1.0] * n_leaves


def test_empty_mask_has_no_leaves():
    leaves = oversegment(np.zeros((3, 3), dtype=np.float32), np.zeros((3, 3), dtype=bool), min_leaf_px=4)
    assert not leaves.any()


def test_level_holds_merges_strictly_below_it():
    leaves = np.array([[1, 2]], dtype=np.int32)
    tree = merge_tree(leaves, np.full((1, 2), 0.25, dtype=np.float32))
    assert cut_level(tree, 0.25).max() == 2
    assert cut_level(tree, 0.26).max() == 1


def test_nodes_and_paint_agree():
    leaves = np.array([[1, 2, 3, 0]], dtype=np.int32)
    tree = merge_tree(leaves, np.array([[0.1, 0.2, 0.8, 0]], dtype=np.float32))
    nodes = nodes_at_level(tree, 0.5)
    assert nodes.tolist() == [3, 3, 2]
    assert paint(tree, nodes).tolist() == [[2, 2, 1, 0]]


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda t: cut_level(t, 1.5), "level: expected a number in"),
        (lambda t: cut_level(t, float("nan")), "level: expected a number in"),
        (lambda t: oversegment(t.leaves, t.leaves > 0, depth=-0.1), "depth: expected a number in"),
        (lambda t: oversegment(t.leaves, t.leaves > 0, min_leaf_px=0), "min_leaf_px: expected 1 or more"),
        (lambda t: oversegment(t.leaves, t.leaves > 0, max_leaves=0), "max_leaves: expected 1 or more"),
    ],
)
def test_settings_out_of_range(call, name):
    tree = merge_tree(np.array([[1, 2]], dtype=np.int32), np.zeros((1, 2), dtype=np.float32))
    with pytest.raises(UsageError, match=name):
        call(tree)


def test_shapes_must_agree():
    wide, mask = np.zeros((2, 3), dtype=np.float32), np.ones((2, 2), dtype=bool)
    with pytest.raises(InputError, match="boundary and mask"):
        oversegment(wide, mask)
