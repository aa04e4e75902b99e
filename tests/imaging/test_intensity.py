import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from pydicom.dataset import Dataset
from pydicom.pixels import apply_windowing

from fewct.errors import InputError, UsageError
from fewct.imaging.intensity import WINDOWS, Window, apply_window, normalise, ranks, robust_uint8, to_display
from fewct.types import CTSlice

PROPERTY = settings(max_examples=60)
finite = st.floats(-3000, 3000, width=32)
slices = npst.arrays(np.float32, npst.array_shapes(min_dims=2, max_dims=2, max_side=6), elements=finite)


def pydicom_window(pixels, window):
    """What pydicom makes of the same window, from 16-bit output, as numbers in [0, 255]."""
    ds = Dataset()
    ds.PhotometricInterpretation = "MONOCHROME2"
    ds.BitsStored = 16
    ds.PixelRepresentation = 1
    ds.WindowCenter = window.level_hu
    ds.WindowWidth = window.width_hu
    ds.RescaleSlope = 1
    ds.RescaleIntercept = 0
    windowed = apply_windowing(pixels.astype(np.float64), ds)
    return (windowed + 2**15) / (2**16 - 1) * 255


@pytest.mark.parametrize("name", WINDOWS)
def test_windows_against_pydicom(name):
    pixels = np.arange(-1100, 1500, dtype=np.int16)[None]
    ours = apply_window(pixels, WINDOWS[name])
    assert np.abs(ours - pydicom_window(pixels, WINDOWS[name])).max() <= 0.51


def test_a_window_by_hand():
    # Level 100.5, width 256: 0 becomes -27.5 + 27.5 = 0 at -27.5 and 255 at 227.5, one grey value a unit.
    pixels = np.array([[-500.0, -27.5, 0.0, 100.0, 227.5, 5000.0, np.inf, -np.inf, np.nan]])
    assert apply_window(pixels, Window(100.5, 256)).tolist() == [[0, 0, 28, 128, 255, 255, 255, 0, 0]]


def test_presets_are_the_usual_ones():
    presets = {name: (window.level_hu, window.width_hu) for name, window in WINDOWS.items()}
    assert presets == {
        "soft-tissue": (40, 400),
        "lung": (-600, 1500),
        "bone": (400, 1800),
        "brain": (40, 80),
        "liver": (60, 160),
        "mediastinum": (50, 350),
    }


@pytest.mark.parametrize("window", [(40, 1), (40, 0), (40, -5), (np.nan, 400), (40, np.inf)])
def test_impossible_windows_are_refused(window):
    with pytest.raises(UsageError, match="window: expected a finite level and a width above 1 HU"):
        Window(*window)


@pytest.mark.parametrize("function", [robust_uint8, lambda pixels: apply_window(pixels, WINDOWS["bone"])])
def test_only_images_are_taken(function):
    with pytest.raises(InputError, match=r"\(rows, columns\)"):
        function(np.zeros((2, 3, 4)))


@PROPERTY
@given(slices, st.floats(0.5, 10), st.floats(-100, 100))
def test_robust_scaling_keeps_order_and_forgets_gain_and_offset(pixels, gain, offset):
    scaled = robust_uint8(pixels)
    assert scaled.dtype == np.uint8
    order = np.argsort(pixels.ravel(), kind="stable")
    assert (np.diff(scaled.ravel()[order].astype(int)) >= 0).all()
    changed = robust_uint8(np.rint(pixels).astype(np.float64) * gain + offset)
    assert np.abs(changed.astype(int) - robust_uint8(np.rint(pixels))).max() <= 1


@pytest.mark.parametrize("value", [0.0, 255.0, -1024.0, np.nan])
def test_constant_slices_become_black(value):
    assert not robust_uint8(np.full((4, 5), value)).any()
    assert not normalise(CTSlice(np.full((4, 5), value), "grey")).any()
    assert normalise(CTSlice(np.full((4, 5), value), "grey")).dtype == np.float32
    assert not to_display(CTSlice(np.full((4, 5), value), "grey")).any()


def test_two_values_become_black_and_white():
    assert robust_uint8(np.array([[3.0, 3.0], [4.0, 3.0]])).tolist() == [[0, 0], [255, 0]]


def test_padding_and_metal_leave_the_contrast():
    tissue = np.random.default_rng(0).uniform(90, 110, (20, 20))
    framed = np.zeros((60, 60))
    framed[20:40, 20:40] = tissue
    framed[30, 30] = 4000
    inside = robust_uint8(framed)[20:40, 20:40]
    assert inside.min() == 0
    assert np.percentile(inside, 90) > 200
    assert not robust_uint8(framed)[:20].any()
    framed[:20] = np.nan
    np.testing.assert_array_equal(robust_uint8(framed)[20:40, 20:40], inside)


