"""The predictor against `segment-anything`, and prompts that are refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.nn import functional

from fewct.errors import InputError, UsageError
from fewct.imaging.intensity import to_display
from fewct.methods.sam.backends.load import load_backend
from fewct.methods.sam.backends.torch import TorchBackend
from fewct.methods.sam.modeling.sam import Sam, SamShape
from fewct.methods.sam.predictor import Predictor
from fewct.methods.sam.preprocessing import InputFrame, linear_resampling, preprocess
from fewct.methods.sam.prompts import SURE, mask_input_logits
from fewct.types import CTSlice, Unit, UnitChoice
from methods.sam.reference import CLOSE, IOU_CLOSE, LITE_MEDSAM, SHAPE, SamPredictor, blobs, official, ours
from precision import float32_rounding

PROPERTY = settings(max_examples=40)
ROWS, COLUMNS = 96, 80


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEWCT_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def network() -> Any:
    return official(SHAPE, 128)


@pytest.fixture(scope="module")
def ct() -> CTSlice:
    return CTSlice(blobs(ROWS).astype(np.float32), "grey")


@pytest.fixture
def predictor(network: Any, ct: CTSlice) -> Predictor:
    found = Predictor.from_backend(TorchBackend(ours(network)))
    found.set_image(ct)
    return found


@pytest.fixture
def reference(network: Any, ct: CTSlice) -> Any:
    found = SamPredictor(network)
    found.set_image(np.repeat(to_display(ct)[..., None], 3, axis=2))
    return found


class TestOfficial:
    @pytest.mark.parametrize("multimask", [True, False])
    def test_points(self, predictor: Predictor, reference: Any, multimask: bool) -> None:
        points, labels = np.array([[12.0, 70], [60, 33]]), np.array([1, 0])
        masks, iou, logits = reference.predict(points, labels, multimask_output=multimask)
        found = predictor.predict(points, labels, multimask_output=multimask)
        assert 0.02 < masks.mean() < 0.98
        np.testing.assert_allclose(found.logits[0], logits, **CLOSE)
        np.testing.assert_allclose(found.predicted_iou[0], iou, **IOU_CLOSE)
        assert (found.masks[0] == masks).mean() > 0.999

    def test_a_box_with_a_point_and_a_first_guess(self, predictor: Predictor, reference: Any) -> None:
        points, labels, box = np.array([[40.0, 50]]), np.array([1]), np.array([10.0, 20, 70, 90])
        first = predictor.predict(box=box, multimask_output=False)
        guess = first.logits[0, 0]
        _, iou, logits = reference.predict(points, labels, box, guess[None])
        found = predictor.predict(points, labels, box, guess)
        np.testing.assert_allclose(found.logits[0], logits, **CLOSE)
        np.testing.assert_allclose(found.predicted_iou[0], iou, **IOU_CLOSE)
        again = predictor.predict(box=box, multimask_output=False)
        assert np.array_equal(again.logits, first.logits)

    def test_each_box_is_a_prompt(self, predictor: Predictor, reference: Any) -> None:
        boxes = np.array([[0, 0, COLUMNS, ROWS], [5, 6, 30, 40], [20, 50, 21, 51]])
        found = predictor.predict(box=boxes, multimask_output=False)
        assert found.masks.shape == (3, 1, ROWS, COLUMNS)
        for i, box in enumerate(boxes):
            _, _, logits = reference.predict(box=box, multimask_output=False)
            np.testing.assert_allclose(found.logits[i], logits, **CLOSE)

    def test_a_mask_alone(self, predictor: Predictor, reference: Any) -> None:
        mask = np.zeros((ROWS, COLUMNS), dtype=bool)
        mask[20:50, 30:60] = True
        found = predictor.predict(mask_input=mask)
        assert predictor._image is not None
        guess = mask_input_logits(mask, predictor._image.frame)
        _, _, logits = reference.predict(mask_input=guess[None])
        np.testing.assert_allclose(found.logits[0], logits, **CLOSE)

    @pytest.mark.parametrize("guess", [False, True])
    def test_a_second_slice_takes_the_place_of_the_first(
        self, predictor: Predictor, network: Any, guess: bool
    ) -> None:
        def masks(of: Predictor) -> NDArray[np.float32]:
            mask = np.zeros((ROWS, COLUMNS), dtype=bool)
            mask[20:50, 30:60] = True
            return of.predict([[40.0, 50.0]], [1], mask_input=mask if guess else None).logits

        other = CTSlice(blobs(ROWS)[:, ::-1].astype(np.float32), "grey")
        fresh = Predictor.from_backend(TorchBackend(ours(network)))
        fresh.set_image(other)
        before = masks(predictor)
        predictor.set_image(other)
        np.testing.assert_array_equal(masks(predictor), masks(fresh))
        assert not np.array_equal(masks(fresh), before)

    @pytest.mark.parametrize("shape", [(1, 1), (1, 50), (300, 7), (400, 400), (4096, 4096)])
    def test_slices_of_any_shape(self, network: Any, shape: tuple[int, int]) -> None:
        pixels = np.random.default_rng(0).normal(40, 100, shape)
        predictor = Predictor.from_backend(TorchBackend(ours(network)))
        predictor.set_image(CTSlice(pixels, "hu"), window="lung")
        found = predictor.predict([[0, 0]], [1])
        assert found.masks.shape == (1, 3, *shape)
        if 1 < min(shape) < 4096:
            reference = SamPredictor(network)
            shown = to_display(CTSlice(pixels, "hu"), "lung")
            reference.set_image(np.repeat(shown[..., None], 3, axis=2))
            masks, _, _ = reference.predict(np.zeros((1, 2)), np.ones(1))
            assert (found.masks[0] == masks).mean() > 0.999


class TestInputs:
    @pytest.mark.parametrize("shape", [(96, 80), (512, 512), (50, 700)])
    @pytest.mark.parametrize(("image_size", "mask_px"), [(1024, 256), (256, 64), (256, 256)])
    def test_masks_come_back_as_torch_brings_them(
        self, shape: tuple[int, int], image_size: int, mask_px: int
    ) -> None:
        generator = torch.Generator().manual_seed(0)
        logits = torch.randn(1, 1, mask_px, mask_px, generator=generator, dtype=torch.float64)
        frame = InputFrame(shape, image_size, mask_px)
        large = functional.interpolate(logits, (image_size, image_size), mode="bilinear")
        inner = large[..., : frame.inner[0], : frame.inner[1]]
        expected = functional.interpolate(inner, shape, mode="bilinear")[0, 0].numpy()
        first, second = frame.upsampling
        np.testing.assert_allclose(
            first @ logits[0, 0].numpy() @ second.T, expected, **float32_rounding(100, 3)
        )

    @PROPERTY
    @given(st.integers(1, 40), st.integers(1, 40))
    def test_resampling_is_a_mean(self, new: int, old: int) -> None:
        matrix = linear_resampling(new, old)
        np.testing.assert_allclose(matrix.sum(axis=1), 1)
        assert (matrix >= 0).all()
        if new == old:
            assert np.array_equal(matrix, np.eye(old))

    @PROPERTY
    @given(st.integers(1, 600), st.integers(1, 600))
    def test_the_longest_side_fills_the_input(self, rows: int, columns: int) -> None:
        frame = InputFrame((rows, columns), 256, 64)
        assert max(frame.inner) == 256
        assert min(frame.inner) >= 1
        np.testing.assert_allclose(
            frame.to_input(np.array([[columns, rows]])), [frame.inner[::-1]], rtol=1e-6
        )

    def test_medsam_sees_from_darkest_to_brightest(self) -> None:
        picture = np.full((512, 256), 50, dtype=np.uint8)
        picture[:256] = 250
        pixels = preprocess(picture, InputFrame((512, 256), 256, 256), "medsam")
        assert np.array_equal(pixels[0], pixels[2])
        assert (pixels[:, :128, :128] == 1).all()
        assert not pixels[:, 128:].any()
        assert not pixels[:, :, 128:].any()

    def test_medsam_takes_means_where_pixels_become_fewer(self) -> None:
        picture = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
        means = picture.reshape(32, 2, 32, 2).mean(axis=(1, 3))
        pixels = preprocess(picture, InputFrame((64, 64), 32, 32), "medsam")[1]
        expected = (means - means.min()) / (means.max() - means.min())
        np.testing.assert_allclose(pixels, expected, atol=0.01)

    @pytest.mark.parametrize("normalization", ["sam", "medsam"])
    def test_a_constant_picture(self, normalization: Any) -> None:
        pixels = preprocess(np.full((9, 9), 7, dtype=np.uint8), InputFrame((9, 9), 32, 8), normalization)
        assert np.isfinite(pixels).all()

    def test_which_network_sees_how(self, network: Any) -> None:
        with torch.device("meta"):
            lite = Sam(SamShape(LITE_MEDSAM))
        assert TorchBackend(lite).normalization == "medsam"
        assert TorchBackend(ours(network)).normalization == "sam"
        assert TorchBackend(ours(network), "medsam").normalization == "medsam"

    def test_a_first_guess_becomes_logits(self) -> None:
        frame = InputFrame((100, 50), 256, 64)
        mask = np.zeros((100, 50), dtype=bool)
        mask[:50] = True
        logits = mask_input_logits(mask, frame)
        assert logits.shape == (64, 64)
        np.testing.assert_allclose(logits[:31, :31], SURE, rtol=1e-5)
        np.testing.assert_allclose(logits[33:], -SURE, rtol=1e-5)
        np.testing.assert_allclose(logits[:, 33:], -SURE, rtol=1e-5)

    @PROPERTY
    @given(st.integers(8, 120), st.integers(8, 120), st.data())
    def test_a_first_guess_comes_back_as_it_was(self, rows: int, columns: int, data: st.DataObject) -> None:
        frame = InputFrame((rows, columns), 128, 128)
        top, left = data.draw(st.integers(0, rows - 4)), data.draw(st.integers(0, columns - 4))
        mask = np.zeros((rows, columns), dtype=bool)
        mask[top : top + 4, left : left + 4] = True
        first, second = frame.upsampling
        back = first @ mask_input_logits(mask, frame) @ second.T > 0
        assert np.count_nonzero(back & mask) / np.count_nonzero(back | mask) >= 0.5


class TestWhatIsLoaded:
    def test_without_arguments_it_is_the_network_that_comes_with_fewct(self, ct: CTSlice) -> None:
        predictor, known = Predictor(), Predictor.from_backend(load_backend("", 0, "auto"))
        for one in (predictor, known):
            one.set_image(ct)
        found, expected = (one.predict([[30, 40]], [1]) for one in (predictor, known))
        assert predictor.backend.normalization == "ranks"
        assert found.masks.shape == (1, 3, ROWS, COLUMNS)
        assert np.array_equal(found.logits, expected.logits)

    def test_a_checkpoint_by_its_path(self, tiny_sam: str, ct: CTSlice) -> None:
        predictor = Predictor(Path(tiny_sam), 128, "medsam")
        predictor.set_image(ct)
        assert (predictor.backend.image_size, predictor.backend.normalization) == (128, "medsam")
        assert predictor.predict(box=[10, 20, 70, 90]).masks.shape == (1, 3, ROWS, COLUMNS)

    def test_it_is_loaded_with_the_first_slice(self, ct: CTSlice) -> None:
        predictor = Predictor("nowhere.pth")
        with pytest.raises(InputError, match=r"nowhere\.pth"):
            predictor.set_image(ct)


class TestSlices:
    def test_the_second_replaces_the_first(self, network: Any, ct: CTSlice) -> None:
        other = CTSlice(blobs(ROWS, seed=1)[:, :60].astype(np.float32), "grey")
        prompts: dict[str, Any] = {"point_coords": [[12, 70]], "point_labels": [1], "box": [5, 10, 50, 90]}
        both, alone = (Predictor.from_backend(TorchBackend(ours(network))) for _ in range(2))
        both.set_image(ct)
        first = both.predict(**prompts)
        for predictor in (both, alone):
            predictor.set_image(other)
        second, expected = both.predict(**prompts), alone.predict(**prompts)
        assert second.masks.shape == (1, 3, ROWS, 60)
        assert np.array_equal(second.masks, expected.masks)
        assert np.array_equal(second.logits, expected.logits)
        assert not np.allclose(second.logits, first.logits, atol=0.01)
        guess = first.logits[0, 0]
        again, expected = both.predict(mask_input=guess), alone.predict(mask_input=guess)
        assert np.array_equal(again.logits, expected.logits)

    def test_one_that_is_refused_leaves_the_first(self, predictor: Predictor) -> None:
        before = predictor.predict([[12, 70]], [1])
        with pytest.raises(InputError):
            predictor.set_image(np.zeros((2, 3, 4)))
        assert np.array_equal(predictor.predict([[12, 70]], [1]).logits, before.logits)

    @pytest.mark.parametrize(
        ("values", "unit", "same_as"),
        [
            (blobs(ROWS), "auto", "grey"),
            (blobs(ROWS).astype(np.int16) - 500, "auto", "hu"),
            (blobs(ROWS).astype(np.float64), "auto", "grey"),
            (blobs(ROWS), "hu", "hu"),
        ],
    )
    def test_arrays(self, network: Any, values: NDArray[Any], unit: UnitChoice, same_as: Unit) -> None:
        predictor = Predictor.from_backend(TorchBackend(ours(network)))
        predictor.set_image(values, unit=unit)
        found = predictor.predict([[12, 70]], [1])
        predictor.set_image(CTSlice(values, same_as))
        assert np.array_equal(found.logits, predictor.predict([[12, 70]], [1]).logits)

    def test_a_unit_that_is_not_the_slices_own(self, predictor: Predictor, ct: CTSlice) -> None:
        with pytest.raises(UsageError, match="unit: expected the image's own, grey, found hu"):
            predictor.set_image(ct, unit="hu")

    def test_one_box_or_a_list_of_one(self, predictor: Predictor) -> None:
        one, several = (predictor.predict(box=box) for box in ([10, 20, 70, 90], [[10, 20, 70, 90]]))
        assert one.masks.shape == several.masks.shape == (1, 3, ROWS, COLUMNS)
        assert np.array_equal(one.logits, several.logits)


class TestOnlyGoodMasksAreDrawn:
    def test_they_are_the_same(self, network: Any) -> None:
        backend = TorchBackend(ours(network))
        pixels = np.random.default_rng(0).normal(size=(3, 128, 128)).astype(np.float32)
        image_tokens = backend.encode_prompts(backend.embed(pixels), None)
        xy = np.random.default_rng(1).uniform(0, 128, (70, 2, 2)).astype(np.float32)
        labels = np.tile(np.array([[1, -1]]), (70, 1))
        all_ = backend.decode_masks(image_tokens, xy, labels, True)
        above = np.median(all_.predicted_iou)
        half, none = (backend.decode_masks(image_tokens, xy, labels, True, a) for a in (above, np.inf))
        np.testing.assert_array_equal(half.predicted_iou, all_.predicted_iou)
        np.testing.assert_array_equal(half.indices, np.argwhere(all_.predicted_iou > above))
        kept = (all_.predicted_iou > above).ravel()
        np.testing.assert_allclose(half.logits, all_.logits[kept], **CLOSE)
        assert none.logits.shape == (0, 32, 32)
        assert none.indices.shape == (0, 2)


Refusal = tuple[dict[str, Any], type[Exception], str]
NAN = float("nan")
REFUSALS: list[Refusal] = [
    ({}, UsageError, "prompts: expected points, boxes or a mask, found none"),
    (
        {"point_coords": [[80, 5]], "point_labels": [1]},
        InputError,
        r"x within 0 \.\. 80 and y within 0 \.\. 96",
    ),
    ({"point_coords": [[5, 96]], "point_labels": [1]}, InputError, r"found x, y = \[5\.0, 96\.0\]"),
    ({"point_coords": [[-1, 5]], "point_labels": [1]}, InputError, "Clip them to the slice"),
    (
        {"point_coords": [[NAN, 5]], "point_labels": [1]},
        InputError,
        "point_coords: expected finite numbers, found 1",
    ),
    (
        {"point_coords": np.zeros((0, 2)), "point_labels": []},
        InputError,
        r"one or more points.*found shape \(0, 2\)",
    ),
    ({"point_coords": [1, 2], "point_labels": [1]}, InputError, r"one or more points.*found shape \(2,\)"),
    (
        {"point_coords": [["a", "b"]], "point_labels": [1]},
        InputError,
        "expected numbers, in pixels, found dtype <U1",
    ),
    ({"point_coords": [[1, 2]]}, UsageError, "point_labels: expected 1 labels, .*found none"),
    (
        {"point_coords": [[1, 2]], "point_labels": [1, 0]},
        UsageError,
        r"point_labels: expected 1 labels, .*found \[1 0\]",
    ),
    ({"point_coords": [[1, 2]], "point_labels": [2]}, UsageError, "1 inside the structure, 0 outside, found"),
    ({"point_labels": [1]}, UsageError, "prompts: expected"),
    (
        {"point_labels": [1], "box": [1, 2, 3, 4]},
        UsageError,
        "point_labels: expected points that they belong to",
    ),
    (
        {"box": [30, 5, 20, 9]},
        InputError,
        r"x0 < x1 and y0 < y1, found \[30\.0, 5\.0.*not x, y, w",
    ),
    ({"box": [[1, 2, 3, 4], [5, 9, 8, 9]]}, InputError, r"y0 < y1, found \[5\.0, 9\.0"),
    ({"box": [0, 0, 81, 9]}, InputError, r"box: expected x within 0 \.\. 80"),
    ({"box": [0, NAN, 8, 9]}, InputError, "box: expected finite numbers"),
    ({"box": np.zeros((0, 4))}, InputError, r"one or more boxes.*found shape \(0, 4\)"),
    ({"box": [1, 2, 3]}, InputError, r"one or more boxes.*found shape \(3,\)"),
    (
        {"point_coords": [[1, 2]], "point_labels": [1], "box": [[1, 2, 3, 4], [1, 2, 5, 6]]},
        UsageError,
        "one box with points, found 2 boxes",
    ),
    (
        {"mask_input": np.zeros((80, 96), dtype=bool)},
        InputError,
        r"mask_input: expected bool of the slice.s shape \(96",
    ),
    (
        {"mask_input": np.zeros((96, 80))},
        InputError,
        r"or logits \(32, 32\) .* found shape \(96, 80\) of float64",
    ),
    ({"mask_input": np.full((32, 32), NAN)}, InputError, "mask_input: expected finite numbers, found 1024"),
]


@pytest.mark.parametrize(("prompts", "error", "message"), REFUSALS)
def test_prompts_that_are_refused(
    predictor: Predictor, prompts: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        predictor.predict(**prompts)


def test_no_slice_was_set(network: Any) -> None:
    with pytest.raises(UsageError, match=r"image: expected a slice, found none\. Call set_image"):
        Predictor.from_backend(TorchBackend(ours(network))).predict([[1, 1]], [1])


@pytest.mark.parametrize(
    ("image", "window", "error", "message"),
    [
        (CTSlice(np.zeros((4, 4)), "hu"), "teeth", UsageError, "window: expected one of"),
        (CTSlice(np.zeros((4, 4)), "grey"), "lung", UsageError, "none for a slice of grey values"),
        (CTSlice(np.full((4, 4), np.inf), "grey"), None, InputError, "infinite values"),
        (
            np.zeros((2, 4, 5)),
            None,
            InputError,
            r"image: expected one slice, found a scan of shape \(2, 4, 5\)",
        ),
        (
            np.zeros((0, 4)),
            None,
            InputError,
            r"array: expected an array \(rows, columns\).*found shape \(0, 4\)",
        ),
        (np.eye(9), None, InputError, "array: expected a CT image, found what looks like a mask"),
        (np.full((4, 4), 1j), None, InputError, "array: expected one real number a pixel"),
    ],
)
def test_slices_that_are_refused(
    network: Any, image: CTSlice | NDArray[Any], window: str | None, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Predictor.from_backend(TorchBackend(ours(network))).set_image(image, window)
