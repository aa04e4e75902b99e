"""Prompts on a slice of 10 x 20 pixels: what becomes of them, and what is refused."""

from typing import Any

import numpy as np
import pytest

from fewct.errors import InputError, UsageError
from fewct.methods.sam.preprocessing import InputFrame
from fewct.methods.sam.prompts import checked_boxes, mask_input_logits, point_prompts

SHAPE = (10, 20)


def test_points_end_with_one_of_no_place() -> None:
    prompts = point_prompts([[0, 0], [19.5, 9.5]], [1, 0], None, SHAPE)
    assert prompts.points_xy.tolist() == [[[0, 0], [19.5, 9.5], [0, 0]]]
    assert prompts.labels.tolist() == [[1, 0, -1]]
    assert (prompts.points_xy.dtype, prompts.labels.dtype) == (np.float64, np.int64)


def test_boxes_are_their_corners_one_prompt_each() -> None:
    one = point_prompts(None, None, [1, 2, 3, 4], SHAPE)
    assert one.points_xy.tolist() == [[[1, 2], [3, 4]]]
    assert one.labels.tolist() == [[2, 3]]
    two = point_prompts(None, None, [[1, 2, 3, 4], [0, 0, 20, 10]], SHAPE)
    assert two.points_xy.tolist() == [[[1, 2], [3, 4]], [[0, 0], [20, 10]]]
    assert two.labels.tolist() == [[2, 3], [2, 3]]


def test_points_stand_before_their_box() -> None:
    prompts = point_prompts([[5, 6]], [1], [[1, 2, 3, 4]], SHAPE)
    assert prompts.points_xy.tolist() == [[[5, 6], [1, 2], [3, 4]]]
    assert prompts.labels.tolist() == [[1, 2, 3]]


def test_no_prompts_are_one_without_points() -> None:
    prompts = point_prompts(None, None, None, SHAPE)
    assert prompts.points_xy.shape == (1, 0, 2)
    assert prompts.labels.shape == (1, 0)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([5, 6], r"point_coords: expected one or more points, shape \(n, 2\): .* found shape \(2,\)"),
        ([[5, 6, 7]], r"found shape \(1, 3\)"),
        (np.zeros((0, 2)), r"found shape \(0, 2\)"),
        ([["a", "b"]], "expected numbers, in pixels, found dtype"),
        ([[True, False]], "expected numbers, in pixels, found dtype bool"),
        ([[5, np.nan], [np.inf, 3]], "expected finite numbers, found 2 that are NaN or infinite"),
        (
            [[1, 1], [20, 5]],
            r"expected x within 0 \.\. 20 and y within 0 \.\. 10, .* found x, y = \[20\.0, 5\.0\]",
        ),
        ([[1, 1], [5, 10]], r"found x, y = \[5\.0, 10\.0\]"),
        ([[-0.1, 5]], r"found x, y = \[-0\.1, 5\.0\]"),
        ([[5, -0.1]], r"found x, y = \[5\.0, -0\.1\]"),
    ],
)
def test_points_that_are_none(points: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        point_prompts(points, [1] * len(points), None, SHAPE)


@pytest.mark.parametrize(
    ("labels", "found"),
    [
        (None, "none"),
        ([1], r"\[1\]"),
        ([1, 0, 1], r"\[1 0 1\]"),
        ([1, 2], r"\[1 2\]"),
        ([1, -1], r"\[ 1 -1\]"),
    ],
)
def test_each_point_has_a_label(labels: list[int] | None, found: str) -> None:
    message = f"point_labels: expected 2 labels, one for each point: .* found {found}"
    with pytest.raises(UsageError, match=message):
        point_prompts([[1, 2], [3, 4]], labels, None, SHAPE)


def test_prompts_that_contradict_each_other() -> None:
    with pytest.raises(UsageError, match="point_labels: expected points that they belong to, found none"):
        point_prompts(None, [1], [1, 2, 3, 4], SHAPE)
    with pytest.raises(UsageError, match="point_coords and box: expected one box with points, found 2 boxes"):
        point_prompts([[1, 2]], [1], [[1, 2, 3, 4], [1, 2, 3, 4]], SHAPE)


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([1, 2, 3], r"box: expected one or more boxes, shape \(n, 4\): .* found shape \(3,\)"),
        (np.zeros((0, 4)), r"found shape \(0, 4\)"),
        (np.zeros((1, 2, 4)), r"found shape \(1, 2, 4\)"),
        ([[1, 2, 3, np.inf]], "expected finite numbers, found 1 that"),
        ([[1, 2, 3, 4], [5, 2, 5, 4]], r"expected x0 < x1 and y0 < y1, found \[5\.0, 2\.0, 5\.0, 4\.0\]"),
        ([[1, 4, 3, 4]], r"expected x0 < x1 and y0 < y1"),
        (
            [[1, 2, 3, 4], [0, 0, 20.1, 10]],
            r"expected x within 0 \.\. 20 .* found \[0\.0, 0\.0, 20\.1, 10\.0\]",
        ),
        ([[0, 0, 20, 10.1]], r"y within 0 \.\. 10"),
        ([[-1, 0, 20, 10]], "x within 0"),
        ([[0, -1, 20, 10]], "x within 0"),
    ],
)
def test_boxes_that_are_none(boxes: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        checked_boxes(boxes, SHAPE)


def test_boxes_as_they_are() -> None:
    assert checked_boxes([0, 0, 20, 10], SHAPE).tolist() == [[0, 0, 20, 10]]
    assert checked_boxes([[0, 0, 1, 1], [2, 3, 4, 5]], SHAPE).tolist() == [[0, 0, 1, 1], [2, 3, 4, 5]]


def test_a_mask_becomes_logits_by_the_share_of_each_pixel_that_it_covers() -> None:
    frame = InputFrame((4, 8), 16, 4)  # the slice twice as large, 8 rows of padding below
    mask = np.zeros((4, 8), dtype=bool)
    mask[:2, :2] = True
    mask[:, 6:] = True
    logits = mask_input_logits(mask, frame)
    assert logits.dtype == np.float32
    # Pixels of the input beside an edge have a share of 3/4 or 1/4; logits are means of 4 x 4 of them.
    edge_in, edge_out = (3 + 0.75) / 4, 0.25 / 4
    shares = np.zeros((4, 4))
    shares[0, :2] = np.array([edge_in, edge_out]) * edge_in
    shares[1, :2] = np.array([edge_in, edge_out]) * edge_out
    shares[:2, 3] = edge_in
    shares[:2, 2] = edge_out
    np.testing.assert_allclose(logits, 6.9 * (2 * shares - 1), rtol=1e-5)


def test_logits_of_an_earlier_prediction_stay() -> None:
    frame = InputFrame((4, 8), 16, 4)
    logits = np.arange(16.0).reshape(4, 4)
    made = mask_input_logits(logits, frame)
    assert made.dtype == np.float32
    assert made.tolist() == logits.tolist()


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (
            np.zeros((4, 4), bool),
            r"bool of the slice's shape \(4, 8\), or logits \(4, 4\) .* shape \(4, 4\) of bool",
        ),
        (np.zeros((4, 8)), r"found shape \(4, 8\) of float64"),
        (np.zeros((4, 4), int), r"found shape \(4, 4\) of int64"),
        (np.full((4, 4), np.nan), "mask_input: expected finite numbers, found 16"),
    ],
)
def test_masks_that_are_none(mask: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        mask_input_logits(mask, InputFrame((4, 8), 16, 4))
