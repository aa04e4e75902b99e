"""Candidate masks: packed, placed, suppressed, and upsampled where they matter."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from fewct.methods.sam.mask_generator.candidates import (
    MaskUpsampler,
    concatenate,
    near_crop_edge,
    non_max_suppression,
    stability_score,
)
from fewct.methods.sam.preprocessing import InputFrame
from methods.sam.mask_generator.masks import generated

PROPERTY = settings(max_examples=40)


@PROPERTY
@given(npst.arrays(np.bool_, st.tuples(st.integers(0, 5), st.integers(1, 9), st.integers(1, 9))), st.data())
def test_masks_come_out_as_they_went_in(masks: NDArray[np.bool_], data: st.DataObject) -> None:
    scores = np.arange(len(masks), dtype=np.float32)
    found = generated(masks, scores)
    assert np.array_equal([found.proposals.mask(i) for i in range(len(masks))], list(masks))
    index = np.array(data.draw(st.permutations(range(len(masks)))), dtype=np.int64)
    both = concatenate([found.keep(index), found], found.shape)
    assert len(both) == 2 * len(masks)
    for i, k in enumerate(index.tolist()):
        assert np.array_equal(both.proposals.mask(i), masks[k])
        assert both.predicted_iou[i] == k


@PROPERTY
@given(
    npst.arrays(np.bool_, st.tuples(st.integers(0, 6), st.integers(1, 5), st.integers(1, 5))),
    st.floats(0, 1),
    st.sampled_from(["box", "mask"]),
)
def test_what_is_suppressed_overlaps_with_what_stays(
    masks: NDArray[np.bool_], threshold: float, by: Any
) -> None:
    masks = masks[masks.any(axis=(1, 2))]
    scores = np.linspace(0, 1, len(masks), dtype=np.float32)[::-1]
    kept = non_max_suppression(generated(masks, scores), scores, threshold, by).tolist()
    assert kept == sorted(kept)
    if by == "mask":
        for i in range(len(masks)):
            better = [k for k in kept if k < i]
            overlaps = [(masks[i] & masks[k]).sum() / (masks[i] | masks[k]).sum() for k in better]
            assert (i in kept) == all(overlap <= threshold for overlap in overlaps)


def blocks(*boxes: tuple[int, int, int, int]) -> NDArray[np.bool_]:
    """Return a mask of 30 x 30 pixels for each box x0, y0, x1, y1."""
    masks = np.zeros((len(boxes), 30, 30), dtype=bool)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = True
    return masks


@pytest.mark.parametrize(
    ("by", "threshold", "kept"),
    [("box", 0.8, [0, 1, 2]), ("box", 0.79, [0, 2]), ("mask", 0.82, [0, 1, 2]), ("mask", 0.81, [0, 2])],
)
def test_boxes_are_measured_from_first_to_last_pixel(by: Any, threshold: float, kept: list[int]) -> None:
    """Of 11 x 11 and 11 x 9 pixels: IoU 80 / 100 of the boxes, 99 / 121 of the masks."""
    masks = blocks((5, 5, 16, 16), (5, 5, 16, 14), (20, 20, 25, 25))
    assert (
        non_max_suppression(
            generated(masks, [0.9, 0.8, 0.1]), np.array([0.9, 0.8, 0.1]), threshold, by
        ).tolist()
        == kept
    )


def test_the_best_stay_and_of_equals_the_first() -> None:
    masks = blocks((5, 5, 16, 16), (5, 5, 16, 15), (6, 5, 16, 16), (20, 20, 25, 25))
    for scores, kept in (([1, 2, 3, 4], [3, 2]), ([2, 2, 1, 1], [0, 3]), ([1, 3, 3, 2], [1, 3])):
        assert non_max_suppression(generated(masks, scores), np.array(scores), 0.5, "mask").tolist() == kept


def test_many_of_equal_scores_keep_their_order() -> None:
    masks, scores = np.eye(100, dtype=bool).reshape(100, 10, 10), np.arange(100) % 2
    kept = non_max_suppression(generated(masks, scores), scores, 0.5, "mask")
    assert kept.tolist() == [*range(1, 100, 2), *range(0, 100, 2)]


def test_what_a_suppressed_one_overlaps_with_stays() -> None:
    masks = blocks((0, 0, 12, 10), (4, 0, 16, 10), (8, 0, 20, 10))  # IoU 1/2 of neighbours, 1/5 of the others
    assert non_max_suppression(generated(masks, [3, 2, 1]), np.array([3, 2, 1]), 0.4, "mask").tolist() == [
        0,
        2,
    ]


@pytest.mark.parametrize(("containment", "kept"), [(1.0, [0, 1]), (0.9, [0, 1]), (0.89, [0]), (0.5, [0])])
def test_a_mask_with_more_than_a_share_inside_a_better_one_goes(containment: float, kept: list[int]) -> None:
    masks = blocks((0, 0, 20, 20), (11, 5, 21, 6))  # 9 of 10 pixels inside
    scores = np.array([0.9, 0.8])
    found = non_max_suppression(generated(masks, scores), scores, 0.7, "mask", containment)
    assert found.tolist() == kept


def test_stability_is_the_iou_of_a_stricter_and_a_looser_mask() -> None:
    values = np.array([[-2, -1, -0.5, 0.5, 1, 2, 3]], dtype=np.float32)
    assert stability_score(values, 1.0) == 2 / 5
    assert stability_score(values, 0.0) == 1
    assert np.isnan(stability_score(np.full((2, 2), -3, dtype=np.float32), 1.0))


def test_cut_by_a_crop() -> None:
    boxes = np.array([[110, 150, 160, 170], [125, 150, 160, 170], [150, 0, 170, 30], [150, 150, 182, 170]])
    cut = near_crop_edge(boxes, np.array([100, 0, 201, 300]), (300, 300))
    assert cut.tolist() == [True, False, False, True]


@pytest.mark.parametrize(("gap", "cut"), [(19, True), (20, True), (21, False)])
@pytest.mark.parametrize("side", range(4))
def test_close_are_20_pixels_from_first_to_last(gap: int, cut: bool, side: int) -> None:
    crop = np.array([100, 100, 200, 200])
    box = np.array([140, 140, 160, 160])
    box[side] = crop[side] + gap if side < 2 else crop[side] - gap + 1  # the last pixel is one before the end
    assert near_crop_edge(box[None], crop, (300, 300)).tolist() == [cut]


@PROPERTY
@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 1000), st.floats(-2, 2))
def test_nothing_above_the_threshold_is_left_out(
    rows: int, columns: int, seed: int, threshold: float
) -> None:
    frame = InputFrame((rows, columns), 64, 16)
    logits = np.random.default_rng(seed).normal(-1, 1, (16, 16)).astype(np.float32)
    first, second = frame.upsampling
    whole = first @ logits @ second.T
    part = MaskUpsampler(frame).upsample(logits, threshold)
    expected = whole > threshold
    found = np.zeros_like(expected)
    if part is not None:
        (x0, y0, x1, y1), mask = part.above(threshold)
        found[y0:y1, x0:x1] = mask
    close = np.abs(whole - threshold) < 1e-5
    assert np.array_equal(found | close, expected | close)
