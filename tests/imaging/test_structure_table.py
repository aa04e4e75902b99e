import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from fewct.errors import InputError
from fewct.imaging.structure_table import StructureTable, structure_table
from fewct.types import CTSlice, CTVolume, Geometry

PROPERTY = settings(max_examples=60)
volumes = npst.arrays(
    np.int32, npst.array_shapes(min_dims=3, max_dims=3, max_side=5), elements=st.integers(0, 4)
)


@PROPERTY
@given(volumes)
def test_rows_against_one_structure_at_a_time(labels):
    pixels = np.random.default_rng(0).normal(size=labels.shape).astype(np.float32)
    pixels[pixels > 1.5] = np.nan
    volume = CTVolume.from_array(pixels, "hu", Geometry.from_spacing((5.0, 0.5, 0.25)))
    rows = structure_table(labels, volume)
    assert [row.id for row in rows] == sorted(set(labels.ravel().tolist()) - {0})
    for row in rows:
        z, y, x = np.nonzero(labels == row.id)
        assert row.area_px == len(z)
        assert row.area_mm2 == pytest.approx(len(z) * 0.125)
        assert row.volume_mm3 == pytest.approx(len(z) * 0.625)
        assert (row.x0, row.y0, row.z0) == (x.min(), y.min(), z.min())
        assert (row.x1, row.y1, row.z1) == (x.max() + 1, y.max() + 1, z.max() + 1)
        assert (row.centroid_x, row.centroid_y, row.centroid_z) == pytest.approx(
            (x.mean(), y.mean(), z.mean())
        )
        values = pixels[labels == row.id].astype(np.float64)
        values = values[~np.isnan(values)]
        assert row.mean_intensity == pytest.approx(values.mean() if values.size else np.nan, nan_ok=True)
        assert np.isnan(row.score)
        assert np.isnan(row.link_quality)


def test_one_slice():
    labels = np.array([[0, 2, 2], [0, 0, 2]])
    image = CTSlice(np.array([[0, 10, 20], [0, 0, np.nan]]), "grey")
    (row,) = structure_table(labels, image, scores=[0.1, 0.75])
    assert (row.id, row.area_px, row.score, row.mean_intensity) == (2, 3, 0.75, 15)
    assert (row.x0, row.y0, row.z0, row.x1, row.y1, row.z1) == (1, 0, 0, 3, 2, 1)
    assert np.isnan(row.area_mm2)
    assert np.isnan(row.volume_mm3)


def test_a_structure_of_padding_has_no_mean():
    (row,) = structure_table(np.array([[1]]), CTSlice(np.array([[np.nan]]), "hu"))
    assert np.isnan(row.mean_intensity)


def test_scores_and_link_qualities_are_means_by_area():
    table = StructureTable(None)
    pixels = np.zeros((1, 4), np.float32)
    table.add_slice(0, np.array([[1, 0, 0, 2]]), pixels, scores=[0.5, 0.25])
    table.add_slice(1, np.array([[1, 1, 1, 2]]), pixels, scores=[0.9, np.nan], link_qualities=[0.25, 0.5])
    table.add_slice(2, np.array([[1, 0, 0, 0]]), pixels, scores=[0.8], link_qualities=[0.75])
    one, two = table.rows()
    assert one.score == pytest.approx((0.5 + 3 * 0.9 + 0.8) / 5)
    assert one.link_quality == pytest.approx((3 * 0.25 + 0.75) / 4)
    assert (two.score, two.link_quality) == (0.25, 0.5)


def test_an_empty_map_has_an_empty_table():
    assert structure_table(np.zeros((2, 2), np.int32), CTSlice(np.zeros((2, 2)), "hu")) == ()


def test_labels_and_slices_must_fit():
    with pytest.raises(
        InputError, match=r"labels: expected the image's shape \(2, 3\), found shape \(2, 2\)"
    ):
        structure_table(np.ones((2, 2), np.int32), CTSlice(np.zeros((2, 3)), "hu"))
    with pytest.raises(InputError, match=r"expected the image's shape \(3, 2, 2\), found shape \(2, 2, 2\)"):
        structure_table(np.ones((2, 2, 2), np.int32), CTVolume.from_array(np.zeros((3, 2, 2)), "hu"))
    with pytest.raises(InputError, match="labels and pixels: expected arrays of the same shape"):
        StructureTable(None).add_slice(0, np.ones((2, 2), np.int32), np.zeros((2, 3), np.float32))


def test_each_structure_needs_a_score():
    with pytest.raises(InputError, match=r"one score for each id up to 3, found shape \(2,\)"):
        structure_table(np.array([[3]]), CTSlice(np.zeros((1, 1)), "hu"), scores=[0.5, 0.5])


def test_only_label_maps_have_a_table():
    with pytest.raises(InputError, match="labels: expected integer labels, 0 for background"):
        structure_table(np.ones((2, 2)), CTSlice(np.zeros((2, 2)), "hu"))
