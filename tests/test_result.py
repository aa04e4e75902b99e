"""A result can be cut at another level, split and merged, without running the network again."""

from dataclasses import astuple, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fewct
from fewct.errors import InputError, UsageError
from fewct.imaging.cleanup import Cleanup
from fewct.methods import Mosaic, Watershed
from fewct.phantom import phantom_slice, phantom_volume
from fewct.result import Segmentation, SliceSegmentation
from fewct.segmentation import segment

CT = phantom_slice(3, size=160)[0]
METHOD = Mosaic(
    boundary_source="gradients", level=0.4, minima_depth=0.02, cleanup=Cleanup("0.05%", "30%", body_only=True)
)


@pytest.fixture(scope="module")
def result() -> Segmentation:
    return segment(CT, METHOD)


def assert_same(first: Segmentation, second: Segmentation) -> None:
    np.testing.assert_array_equal(first.labels, second.labels)
    rows = [[astuple(row) for row in one.structures] for one in (first, second)]
    np.testing.assert_equal(*rows)  # in which NaN equals NaN
    assert first.manifest.configuration == second.manifest.configuration


@given(level=st.floats(0, 1))
def test_another_level_is_what_segment_gives_there(result: Segmentation, level: float) -> None:
    assert_same(result.at_level(level), segment(CT, replace(METHOD, level=level)))


def test_levels_of_the_network_that_comes_with_fewct() -> None:
    moved = segment(CT)
    for level in (0.1, 0.3, 0.8):
        assert_same(moved.at_level(level), segment(CT, Mosaic(level=level)))


def test_a_level_out_of_range(result: Segmentation) -> None:
    with pytest.raises(UsageError, match=r"level: expected a number in \[0, 1\], found 1.5"):
        result.at_level(1.5)


def splittable(result: Segmentation) -> int:
    """The id of the largest structure that consists of several leaves."""
    assert result.cut is not None
    n_leaves = np.bincount(result.cut.ids)
    return next(
        row.id for row in sorted(result.structures, key=lambda row: -row.area_px) if n_leaves[row.id] > 1
    )


def test_split_parts_one_structure_and_leaves_the_others(result: Segmentation) -> None:
    wanted = splittable(result)
    parts = result.split(wanted)
    new = parts.labels.max()
    assert new == result.labels.max() + 1 == len(parts.structures)
    before = result.labels == wanted
    np.testing.assert_array_equal(np.isin(parts.labels, [wanted, new]), before)
    np.testing.assert_array_equal(parts.labels[~before], result.labels[~before])
    assert (parts.labels == wanted).sum() >= (parts.labels == new).sum() > 0
    areas = {row.id: row.area_px for row in parts.structures}
    assert areas[wanted] + areas[new] == before.sum()
    assert parts.manifest.configuration["edits"] == [["split", wanted]]


def test_merge_joins_two_that_are_no_neighbours_in_the_tree_and_split_parts_them_again(
    result: Segmentation,
) -> None:
    first, second = result.structures[0].id, result.structures[-1].id
    merged = result.merge(first, second)
    both = np.isin(result.labels, [first, second])
    np.testing.assert_array_equal(merged.labels == first, both)
    assert second not in merged.labels
    assert np.isnan(next(row.score for row in merged.structures if row.id == first))
    again = merged.split(first)
    sets = [
        {frozenset(np.flatnonzero(one.labels == k)) for k in np.unique(one.labels)} for one in (again, result)
    ]
    assert sets[0] == sets[1]
    assert again.manifest.configuration["edits"] == [["merge", first, second], ["split", first]]


def test_splits_end_at_the_leaves(result: Segmentation) -> None:
    wanted = min(result.structures, key=lambda row: row.area_px).id
    assert result.cut is not None
    current = result
    for _ in range(np.count_nonzero(result.cut.ids == wanted) - 1):
        current = current.split(wanted)
        if np.count_nonzero(current.cut.ids == wanted) == 1:
            break
    with pytest.raises(UsageError, match="one of several regions of the merge tree, found"):
        current.split(wanted)


def test_another_level_drops_edits(result: Segmentation) -> None:
    edited = result.merge(result.structures[0].id, result.structures[1].id)
    assert_same(edited.at_level(METHOD.level), result)


@pytest.mark.parametrize("structure", [0, -1, 9999])
def test_structures_that_are_not_there(result: Segmentation, structure: int) -> None:
    for edit in (
        result.split,
        lambda k: result.merge(result.structures[0].id, k),
        lambda k: result.merge(k, 1),
    ):
        with pytest.raises(UsageError, match=f"the id of a structure of this result, found {structure}"):
            edit(structure)


def test_a_structure_does_not_merge_with_itself(result: Segmentation) -> None:
    with pytest.raises(UsageError, match="structures: expected two, found 1 twice"):
        result.merge(1, 1)


def test_results_without_a_tree() -> None:
    with pytest.raises(UsageError, match="found a result of watershed, which has none"):
        segment(CT, Watershed()).at_level(0.3)
    scan = segment(phantom_volume(0, slices=2, size=48)[0], METHOD)
    with pytest.raises(UsageError, match=r"found a scan. Segment a slice, such as scan\[10\]"):
        scan.split(1)


def test_an_edited_result_is_saved_and_evaluated(result: Segmentation, tmp_path) -> None:
    edited = result.split(splittable(result))
    files = fewct.save(edited, CT, tmp_path, "edited")
    np.testing.assert_array_equal(fewct.read_labels(files[0]).labels, edited.labels)
    assert fewct.evaluate(truth=edited, prediction=edited).overall.ari == 1


def test_it_shows_itself(result: Segmentation) -> None:
    assert repr(result) == f"Segmentation(160 x 160, {len(result.structures)} structures, method mosaic)"
    assert result._repr_png_().startswith(b"\x89PNG")
    page = result._repr_html_()
    assert page.count("<tr>") == 1 + 12 + 1
    assert f"and {len(result.structures) - 12} smaller ones" in page
    assert ("size, px" in page, "mm²" in page) == (result.geometry is None, result.geometry is not None)
    assert "data:image/png;base64," in page


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        (np.array([[0, -1]]), [0.5], "labels of 0 .* or more, found a smallest label of -1"),
        (np.array([[0, 1.5]]), [0.5], "integer labels"),
        (np.array([[0, 2]]), [0.5], r"one score for each id up to 2, found shape \(1,\)"),
        (np.zeros((1, 2, 2), int), [], r"a label map \(rows, columns\)"),
    ],
)
def test_a_slice_guards_its_labels(labels: np.ndarray, scores: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SliceSegmentation(labels, scores)
