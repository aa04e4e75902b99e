from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from fewct.errors import InputError, UsageError
from fewct.imaging.mask_merging import (
    containment_matrix,
    intersection_matrix,
    iou_matrix,
    join_label_maps,
    merge_masks,
)
from fewct.imaging.masks import proposals_from_masks

PROPERTY = settings(max_examples=60)
POLICIES = ["small-on-top", "score", "hierarchy"]


@st.composite
def scored_masks(draw, side=6):
    """Draw up to 5 masks of one shape with scores, some of them equal, some unknown."""
    n, rows, columns = draw(st.tuples(st.integers(0, 5), st.integers(1, side), st.integers(1, side)))
    masks = draw(npst.arrays(np.bool_, (n, rows, columns)))
    scores = draw(st.lists(st.sampled_from([0.25, 0.5, 0.75, float("nan")]), min_size=n, max_size=n))
    return masks, np.array(scores, dtype=np.float32)


def stack(*rows):
    """Masks of one row each, from text: '#' is inside."""
    return np.array([[[c == "#" for c in row]] for row in rows])


def iou(a, b):
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else 0.0


def content(masks, index, scores):
    return [(masks[i].tobytes(), scores[i].tobytes()) for i in index]


@PROPERTY
@given(scored_masks())
def test_overlaps_against_bool_arithmetic(drawn):
    masks, scores = drawn
    proposals = proposals_from_masks(masks, scores)
    pairs = [(a, b) for a in masks for b in masks]
    shape = (len(masks), len(masks))
    np.testing.assert_array_equal(
        intersection_matrix(proposals), np.reshape([np.count_nonzero(a & b) for a, b in pairs], shape)
    )
    np.testing.assert_allclose(iou_matrix(proposals), np.reshape([iou(a, b) for a, b in pairs], shape))
    shares = [np.count_nonzero(a & b) / max(1, np.count_nonzero(a)) for a, b in pairs]
    np.testing.assert_allclose(containment_matrix(proposals), np.reshape(shares, shape))


def test_overlaps_of_masks_that_cross_tiles():
    masks = np.random.default_rng(0).random((7, 150, 90)) < 0.3
    masks[3, 100:] = False
    masks[4, :, :70] = False
    flat = masks.reshape(7, -1).astype(np.int64)
    shared = intersection_matrix(proposals_from_masks(masks, np.ones(7)))
    np.testing.assert_array_equal(shared, flat @ flat.T)


@pytest.mark.parametrize("policy", POLICIES)
@PROPERTY
@given(drawn=scored_masks(), min_px=st.integers(0, 6), max_px=st.integers(0, 40))
def test_limits_hold_and_each_structure_is_part_of_its_mask(policy, drawn, min_px, max_px):
    masks, scores = drawn
    labels, index = merge_masks(proposals_from_masks(masks, scores), policy, min_px, max_px)
    assert labels.dtype == np.int32
    assert labels.shape == masks.shape[1:]
    assert sorted(set(labels.ravel().tolist()) - {0}) == list(range(1, len(index) + 1))
    assert len(set(index.tolist())) == len(index)
    for k, i in enumerate(index, start=1):
        visible = labels == k
        assert max(min_px, 1) <= np.count_nonzero(visible) <= np.count_nonzero(masks[i]) <= max_px
        assert not (visible & ~masks[i]).any()
    allowed = [m for m in masks if max(1, min_px) <= np.count_nonzero(m) <= max_px]
    covered = np.logical_or.reduce(allowed, axis=0) if allowed else np.zeros(labels.shape, dtype=bool)
    assert not (labels[~covered]).any()
    if min_px <= 1:
        assert labels[covered].all()


