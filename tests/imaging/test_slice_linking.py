import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from fewct.errors import InputError, UsageError
from fewct.imaging.slice_linking import Link, Linking, link_slices, link_with_fixed_ids

PROPERTY = settings(max_examples=60)
DEFAULT = Linking()


@st.composite
def scans(draw):
    shape = draw(st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 5)))
    return draw(npst.arrays(np.int32, shape, elements=st.integers(0, 4)))


def link_scan(scan, linking=DEFAULT, previous=None, next_id=1):
    """Stream a scan; return what each slice gave."""
    previous = np.zeros(scan.shape[1:], dtype=np.int32) if previous is None else previous
    results = []
    for labels in scan:
        results.append(link_slices(previous, labels, next_id, linking))
        previous, next_id = results[-1].labels, results[-1].next_id
    return results


def row(*labels):
    return np.array([labels], dtype=np.int32)


def test_the_first_slice_is_numbered_by_first_pixel():
    linked = link_slices(row(0, 0, 0), row(9, 0, 4), 1, DEFAULT)
    assert linked.labels.tolist() == [[1, 0, 2]]
    assert linked.links == ()
    assert linked.ids.tolist() == [2, 1]
    assert linked.next_id == 3


def test_disjoint_structures_are_not_linked():
    linked = link_slices(row(1, 1, 0, 0), row(0, 0, 1, 1), 2, DEFAULT)
    assert linked.labels.tolist() == [[0, 0, 2, 2]]
    assert linked.links == ()


def test_quality_is_the_intersection_over_union():
    linked = link_slices(row(7, 7, 7, 0), row(0, 1, 1, 1), 8, DEFAULT)
    assert linked.labels.tolist() == [[0, 7, 7, 7]]
    assert linked.links == (Link(7, 0.5),)


def test_the_smallest_iou_is_a_parameter():
    before, now = row(1, 1, 1, 0), row(0, 1, 1, 1)
    assert link_slices(before, now, 2, Linking(min_iou=0.5)).next_id == 2
    assert link_slices(before, now, 2, Linking(min_iou=0.51)).next_id == 3


def test_by_default_structures_are_linked_from_an_iou_of_30_percent():
    before = row(1, 1, 1, 0, 0, 2, 2, 0, 0)
    now = row(0, 1, 1, 1, 1, 0, 2, 2, 2)  # IoU 2/5 and 1/4
    linked = link_slices(before, now, 3, Linking())
    assert linked.links == (Link(1, 0.4),)
    assert linked.labels.tolist() == [[0, 1, 1, 1, 1, 0, 3, 3, 3]]


def test_a_structure_that_splits_goes_on_in_its_larger_part():
    linked = link_slices(row(5, 5, 5, 5, 5, 5), row(1, 1, 0, 2, 2, 2), 6, DEFAULT)
    assert linked.labels.tolist() == [[6, 6, 0, 5, 5, 5]]
    assert linked.links == (Link(5, 0.5),)


def test_of_structures_that_merge_the_larger_goes_on():
    linked = link_slices(row(1, 1, 0, 2, 2, 2), row(3, 3, 3, 3, 3, 3), 3, DEFAULT)
    assert linked.labels.tolist() == [[2] * 6]


def test_a_pair_taken_by_a_better_link_leaves_the_next_best():
    before = row(*[1] * 10, 2, 2)
    now = row(*[1] * 6, *[2] * 5, 0)  # IoU with 1: 6/10 and 4/11; with 2: 0 and 1/6
    linked = link_slices(before, now, 3, Linking(min_iou=0.1))
    assert linked.labels.tolist() == [[1] * 6 + [2] * 5 + [0]]
    assert linked.links == (Link(1, 0.6), Link(2, 1 / 6))


def test_equal_links_go_to_the_structure_that_comes_first():
    linked = link_slices(row(4, 4, 4, 4), row(2, 2, 1, 1), 5, DEFAULT)
    assert linked.labels.tolist() == [[4, 4, 5, 5]]


@PROPERTY
@given(scans())
def test_a_slice_links_to_itself_with_quality_1(scan):
    first, second = link_scan(np.stack([scan[0], scan[0]]))
    np.testing.assert_array_equal(first.labels, second.labels)
    assert [link.quality for link in second.links] == [1.0] * len(first.ids)


@PROPERTY
@given(scans(), st.permutations(range(1, 5)))
def test_ids_on_the_slices_play_no_part(scan, names):
    renamed = np.array([0, *names], dtype=np.int32)[scan]
    for a, b in zip(link_scan(scan), link_scan(renamed), strict=True):
        np.testing.assert_array_equal(a.labels, b.labels)
        assert a.links == b.links