def test_a_frame_of_5_percent_is_padding_and_single_dark_pixels_are_not():
    tissue = np.linspace(90, 110, 100 * 100).reshape(100, 100)
    framed = tissue.copy()
    framed[:5] = 0  # 5 % of the slice
    contrast = robust_uint8(framed)[5:].astype(int)
    assert np.ptp(contrast) == 255
    assert contrast[0, 0] == 0
    dark = tissue.copy()
    dark[0] = 0  # 1 %, from which half of the pixels below the range come
    assert robust_uint8(dark)[1:].min() > 150


@pytest.mark.parametrize(("rows", "is_padding"), [(3, False), (6, True)])
def test_more_than_2_percent_is_padding(rows, is_padding):
    framed = np.linspace(90, 110, 200 * 100).reshape(200, 100)
    framed[:rows] = 0
    assert (robust_uint8(framed)[20:].min() < 40) == is_padding


@pytest.mark.parametrize("function", [robust_uint8, lambda p: normalise(CTSlice(p, "grey"))])
def test_infinite_grey_values_are_refused(function):
    with pytest.raises(InputError, match="finite numbers, NaN for padding, found 2 infinite values"):
        function(np.array([[np.inf, 1.0], [2.0, -np.inf]]))


def test_display_chooses_by_unit():
    hu = CTSlice(np.array([[-160.0, 39.5, 240.0, 1000.0]]), "hu")
    assert to_display(hu).tolist() == [[0, 128, 255, 255]]
    assert to_display(hu, "bone").tolist() == apply_window(hu.pixels, WINDOWS["bone"]).tolist()
    grey = np.zeros((80, 80))
    grey[20:60, 20:60] = np.random.default_rng(0).uniform(100, 140, (40, 40))
    shown = to_display(CTSlice(grey, "grey"))
    assert not shown[:10].any()
    assert np.ptp(shown[30:50, 30:50]) > 230


def test_unknown_windows_are_refused():
    with pytest.raises(UsageError, match=r"window: expected one of soft-tissue, lung, bone.*found 'kidney'"):
        to_display(CTSlice(np.zeros((2, 2)), "hu"), "kidney")
    with pytest.raises(UsageError, match="none for a slice of grey values, found 'lung'"):
        to_display(CTSlice(np.zeros((2, 2)), "grey"), "lung")


def test_normalised_hounsfield_units():
    pixels = np.array([[-2000.0, -160.0, 40.0, 240.0, 3000.0, np.nan]])
    result = normalise(CTSlice(pixels, "hu"))
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, [[0, 0, 0.5, 1, 1, 0]], atol=1e-6)


def test_normalised_grey_spans_the_body():
    rng = np.random.default_rng(0)
    pixels = np.full((128, 128), 20.0) + rng.normal(0, 0.2, (128, 128))
    pixels[30:100, 20:110] = rng.uniform(110, 130, (70, 90))
    for gain, offset in ((1, 0), (0.3, 50), (-0.0 + 2, -7)):
        result = normalise(CTSlice(pixels * gain + offset, "grey"))
        assert result.min() == 0
        assert result.max() == 1
        body = result[35:95, 25:105]
        assert 0.4 < np.median(body) < 0.6
        assert body.std() > 0.2


EVERYWHERE = np.ones((1, 5), bool)


def test_ranks_by_hand():
    pixels = np.array([[-3000, -1024, 238, 1500, 9000]], np.float32)  # -1024 to 1500 count
    np.testing.assert_allclose(ranks(pixels, EVERYWHERE), [[0.2, 0.2, 0.5, 0.8, 0.8]])
    weak = np.array([[0.1, 0.2, 0.3, 0.3, np.nan]], np.float32)
    np.testing.assert_allclose(ranks(weak, EVERYWHERE), [[0.125, 0.375, 0.75, 0.75, 0.125]])


def test_ranks_are_those_among_the_patient():
    pixels = np.array([[-900, 10, 20, 20, 700]], np.float32)
    body = np.array([[False, True, True, True, False]])
    np.testing.assert_allclose(ranks(pixels, body), [[1 / 6, 1 / 6, 2 / 3, 2 / 3, 2 / 3]])
    np.testing.assert_allclose(ranks(pixels, ~EVERYWHERE), [[0.1, 0.3, 0.6, 0.6, 0.9]], atol=1e-6)


@pytest.mark.parametrize("pixels", [np.full((1, 5), np.nan), np.full((1, 5), 40.0), np.full((1, 5), 2000.0)])
def test_what_is_of_one_intensity_has_no_ranks(pixels):
    assert ranks(pixels.astype(np.float32), EVERYWHERE).tolist() == [[0, 0, 0, 0, 0]]
