"""Boxes put to the network: the masks of the predictor, whatever the batch; boxes that move."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewct.errors import InputError
from fewct.methods.sam.backends.torch import TorchBackend
from fewct.methods.sam.inference import masks_in_boxes, moved_boxes
from fewct.methods.sam.predictor import Predictor
from fewct.phantom import phantom_slice
from fewct.types import CTSlice
from methods.sam.reference import official, ours

BOXES = np.array([[10, 12, 60, 50], [0, 0, 96, 96], [40.5, 30.25, 70, 95], [90, 90, 95, 96]])


@pytest.fixture(scope="module")
def backend() -> TorchBackend:
    return TorchBackend(ours(official()))


@pytest.fixture(scope="module")
def ct() -> CTSlice:
    image, _ = phantom_slice(2, size=96)
    return image


class TestMasks:
    @pytest.mark.parametrize("boxes_per_batch", [1, 3, 64])
    def test_they_are_those_of_the_predictor(
        self, backend: TorchBackend, ct: CTSlice, boxes_per_batch: int
    ) -> None:
        predictor = Predictor.from_backend(backend)
        predictor.set_image(ct)
        expected = predictor.predict(box=BOXES, multimask_output=False)
        found = masks_in_boxes(backend, ct, BOXES, boxes_per_batch=boxes_per_batch)
        assert expected.masks.any(axis=(1, 2, 3)).sum() >= 2
        for i, mask in enumerate(expected.masks[:, 0]):
            np.testing.assert_array_equal(found.mask(i), mask)
        np.testing.assert_allclose(found.scores, expected.predicted_iou[:, 0], rtol=1e-5)

    def test_a_box_by_itself_gives_the_same(self, backend: TorchBackend, ct: CTSlice) -> None:
        together = masks_in_boxes(backend, ct, BOXES)
        for i, box in enumerate(BOXES):
            alone = masks_in_boxes(backend, ct, box[None])
            differ = np.count_nonzero(alone.mask(0) != together.mask(i))
            assert differ <= 1  # a pixel whose logit is 0 but for rounding

    @pytest.mark.parametrize("boxes", [[], np.zeros((0, 4))])
    def test_no_boxes_no_masks(self, ct: CTSlice, boxes: Any) -> None:
        found = masks_in_boxes(None, ct, boxes)  # type: ignore[arg-type]  # the network is not asked
        assert (len(found), found.shape, found.boxes_xyxy.shape) == (0, ct.shape, (0, 4))

    @pytest.mark.parametrize(
        ("box", "message"),
        [
            ([60, 12, 10, 50], "box: expected x0 < x1 and y0 < y1"),
            ([10, 12, np.nan, 50], "box: expected finite numbers"),
            ([10, 12, 60, 97], r"box: expected x within 0 \.\. 96 and y within 0 \.\. 96"),
            ([10, 12, 60], r"box: expected one or more boxes, shape \(n, 4\)"),
        ],
    )
    def test_bad_boxes(self, backend: TorchBackend, ct: CTSlice, box: list[float], message: str) -> None:
        with pytest.raises(InputError, match=message):
            masks_in_boxes(backend, ct, [box])

    def test_a_slice_of_one_pixel(self, backend: TorchBackend) -> None:
        found = masks_in_boxes(backend, CTSlice(np.zeros((1, 1)), "hu"), [[0, 0, 1, 1]])
        assert len(found) == 1
        assert found.areas[0] in (0, 1)


class TestMoving:
    def test_still_boxes_stay(self) -> None:
        rng = np.random.default_rng(0)
        np.testing.assert_array_equal(moved_boxes(BOXES, (96, 96), 0, 0, rng), BOXES)

    def test_padding_ends_at_the_slice(self) -> None:
        moved = moved_boxes([[3, 20, 30, 95]], (96, 40), 10, 0, np.random.default_rng(0))
        assert moved.tolist() == [[0, 10, 40, 96]]

    def test_jitter_is_as_large_as_stated_and_repeats(self) -> None:
        boxes = np.tile([[30.0, 30.0, 60.0, 60.0]], (2000, 1))
        first, second = (moved_boxes(boxes, (96, 96), 0, 5, np.random.default_rng(7)) for _ in range(2))
        np.testing.assert_array_equal(first, second)
        shifts = first - boxes
        assert 4.9 < np.abs(shifts).max() <= 5
        assert np.abs(shifts.mean(axis=0)).max() < 0.3
        assert (shifts > 1).any(axis=0).all()
        assert (shifts < -1).any(axis=0).all()

    @settings(max_examples=80)
    @given(
        corners=st.tuples(*[st.floats(0, 50)] * 4),
        pad=st.floats(0, 30),
        jitter=st.floats(0, 100),
        seed=st.integers(0, 9),
    )
    def test_moved_boxes_are_boxes(self, corners: Any, pad: float, jitter: float, seed: int) -> None:
        x0, x1 = sorted(corners[:2])
        y0, y1 = sorted(corners[2:])
        if x1 - x0 < 1e-3 or y1 - y0 < 1e-3:
            return
        box = moved_boxes([[x0, y0, x1, y1]], (50, 50), pad, jitter, np.random.default_rng(seed))[0]
        assert (box[:2] < box[2:]).all()
        assert (box >= 0).all()
        assert (box <= 50).all()

    def test_none_stay_none(self) -> None:
        assert moved_boxes([], (9, 9), 1, 1, np.random.default_rng(0)).shape == (0, 4)

    def test_bad_boxes_are_told_before_they_move(self) -> None:
        with pytest.raises(InputError, match="box: expected x within"):
            moved_boxes([[-1, 0, 5, 5]], (9, 9), 3, 0, np.random.default_rng(0))
