"""Arrays and images of nibabel's become slices and scans, with spacing and unit as told."""

from typing import Any

import nibabel
import numpy as np
import pytest

import fewct
from fewct.errors import InputError, UsageError
from fewct.io.in_memory import as_image
from fewct.types import CTSlice, CTVolume

HU = np.random.default_rng(0).normal(0, 300, (3, 20, 30))
GREY = np.random.default_rng(1).integers(0, 256, (20, 30)).astype(np.uint8)


def test_an_array_of_a_slice() -> None:
    ct = as_image(HU[0], spacing_mm=(0.5, 0.8))
    assert isinstance(ct, CTSlice)
    assert (ct.unit, ct.spacing_mm, ct.source) == ("hu", (0.5, 0.8), None)
    np.testing.assert_array_equal(ct.pixels, HU[0].astype(np.float32))


@pytest.mark.parametrize(
    ("spacing_mm", "expected"), [(2, (2, 2, 2)), ((5, 1, 1.5), (5, 1, 1.5)), (np.float32(0.5), (0.5,) * 3)]
)
def test_an_array_of_a_scan(spacing_mm: Any, expected: tuple[float, float, float]) -> None:
    ct = as_image(HU, spacing_mm)
    assert isinstance(ct, CTVolume)
    assert ct.spacing_mm == pytest.approx(expected)
    np.testing.assert_array_equal(np.asarray(ct), HU.astype(np.float32))


def test_units() -> None:
    assert as_image(GREY).unit == "grey"
    assert as_image(GREY, unit="hu").unit == "hu"
    assert as_image(GREY).spacing_mm is None
    assert isinstance(as_image(HU[:1]), CTVolume)
    assert as_image(HU[0].tolist()).shape == (20, 30)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros(5), r"array: expected an array \(rows, columns\) .* found shape \(5,\)"),
        (np.zeros((0, 4)), r"found shape \(0, 4\)"),
        (np.zeros((30, 40, 3)), r"found shape \(30, 40, 3\), which looks like colours"),
        (GREY > 100, "expected a CT image, found what looks like a mask"),
        (np.array([["a"]]), "array: expected one real number a pixel"),
        (np.full((4, 4), np.inf), "array: expected finite pixels"),
    ],
)
def test_arrays_that_are_no_image(array: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        as_image(array)


@pytest.mark.parametrize("spacing_mm", [0, -1, np.nan, (1, 2, 3), ()])
def test_spacings_that_do_not_fit(spacing_mm: Any) -> None:
    with pytest.raises(
        UsageError, match=r"spacing_mm: expected millimetres above 0 and below 1000: .* \(rows, columns\)"
    ):
        as_image(GREY, spacing_mm)


def test_what_is_masked_out_is_padding() -> None:
    masked = np.ma.masked_less(HU[0], -500)
    assert np.isnan(as_image(masked).pixels[HU[0] < -500]).all()


@pytest.mark.parametrize("image", [[[1, 2], [3]], fewct.LabelMap(np.eye(20, dtype=int) * 7 + 3)])
def test_what_is_no_array_of_pixels(image: Any) -> None:
    with pytest.raises(InputError, match=r"expected an array of numbers|expected a CT image, found labels"):
        as_image(image)


def test_units_are_checked() -> None:
    with pytest.raises(UsageError, match="unit: expected one of auto, hu, grey, found 'HU'"):
        as_image(GREY, unit="HU")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="unit: expected one of hu, grey, found 'HU'"):
        CTSlice(GREY, "HU")  # type: ignore[arg-type]


def test_an_image_that_tells_its_own() -> None:
    ct = as_image(HU, 2)
    assert as_image(ct) is ct
    with pytest.raises(UsageError, match=r"expected none, as the image tells its own, \(2.0, 2.0, 2.0\)"):
        as_image(ct, 2)
    with pytest.raises(UsageError, match="unit: expected the image's own, hu, found grey"):
        as_image(ct, unit="grey")
    bare = CTSlice(GREY, "grey")
    assert as_image(bare, 0.5).spacing_mm == (0.5, 0.5)


def test_an_image_of_nibabels() -> None:
    image = nibabel.Nifti1Image(HU.transpose(2, 1, 0), np.diag([-0.8, -0.5, 2, 1]))
    ct = as_image(image)
    assert ct.spacing_mm == pytest.approx((2, 0.5, 0.8))
    np.testing.assert_array_equal(np.asarray(ct), HU.astype(np.float32))
    result = fewct.segment(image, fewct.Mosaic(boundary_source="gradients"))
    assert result.labels.shape == (3, 20, 30)


def test_segment_takes_an_array() -> None:
    result = fewct.segment(GREY, "felzenszwalb", spacing_mm=2)
    assert result.structures[0].area_mm2 == 4 * result.structures[0].area_px
    assert fewct.segment(HU, fewct.Felzenszwalb().load(), unit="hu").labels.shape == HU.shape