@pytest.mark.parametrize("policy", POLICIES)
@PROPERTY
@given(drawn=scored_masks(), random=st.randoms(use_true_random=False), min_px=st.integers(0, 4))
def test_merging_forgets_the_order_of_the_input(policy, drawn, random, min_px):
    masks, scores = drawn
    order = random.sample(range(len(masks)), len(masks))
    labels, index = merge_masks(proposals_from_masks(masks, scores), policy, min_px)
    shuffled, shuffled_index = merge_masks(proposals_from_masks(masks[order], scores[order]), policy, min_px)
    np.testing.assert_array_equal(labels, shuffled)
    assert content(masks, index, scores) == content(masks[order], shuffled_index, scores[order])


@pytest.mark.parametrize(
    ("policy", "expected"),
    [("small-on-top", "332111"), ("score", "222111"), ("hierarchy", "332111")],
)
def test_policies_by_hand(policy, expected):
    masks = stack("..####", "###...", "##....")
    labels, index = merge_masks(proposals_from_masks(masks, [0.3, 0.9, 0.5]), policy)
    named = np.concatenate([[0], index + 1])[labels]
    assert "".join(map(str, named[0])) == expected


def shown(policy, masks, scores):
    """Which mask each pixel shows, counted from 1; "." for none."""
    labels, index = merge_masks(proposals_from_masks(masks, scores), policy)
    return "".join("." if label == 0 else str(index[label - 1] + 1) for label in labels[0])


def test_of_equally_small_masks_the_higher_score_comes_first():
    assert shown("small-on-top", stack("###..", "..###"), [0.1, 0.9]) == "11222"
    assert shown("small-on-top", stack("###..", "..###"), [0.9, 0.1]) == "11122"


@pytest.mark.parametrize("policy", ["score", "hierarchy"])
def test_of_equal_scores_the_smaller_mask_comes_first(policy):
    assert shown(policy, stack("####..", "...###"), [0.5, 0.5]) == "111222"
    assert shown(policy, stack("###...", "..####"), [0.5, 0.5]) == "111222"


def test_in_a_hierarchy_the_own_score_parts_equally_small_masks_of_one_parent():
    masks = stack("##########", "#####.....", "....#####.")
    assert shown("hierarchy", masks, [0.9, 0.1, 0.2]) == "2222333331"
    assert shown("hierarchy", masks, [0.9, 0.2, 0.1]) == "2222233331"


def test_a_mask_is_nested_with_90_percent_of_its_pixels_inside():
    inside = "#" * 30
    nested = stack(inside + "." * 5, "." * 21 + "#" * 10 + "." * 4)
    assert shown("hierarchy", nested, [0.9, 0.1]) == "1" * 21 + "2" * 10 + "." * 4
    for share in (7, 8):
        beside = stack(inside + "." * 5, "." * (30 - share) + "#" * 10 + "." * (share - 5))
        assert shown("hierarchy", beside, [0.9, 0.1]) == "1" * 30 + "2" * (10 - share) + "." * (share - 5)


def test_hierarchy_keeps_a_weak_mask_inside_a_strong_one():
    masks = stack("########", "..##....", ".....###")
    scores = [0.9, 0.1, 0.2]
    for order in permutations(range(3)):
        chosen = list(order)
        proposals = proposals_from_masks(masks[chosen], np.array(scores)[chosen])
        assert merge_masks(proposals, "hierarchy")[0].tolist() == [[3, 3, 1, 1, 3, 2, 2, 2]]
        assert merge_masks(proposals, "score")[0].tolist() == [[1] * 8]


def test_hierarchy_gives_shared_pixels_to_the_higher_score():
    labels, index = merge_masks(proposals_from_masks(stack("####..", "..####"), [0.4, 0.6]), "hierarchy")
    assert index[labels[0] - 1].tolist() == [0, 0, 1, 1, 1, 1]


def test_a_nest_of_three_survives_in_any_score_order():
    masks = stack("####################", "..###############...", ".....########.......")
    for scores in permutations([0.2, 0.5, 0.8]):
        labels, index = merge_masks(proposals_from_masks(masks, scores), "hierarchy")
        assert index[labels[0] - 1].tolist() == [0] * 2 + [1] * 3 + [2] * 8 + [1] * 4 + [0] * 3


