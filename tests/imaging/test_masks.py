import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from fewct.errors import InputError, UsageError
from fewct.imaging.masks import (
    Area,
    RunLengths,
    boxes_from_labels,
    boxes_from_masks,
    parse_area,
    proposals_from_labels,
    proposals_from_masks,
    rle_decode,
    rle_encode,
    xyxy_to_xywh,
)

PROPERTY = settings(max_examples=60)
one_mask = npst.arrays(np.bool_, npst.array_shapes(min_dims=2, max_dims=2, max_side=7))
stacks = npst.arrays(np.bool_, st.tuples(st.integers(0, 4), st.integers(1, 6), st.integers(1, 6)))
label_maps = npst.arrays(
    np.int32, npst.array_shapes(min_dims=2, max_dims=2, max_side=7), elements=st.integers(0, 4)
)


def runs_pixel_by_pixel(mask):
    """COCO run lengths, walking down the columns one pixel at a time."""
    counts, value = [0], False
    rows, columns = mask.shape
    for column in range(columns):
        for row in range(rows):
            if bool(mask[row, column]) != value:
                counts.append(0)
                value = not value
            counts[-1] += 1
    return counts


def box_pixel_by_pixel(mask):
    pixels = [(x, y) for y in range(mask.shape[0]) for x in range(mask.shape[1]) if mask[y, x]]
    if not pixels:
        return [0, 0, 0, 0]
    xs, ys = zip(*pixels, strict=True)
    return [min(xs), min(ys), max(xs) + 1, max(ys) + 1]


@pytest.mark.parametrize(
    ("mask", "counts"),
    [
        ([[0, 0, 0], [0, 0, 0]], [6]),
        ([[1, 1, 1], [1, 1, 1]], [0, 6]),
        ([[1, 0, 0], [0, 0, 0]], [0, 1, 5]),
        ([[0, 1, 1], [0, 1, 0]], [2, 3, 1]),
    ],
)
def test_run_lengths_by_hand(mask, counts):
    assert rle_encode(np.array(mask, dtype=bool)) == {"size": [2, 3], "counts": counts}


@PROPERTY
@given(one_mask)
def test_run_lengths_against_a_walk_over_the_pixels(mask):
    rle = rle_encode(mask)
    assert rle["counts"] == runs_pixel_by_pixel(mask)
    np.testing.assert_array_equal(rle_decode(rle), mask)


def test_numbers_that_are_binary_encode_like_bool():
    assert rle_encode(np.array([[0, 255], [255, 0]], dtype=np.uint8)) == rle_encode(
        np.array([[0, 1], [1, 0]])
    )


def test_a_label_map_is_no_binary_mask():
    with pytest.raises(InputError, match=r"one value besides 0, found a label map of 2 values.*labels == id"):
        rle_encode(np.array([[1, 1, 2]]))


def test_run_lengths_need_one_mask():
    with pytest.raises(InputError, match=r"found shape \(1, 2, 2\)"):
        rle_encode(np.zeros((1, 2, 2), dtype=bool))


@pytest.mark.parametrize("counts", [[3], [2, 3], [5, -1], []])
def test_broken_run_lengths_are_refused(counts):
    with pytest.raises(InputError, match="add up to 2 x 2 = 4"):
        rle_decode(RunLengths(size=[2, 2], counts=counts))


@PROPERTY
@given(stacks)
def test_boxes_against_a_walk_over_the_pixels(masks):
    boxes = boxes_from_masks(masks)
    assert boxes.dtype == np.int64
    assert boxes.tolist() == [box_pixel_by_pixel(mask) for mask in masks]


@pytest.mark.parametrize("masks", [np.zeros((2, 3), dtype=bool), np.zeros((1, 2, 3), dtype=np.uint8)])
def test_boxes_need_a_stack_of_bool_masks(masks):
    with pytest.raises(InputError, match=r"a bool array \(n, rows, columns\)"):
        boxes_from_masks(masks)