@PROPERTY
@given(scans())
def test_linking_renames_structures_and_changes_nothing_else(scan):
    last = 0
    for labels, linked in zip(scan, link_scan(scan), strict=True):
        old_ids = sorted(set(labels.ravel().tolist()) - {0})
        assert len(set(linked.ids.tolist())) == len(old_ids)
        for old, new in zip(old_ids, linked.ids.tolist(), strict=True):
            np.testing.assert_array_equal(labels == old, linked.labels == new)
        linked_ids = {link.id for link in linked.links}
        assert linked_ids <= set(range(1, last + 1))
        assert set(linked.ids.tolist()) - linked_ids == set(range(last + 1, linked.next_id))
        last = linked.next_id - 1


@PROPERTY
@given(scans())
def test_every_link_is_the_best_left_to_one_of_the_two(scan):
    for before, after in zip(link_scan(scan), link_scan(scan)[1:], strict=False):
        quality = {link.id: link.quality for link in after.links}
        for p in set(before.labels.ravel().tolist()) - {0}:
            for c in set(after.labels.ravel().tolist()) - {0}:
                a, b = before.labels == p, after.labels == c
                iou = (a & b).sum() / (a | b).sum()
                if p == c:
                    assert quality[p] == iou
                elif iou >= DEFAULT.min_iou:
                    assert max(quality.get(p, 0), quality.get(c, 0)) >= iou


@PROPERTY
@given(scans(), st.integers(0, 4))
def test_a_resumed_scan_gets_the_same_ids(scan, stop):
    whole = link_scan(scan)
    start = min(stop, len(scan) - 1)
    done = whole[:start]
    previous, next_id = (done[-1].labels, done[-1].next_id) if done else (None, 1)
    for a, b in zip(whole[start:], link_scan(scan[start:], previous=previous, next_id=next_id), strict=True):
        np.testing.assert_array_equal(a.labels, b.labels)
        assert a.links == b.links


def test_scores_and_qualities_follow_the_final_ids():
    linked = link_slices(row(3, 3, 0, 0), row(2, 2, 0, 1), 5, DEFAULT)
    np.testing.assert_array_equal(linked.scores([0.25, 0.5]), [np.nan, np.nan, 0.5, np.nan, 0.25])
    np.testing.assert_array_equal(linked.qualities, [np.nan, np.nan, 1, np.nan, np.nan])


def test_each_structure_needs_a_score():
    linked = link_slices(row(0, 0), row(1, 2), 1, DEFAULT)
    with pytest.raises(InputError, match=r"one score a structure, shape \(2,\), found shape \(3,\)"):
        linked.scores([1, 1, 1])


@pytest.mark.parametrize("min_iou", [0, -0.5, 1.5, float("nan")])
def test_linking_needs_a_possible_threshold(min_iou):
    with pytest.raises(UsageError, match="min_iou: expected a number above 0, up to 1"):
        Linking(min_iou=min_iou)


def test_slices_of_different_shape_are_refused():
    with pytest.raises(InputError, match="previous slice and current slice"):
        link_slices(row(1, 1), row(1, 1, 1), 2, DEFAULT)


def test_named_ids_stay_whatever_was_on_the_slice_before() -> None:
    before = np.array([[2, 2, 0, 7, 7, 0]], dtype=np.int32)
    now = np.array([[0, 2, 1, 9, 9, 8]], dtype=np.int32)
    linked = link_with_fixed_ids(before, now, next_id=8, linking=Linking(), n_fixed_ids=3)
    assert linked.labels.tolist() == [[0, 2, 1, 7, 7, 8]]
    assert linked.ids.tolist() == [1, 2, 8, 7]
    assert {link.id: link.quality for link in linked.links} == {2: 0.5, 7: 1.0}
    assert linked.next_id == 9


def test_new_structures_get_no_named_id() -> None:
    nothing = np.zeros((1, 2), dtype=np.int32)
    now = np.array([[0, 5]], dtype=np.int32)
    linked = link_with_fixed_ids(nothing, now, next_id=1, linking=Linking(), n_fixed_ids=4)
    assert linked.labels.tolist() == [[0, 5]]
    assert linked.next_id == 6


def test_without_names_it_is_the_same() -> None:
    before, now = (np.random.default_rng(k).integers(0, 4, (6, 6)).astype(np.int32) for k in (0, 1))
    plain = link_slices(before, now, 5, Linking(0.1))
    named = link_with_fixed_ids(before, now, 5, Linking(0.1), n_fixed_ids=0)
    np.testing.assert_array_equal(plain.labels, named.labels)
    np.testing.assert_array_equal(plain.ids, named.ids)
    assert (plain.links, plain.next_id) == (named.links, named.next_id)
