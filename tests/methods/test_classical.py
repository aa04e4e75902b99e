"""The published recipes, against scikit-image called step by step and against their published figures."""

import numpy as np
import pytest
from scipy import ndimage
from skimage import filters, morphology, segmentation
from sklearn.metrics import adjusted_rand_score

from fewct.errors import UsageError
from fewct.imaging.cleanup import Cleanup
from fewct.methods import Felzenszwalb, Watershed
from fewct.types import CTSlice


def blobs(seed=3, side=64):
    """An 8-bit slice of soft blobs."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.random((side, side)), 6)
    return np.rint(255 * (smooth - smooth.min()) / np.ptp(smooth)).astype(np.uint8)


def organisers_watershed(grey):
    denoised = filters.rank.median(grey, morphology.disk(2))
    markers = filters.rank.gradient(denoised, morphology.disk(5)) < 20
    markers = ndimage.label(markers)[0]
    return segmentation.watershed(filters.sobel(grey), markers, compactness=0.0001)


def test_watershed_is_the_organisers_recipe():
    grey = blobs()
    found = Watershed().load().segment(CTSlice(grey, "grey"))
    expected = organisers_watershed(grey)
    assert expected.max() > 3
    np.testing.assert_array_equal(found.labels, expected)
    assert np.isnan(found.scores).all()
    assert found.cut is None


@pytest.mark.parametrize("settings", [(200.0, 1.0, 100), (30.0, 0.5, 40)])
def test_felzenszwalb_is_that_of_scikit_image(settings):
    grey = blobs(side=128)
    scale, sigma, min_size = settings
    expected = segmentation.felzenszwalb(grey, scale=scale, sigma=sigma, min_size=min_size)
    assert expected.max() > 1
    np.testing.assert_array_equal(
        Felzenszwalb(*settings).load().segment(CTSlice(grey, "grey")).labels, expected + 1
    )


def test_defaults_are_the_published_ones():
    assert Felzenszwalb() == Felzenszwalb(scale=200.0, sigma=1.0, min_size_px=100, cleanup=Cleanup())
    assert Watershed().cleanup == Cleanup()


@pytest.mark.parametrize("method", [Watershed(), Felzenszwalb()])
def test_hounsfield_units_are_seen_through_the_soft_tissue_window(method):
    grey = blobs().astype(np.float32)
    hu = grey / 255 * 399 - 160
    seen = method.load().segment(CTSlice(grey, "grey")).labels
    np.testing.assert_array_equal(method.load().segment(CTSlice(hu, "hu")).labels, seen)


@pytest.mark.parametrize("method", [Watershed, Felzenszwalb])
def test_limits_apply_where_asked(method):
    image = CTSlice(blobs(), "grey")
    assert not method(cleanup=Cleanup(max_area="5px")).load().segment(image).labels.any()


@pytest.mark.parametrize(
    ("method", "setting"),
    [
        (Watershed, "median_radius_px"),
        (Watershed, "flat_radius_px"),
        (Watershed, "flat_range"),
        (Watershed, "compactness"),
        (Felzenszwalb, "scale"),
        (Felzenszwalb, "sigma"),
        (Felzenszwalb, "min_size_px"),
    ],
)
def test_negative_settings(method, setting):
    with pytest.raises(UsageError, match=f"{setting}: expected 0 or more, found -1"):
        method(**{setting: -1})


@pytest.mark.shared
def test_watershed_reaches_the_organisers_figure(shared_data):
    """Adjusted Rand index on all pixels of every 6th slice; the organisers report 0.137 on theirs."""
    figures = []
    for path in sorted((shared_data / "btcv" / "val").glob("*.npz")):
        with np.load(path) as patient:
            for grey, truth in zip(patient["image"][::6], patient["label"][::6], strict=True):
                found = Watershed().load().segment(CTSlice(grey, "grey"))
                figures.append(adjusted_rand_score(truth.ravel(), found.labels.ravel()))
    assert np.mean(figures) == pytest.approx(0.136, abs=0.005)