def test_width_and_height_count_pixels():
    assert xyxy_to_xywh(np.array([[2, 3, 7, 4]])).tolist() == [[2, 3, 5, 1]]


@PROPERTY
@given(stacks)
def test_proposals_hold_the_masks(masks):
    scores = np.arange(len(masks), dtype=np.float32)
    proposals = proposals_from_masks(masks, scores)
    assert proposals.areas.tolist() == masks.sum(axis=(1, 2)).tolist()
    for i, mask in enumerate(masks):
        np.testing.assert_array_equal(proposals.mask(i), mask)
    np.testing.assert_array_equal(proposals.scores, scores)


def test_each_mask_needs_a_score():
    with pytest.raises(InputError, match=r"shape \(2,\), found shape \(1,\)"):
        proposals_from_masks(np.ones((2, 3, 3), dtype=bool), [0.5])


@PROPERTY
@given(label_maps)
def test_structures_become_proposals(labels):
    ids = sorted(set(labels.ravel().tolist()) - {0})
    proposals = proposals_from_labels(labels)
    assert len(proposals) == len(ids)
    assert np.isnan(proposals.scores).all()
    for i, label in enumerate(ids):
        np.testing.assert_array_equal(proposals.mask(i), labels == label)
    found, boxes = boxes_from_labels(labels)
    assert found.tolist() == ids
    assert boxes.tolist() == [box_pixel_by_pixel(labels == label) for label in ids]


def test_proposals_from_labels_take_scores_by_id():
    proposals = proposals_from_labels(np.array([[7, 0, 3]]), scores=[0.25, 0.5])
    np.testing.assert_array_equal(proposals.mask(0), [[False, False, True]])
    assert proposals.scores.tolist() == [0.25, 0.5]


def test_proposals_need_the_labels_of_one_slice():
    with pytest.raises(InputError, match="one slice at a time"):
        proposals_from_labels(np.zeros((2, 3, 4), dtype=np.int32))


@pytest.mark.parametrize(
    ("text", "area"),
    [
        ("200px", Area(200, "px")),
        ("50 mm2", Area(50, "mm2")),
        ("12.5%", Area(12.5, "%")),
        ("0px", Area(0, "px")),
        ("100%", Area(100, "%")),
    ],
)
def test_area_limits_are_read(text, area):
    assert parse_area(text) == area


@pytest.mark.parametrize(
    "text", ["", "200", "px", "-5px", "1e3px", "5 cm2", "101%", "100.1%", "nan%", "5px 6px"]
)
def test_bad_area_limits_are_refused(text):
    with pytest.raises(UsageError, match=f"px, mm2 or %.*found {re.escape(repr(text))}"):
        parse_area(text)


def test_area_limits_in_pixels():
    assert Area(200, "px").in_pixels(float("nan"), 1000) == 200
    assert Area(10, "%").in_pixels(float("nan"), 1000) == 100
    assert Area(50, "mm2").in_pixels(0.25, 1000) == 200


def test_square_millimetres_need_spacing():
    with pytest.raises(
        UsageError, match=r"area 50mm2: expected a slice with known pixel spacing.*px or in %"
    ):
        Area(50, "mm2").in_pixels(float("nan"), 1000)


@pytest.mark.parametrize("shape", [(0, 4, 4), (2, 0, 0), (1, 3, 0)])
def test_masks_without_pixels_have_empty_boxes(shape):
    np.testing.assert_array_equal(boxes_from_masks(np.zeros(shape, dtype=bool)), np.zeros((shape[0], 4)))


def test_scores_are_float32():
    assert proposals_from_masks(np.ones((1, 2, 2), dtype=bool), [0.1]).scores.dtype == np.float32
    assert proposals_from_labels(np.ones((2, 2), dtype=np.int32), [0.1]).scores.dtype == np.float32


def test_proposals_do_not_change_with_the_masks_that_they_came_from():
    masks = np.ones((1, 2, 2), dtype=bool)
    proposals = proposals_from_masks(masks, [1])
    masks[:] = False
    assert proposals.areas.tolist() == [4]