def test_a_mask_left_too_small_gives_its_pixels_to_the_next():
    masks = stack("####..", "..###.", "...###")
    labels, index = merge_masks(proposals_from_masks(masks, [0.9, 0.8, 0.7]), "score", min_px=2)
    assert index.tolist() == [0, 2]
    assert labels.tolist() == [[1, 1, 1, 1, 2, 2]]


def test_limits_apply_before_merging():
    masks = stack("######", ".##...")
    labels, index = merge_masks(proposals_from_masks(masks, [0.9, 0.1]), "score", max_px=5)
    assert index.tolist() == [1]
    assert labels.tolist() == [[0, 1, 1, 0, 0, 0]]


def test_an_unknown_policy_is_refused():
    with pytest.raises(UsageError, match="one of small-on-top, score, hierarchy, found 'largest'"):
        merge_masks(proposals_from_masks(np.ones((1, 2, 2), dtype=bool), [1]), "largest")


@PROPERTY
@given(scored_masks(), st.sampled_from(POLICIES), st.integers(0, 3))
def test_masks_joined_are_masks_merged(drawn, policy, min_px):
    masks, scores = drawn
    some = masks.any(axis=(1, 2))
    if not len(masks):
        return
    one_each = [scores[i : i + 1] if some[i] else [] for i in range(len(masks))]
    labels, origins = join_label_maps([mask.astype(np.uint8) * 3 for mask in masks], policy, one_each, min_px)
    expected, index = merge_masks(proposals_from_masks(masks, scores), policy, min_px)
    np.testing.assert_array_equal(labels, expected)
    taken = index[: labels.max()]
    assert origins.tolist() == [[i, 3] for i in taken]


def test_label_maps_joined():
    organs = np.array([[1, 1, 1, 4, 4, 0]])
    lesions = np.array([[0, 9, 0, 0, 0, 0]])
    labels, origins = join_label_maps([organs, lesions])
    assert labels.tolist() == [[3, 1, 3, 2, 2, 0]]
    assert origins.tolist() == [[1, 9], [0, 4], [0, 1]]
    labels, origins = join_label_maps([organs, lesions], "score", [[0.9, 0.2], [0.5]])
    assert labels.tolist() == [[1, 1, 1, 2, 2, 0]]
    assert origins.tolist() == [[0, 1], [0, 4]]


def test_more_structures_than_16_bits_hold():
    many = np.arange(1, 70_001).reshape(280, 250)
    labels, origins = join_label_maps([many])
    np.testing.assert_array_equal(np.sort(labels.ravel()), many.ravel())
    np.testing.assert_array_equal(origins[labels.ravel() - 1, 1], many.ravel())


def test_empty_label_maps_joined():
    labels, origins = join_label_maps([np.zeros((2, 3), dtype=np.uint8)] * 2)
    assert not labels.any()
    assert origins.shape == (0, 2)


@pytest.mark.parametrize(
    ("label_maps", "scores", "message"),
    [
        ([], None, "label_maps: expected one or more label maps, found none"),
        ([np.eye(2, dtype=int)], [], "scores: expected scores for 1 label maps, found scores for 0"),
        ([np.eye(2, dtype=int)], [[1, 2]], r"scores: expected one score a mask, shape \(1,\)"),
        ([np.eye(2, dtype=int), np.eye(3, dtype=int)], None, "label map 1 and label map 0: expected arrays"),
        ([np.eye(2)], None, "label map 0: expected integer labels"),
        ([np.zeros((2, 2, 2), dtype=int)], None, r"label map 0: expected a label map \(rows, columns\)"),
    ],
)
def test_label_maps_that_cannot_be_joined(label_maps, scores, message):
    with pytest.raises(InputError, match=message):
        join_label_maps(label_maps, scores=scores)


def test_in_a_hierarchy_an_unknown_score_is_the_lowest():
    masks = stack("##.", ".##")
    labels, index = merge_masks(proposals_from_masks(masks, [float("nan"), 0.1]), "hierarchy")
    assert labels.tolist() == [[2, 1, 1]]
    assert index.tolist() == [1, 0]
