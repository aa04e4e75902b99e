"""Judging pixels: finite values, masks, units, label maps."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fewct.errors import FewctWarning, InputError
from fewct.io.pixels import RawImage, as_ct, as_label_map, checked_pixels, looks_like_mask, narrow
from fewct.types import CTSlice, CTVolume, Provenance

NOISE = np.random.default_rng(5).normal(40, 20, (3, 16, 16))


def stored(values: np.ndarray, slope: float = 1.0, intercept: float = 0.0) -> RawImage:
    return RawImage(values, Provenance(Path("scan.x"), "numpy", "scan"), None, slope, intercept)


def test_pixels_become_float32_and_keep_nan() -> None:
    pixels = checked_pixels(np.array([[1, np.nan]]), "a.npy")
    assert pixels.dtype == np.float32
    np.testing.assert_array_equal(pixels, np.array([[1, np.nan]], np.float32))


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e300])
def test_infinite_pixels(value: float) -> None:
    with pytest.raises(InputError, match=r"a.npy: expected finite pixels.*found 1 infinite.*Replace"):
        checked_pixels(np.array([[0.0, value]]), "a.npy")


def test_only_nan() -> None:
    with pytest.raises(InputError, match=r"a.npy: expected pixels, found NaN only"):
        checked_pixels(np.full((2, 2), np.nan), "a.npy")


def test_infinite_pixels_in_a_slice_that_was_no_sample(rng: np.random.Generator) -> None:
    values = rng.normal(0, 1, (9, 4, 4))
    values[2, 0, 0] = np.inf
    volume = as_ct(stored(values), "auto")
    with pytest.raises(InputError, match="1 infinite pixels"):
        volume[2]


def test_unit_is_guessed_from_values_below_minus_200() -> None:
    assert as_ct(stored(NOISE), "auto").unit == "grey"
    assert as_ct(stored(NOISE, 10.0, -1000.0), "auto").unit == "hu"
    assert as_ct(stored(NOISE), "hu").unit == "hu"
    assert as_ct(stored(NOISE - 1000), "grey").unit == "grey"


def test_one_slice_or_a_volume() -> None:
    assert isinstance(as_ct(stored(NOISE[:1]), "auto"), CTSlice)
    volume = as_ct(stored(NOISE), "auto")
    assert isinstance(volume, CTVolume)
    np.testing.assert_array_equal(volume[1].pixels, NOISE[1].astype(np.float32))


def test_slope_and_intercept_are_applied(rng: np.random.Generator) -> None:
    raw = rng.integers(0, 4000, (2, 8, 8)).astype(np.uint16)
    volume = as_ct(stored(raw, 0.5, -1024), "auto")
    np.testing.assert_array_equal(volume[0].pixels, (raw[0] * 0.5 - 1024).astype(np.float32))


def test_complex_values() -> None:
    with pytest.raises(
        InputError, match=r"scan.x: expected one real number a pixel, found values of type complex"
    ):
        as_ct(stored(NOISE.astype(np.complex64)), "auto")


def test_constant_slice_warns_and_a_constant_slice_in_a_volume_does_not() -> None:
    with pytest.warns(FewctWarning, match=r"scan.x: every pixel is 7"):
        as_ct(stored(np.full((1, 4, 4), 7)), "auto")
    volume = np.concatenate([np.full((1, 16, 16), 7.0), NOISE])
    assert as_ct(stored(volume), "auto")[0].pixels.min() == 7


def blobs(labels: int) -> np.ndarray:
    """A label map of vertical bars 8 pixels wide on background."""
    return np.repeat(np.arange(labels + 1), 8)[np.newaxis, np.newaxis].repeat(64, axis=1)


@pytest.mark.parametrize("scale", [1, 255, 0.5])
def test_two_values_are_a_mask(scale: float) -> None:
    with pytest.raises(InputError, match="expected a CT image, found what looks like a mask: 2 flat values"):
        as_ct(stored(blobs(1) * scale), "auto")


@pytest.mark.parametrize("labels", [3, 20, 60])
def test_flat_whole_numbers_are_a_mask(labels: int) -> None:
    with pytest.raises(InputError, match=f"mask: {labels + 1} flat values. Give the image here"):
        as_ct(stored(blobs(labels)), "auto")


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(5).integers(0, 16, (1, 32, 32)),  # few grey levels, but noise
        blobs(3) - 1000,  # no background 0: a noiseless phantom in HU
        blobs(3) * 0.3,  # not whole
        blobs(200),  # many values
        np.zeros((1, 4, 4)),  # constant
    ],
    ids=["noise", "hounsfield", "fractions", "many", "constant"],
)
def test_what_is_no_mask(values: np.ndarray) -> None:
    assert not looks_like_mask(values)


@pytest.mark.shared
def test_real_slices_are_no_masks_even_at_32_grey_levels(shared_data: Path) -> None:
    seen = 0
    for file in sorted(shared_data.glob("btcv/*/0*.npz"))[::4]:
        with np.load(file) as arrays:
            for image in arrays["image"][::8]:
                seen += 1
                assert not looks_like_mask(image[np.newaxis]), file
                assert not looks_like_mask(image[np.newaxis] // 8), file
    assert seen > 30


@pytest.mark.shared
def test_real_label_maps_are_masks(shared_data: Path) -> None:
    for file in sorted(shared_data.glob("anatomy/trunk_*.npz")):
        with np.load(file) as arrays:
            for labels in arrays["label"][::40]:
                assert looks_like_mask(labels[np.newaxis]) == (labels.max() > 0), file


def test_labels_from_floats_and_from_scaled_files() -> None:
    labels = np.array([[[0, 1], [2, 300]]])
    np.testing.assert_array_equal(as_label_map(stored(labels.astype(np.float64))).labels, labels[0])
    np.testing.assert_array_equal(as_label_map(stored(labels * 10, 0.1)).labels, labels[0])
    assert as_label_map(stored(labels.repeat(2, axis=0))).labels.dtype == np.int32


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ([[[0.0, 1.5]]], "expected a label map of whole numbers, found a value of 1.5"),
        ([[[0.0, np.nan]]], "found a value of nan"),
        ([[[0, -2]]], "labels of 0 .* or more, found a smallest label of -2"),
        ([[[0.0, -2.0]]], "labels of 0 .* or more"),
        ([[[0, 2**31]]], "labels up to 2147483647, found a largest label of 2147483648"),
        ([[[0.0, 1e30]]], "labels up to 2147483647"),
    ],
)
def test_what_is_no_label_map(values: list[list[list[float]]], match: str) -> None:
    with pytest.raises(InputError, match=f"scan.x: .*{match}"):
        as_label_map(stored(np.array(values)))


@settings(max_examples=50)
@given(hnp.arrays(np.int32, (2, 3), elements=st.integers(0, 2**31 - 1)))
def test_narrow_keeps_values_in_the_fewest_bytes(labels: np.ndarray) -> None:
    narrowed = narrow(labels)
    np.testing.assert_array_equal(narrowed.astype(np.int64), labels.astype(np.int64))
    assert narrowed.dtype == [np.uint8, np.uint16, np.int32][np.searchsorted([255, 65535], labels.max())]
