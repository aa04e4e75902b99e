"""Mosaic's maps on slices made by hand, its settings, and its figures on real CT."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from scipy import ndimage

from fewct.errors import InputError, UsageError
from fewct.imaging.body import body_mask
from fewct.imaging.cleanup import Cleanup
from fewct.imaging.labelmap import place_on_grid
from fewct.imaging.merge_tree import cut_level
from fewct.io import read, read_labels
from fewct.methods import Mosaic
from fewct.methods.mosaic.gradient_maps import (
    approximate_hu,
    boundary_map,
    pixel_size_mm,
    solid_bone,
    structure_map,
)
from fewct.methods.mosaic.method import is_adapted
from fewct.metrics import adjusted_rand_index, contingency, mean_best_iou
from fewct.types import CTSlice, Geometry

by_gradients = partial(Mosaic, boundary_source="gradients", level=0.15)

SIDE, PIXEL_MM = 200, 2.0
ORGANS = {  # row, column, radius in pixels, HU
    "liver": (100, 70, 25, 110),
    "vessel": (100, 52, 5, 230),
    "spleen": (105, 140, 15, 95),
    "lung": (60, 100, 14, -850),
    "cyst": (130, 105, 8, 2),
}


def ellipse(row, column, height, width):
    y, x = np.ogrid[:SIDE, :SIDE]
    return ((y - row) / height) ** 2 + ((x - column) / width) ** 2 <= 1


def trunk_hu(noise=8.0):
    """A trunk: skin, fat, organs, gas, a bone with marrow; air and a table around it."""
    hu = np.full((SIDE, SIDE), -1000.0)
    hu[190:192, 20:180] = 300
    hu[ellipse(100, 100, 75, 88)] = 40
    hu[ellipse(100, 100, 73, 86)] = -100
    for row, column, radius, density in ORGANS.values():
        hu[ellipse(row, column, radius, radius)] = density
    hu[ellipse(150, 100, 9, 9)] = 700
    hu[ellipse(150, 100, 6, 6)] = 60
    hu[100:140, 100] = 40
    return (hu + np.random.default_rng(5).normal(0, noise, hu.shape)).astype(np.float32)


def trunk(noise=8.0):
    return CTSlice(trunk_hu(noise), "hu", Geometry.from_spacing((5.0, PIXEL_MM, PIXEL_MM)))


def maps_of(image):
    return by_gradients().load().maps_of(image, body_mask(image))


def centre(name):
    return ORGANS[name][:2]


def windowed(low, high):
    return CTSlice(np.rint(255 * ((trunk_hu() - low) / (high - low)).clip(0, 1)), "grey")


def test_every_organ_is_one_structure():
    labels = by_gradients().load().segment(trunk()).labels
    for name, (row, column, radius, _) in ORGANS.items():
        organ, found = ellipse(row, column, radius, radius), labels == labels[centre(name)]
        assert labels[centre(name)] > 0
        assert (organ & found).sum() / (organ | found).sum() > 0.7, name
    assert len({labels[centre(name)] for name in ORGANS} | {labels[150, 100]}) == 6


def test_bone_holds_its_marrow():
    labels = by_gradients().load().segment(trunk()).labels
    assert labels[150, 100] == labels[150, 108] != 0


@pytest.mark.parametrize("where", [(5, 5), (191, 100), (100, 30), (26, 100), (115, 100)])
def test_air_table_fat_skin_and_septa_are_background(where):
    assert by_gradients().load().segment(trunk()).labels[where] == 0


def test_scores_and_tree():
    found = by_gradients().load().segment(trunk())
    assert ((found.scores >= 0) & (found.scores <= 1)).all()
    liver, spleen = (found.scores[found.labels[centre(name)] - 1] for name in ("liver", "spleen"))
    assert min(liver, spleen) > 0.3
    assert found.cut is not None
    regions = cut_level(found.cut.regions.tree, by_gradients().level)
    assert len(np.unique(regions[found.labels > 0])) == found.labels.max()


@pytest.mark.parametrize(
    ("setting", "values"), [("level", (0.0, 0.3, 1.0)), ("minima_depth", (0.0, 0.3, 1.0))]
)
def test_higher_levels_and_depths_give_fewer_structures(setting, values):
    counts = []
    for value in values:
        method = by_gradients(**{"level": 0.0, "minima_depth": 0.0, setting: value}, cleanup=Cleanup())
        counts.append(len(method.load().segment(trunk(40)).scores))
    parts = ndimage.label(maps_of(trunk(40)).foreground)[1]
    assert counts[0] > counts[1] > counts[2] == parts


def test_small_regions_join_a_neighbour():
    image = trunk(60)
    fine, coarse = (
        by_gradients(minima_depth=0, min_region_mm2=area).load().segment(image).cut.regions.tree
        for area in (0, 400)
    )
    assert fine.n_leaves > 2 * coarse.n_leaves


def test_structure_threshold():
    maps = maps_of(trunk())
    everything = by_gradients(foreground_threshold=1.0, cleanup=Cleanup()).load().segment(trunk()).labels
    np.testing.assert_array_equal(everything > 0, maps.foreground == 1)


def test_cleanup_applies():
    assert (
        len(by_gradients(cleanup=Cleanup(min_area="3000mm2")).load().segment(trunk()).scores) == 1
    )  # the liver: 7850 mm2


@pytest.mark.parametrize("setting", ["level", "minima_depth", "foreground_threshold"])
@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_shares_out_of_range(setting, value):
    with pytest.raises(UsageError, match=rf"{setting}: expected a number in \[0, 1\], found {value}"):
        Mosaic(**{setting: value})


@pytest.mark.parametrize(
    "setting", ["level", "affinity_weight", "minima_depth", "foreground_threshold", "min_foreground"]
)
def test_shares_from_0_to_1(setting):
    for value in (0.0, 1.0):
        assert getattr(Mosaic(**{setting: value}), setting) == value


def test_default_settings():
    assert Mosaic() == Mosaic(
        boundary_source="network",
        weights="",
        level=0.45,
        affinity_weight=0.5,
        minima_depth=0.1,
        min_region_mm2=20.0,
        foreground_threshold=0.62,
        min_foreground=0.83,
        cleanup=Cleanup(min_area="0.03%", body_only=True),
    )


@pytest.mark.parametrize("value", [-1.0, float("inf"), float("nan")])
def test_area_out_of_range(value):
    with pytest.raises(UsageError, match="min_region_mm2: expected 0 or more"):
        Mosaic(min_region_mm2=value)


def test_an_adapted_folder_is_no_network_alone(tmp_path):
    (tmp_path / "adapted.json").write_text("{}")
    with pytest.raises(UsageError, match=r"weights: expected a network alone: .* Write Mosaic\.adapted\('"):
        Mosaic(weights=f"{tmp_path}")


@pytest.mark.parametrize("window", [(-250, 250), (-160, 240), (-1000, 700), (-1350, 150)])
def test_grey_values_are_mapped_to_about_hounsfield_units(window):
    image = windowed(*window)
    hu = approximate_hu(image, body_mask(image))
    assert np.median(hu[ellipse(60, 40, 8, 8)]) == pytest.approx(-100, abs=15)
    assert np.median(hu[ellipse(60, 100, 10, 10)]) < -400
    assert 40 < np.median(hu[ellipse(100, 70, 20, 20)]) < 250


@pytest.mark.parametrize("window", [(-250, 250), (-160, 240), (-1000, 700)])
def test_windows_change_little(window):
    truth = by_gradients().load().segment(trunk()).labels
    assert adjusted_rand_index(truth, by_gradients().load().segment(windowed(*window)).labels) > 0.9


@pytest.mark.parametrize("turn", [np.flipud, np.fliplr, np.transpose, np.rot90])
def test_orientation_does_not_matter(turn):
    image = trunk()
    turned = CTSlice(turn(image.pixels), "hu", image.geometry)
    there, here = maps_of(turned), maps_of(image)
    np.testing.assert_allclose(there.boundary, turn(here.boundary), atol=1e-5)
    np.testing.assert_array_equal(there.foreground, turn(here.foreground))
    back, labels = by_gradients().load().segment(turned).labels, by_gradients().load().segment(image).labels
    assert adjusted_rand_index(turn(labels), back) > 0.98


def test_boundary_of_a_step_by_hand():
    """The change over one width s of a step of height h is h / sqrt(2 pi) at the step, at every scale."""
    step = np.where(np.arange(80) < 40, 0.0, 100.0) * np.ones((60, 1))
    boundary = boundary_map(step.astype(np.float32), np.zeros((60, 80), dtype=bool), 0.5)
    at_step = boundary[30, 39:41].mean()
    assert at_step == pytest.approx(1 / np.sqrt(2 * np.pi), rel=0.02)
    assert boundary[30].argmax() in (39, 40)
    assert boundary[30, 5] < 1e-3


def test_bone_is_one_plateau():
    hu = np.full((30, 30), 50, dtype=np.float32)
    hu[8:22, 8:22] = 900
    bone = hu > 100
    hu[12:18, 12:18] = 1500
    assert boundary_map(hu, bone, 1.0)[15, 15] < boundary_map(hu, bone, 1.0)[15, 8] / 10
    assert boundary_map(hu, bone, 1.0).max() <= 1


def test_solid_bone_fills_marrow_but_not_the_chest():
    hu = np.full((300, 300), 0, dtype=np.float32)
    body = np.ones_like(hu, dtype=bool)
    y, x = np.ogrid[:300, :300]
    for row, radius in ((50, 12), (190, 80)):
        distance = np.hypot(y - row, x - 150)
        hu[(distance < radius) & (distance > radius - 5)] = 500
    bone = solid_bone(hu, body, 1.0)
    assert bone[50, 150]
    assert not bone[190, 150]


def test_structures_by_width_and_density():
    hu = np.full((100, 100), -100, dtype=np.float32)
    hu[10:30, 10:30] = 50  # an organ
    hu[40:44, 10:90] = 50  # a septum, 4 mm
    hu[50:70, 10:30] = 0  # a cyst
    hu[80:90, 10:90] = 0  # fluid in a fold, 10 mm
    hu[10:30, 60:80] = -900  # gas
    hu[50:58, 60:68] = -900  # a bubble, 64 mm2
    hu[20, 20] = -100  # a pinhole
    none = np.zeros_like(hu, dtype=bool)
    structure = structure_map(hu, ~none, none, 1.0)
    where = [(20, 20), (42, 50), (60, 20), (85, 50), (20, 70), (54, 64), (5, 50)]
    assert [structure[pixel] for pixel in where] == [1, 0, 1, 0, 1, 0, 0]


def test_pixel_size():
    assert pixel_size_mm(CTSlice(np.zeros((256, 512)), "grey")) == 400 / 512
    assert pixel_size_mm(
        CTSlice(np.zeros((4, 4)), "hu", Geometry.from_spacing((1.0, 0.5, 2.0)))
    ) == pytest.approx(1.0)


def test_no_body_no_maps():
    maps = maps_of(CTSlice(np.full((20, 20), -1000.0), "hu"))
    assert not maps.boundary.any()
    assert not maps.foreground.any()


@pytest.mark.shared
def test_figures_on_real_ct(shared_data):
    scan = read(shared_data / "abdomen_series" / "dicom")
    truth = place_on_grid(
        read_labels(shared_data / "abdomen_series" / "labels.nii.gz"), scan.geometry, scan.shape
    )
    tables = [contingency(truth[k], Mosaic().load().segment(scan[k]).labels) for k in range(0, 20, 4)]
    assert np.mean([adjusted_rand_index(table) for table in tables]) >= 0.8455
    assert np.mean([adjusted_rand_index(table, foreground_only=True) for table in tables]) >= 0.929
    assert np.mean([mean_best_iou(table) for table in tables]) >= 0.5975


def test_only_a_folder_with_settings_is_adapted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert not is_adapted("")
    assert not is_adapted("model.onnx")
    (tmp_path / "adapted.json").write_text("{}")
    assert not is_adapted("")
    assert not is_adapted(f"{tmp_path / 'other'}")
    assert is_adapted(f"{tmp_path}")


def test_unknown_sources_of_maps_are_refused():
    with pytest.raises(
        UsageError, match="boundary_source: expected one of network, gradients, found 'edges'"
    ):
        Mosaic(boundary_source="edges")


def test_an_adaptation_brings_its_network_and_its_settings(tmp_path):
    method = Mosaic(level=0.3, min_foreground=0.7, cleanup=Cleanup("9px"))
    assert "weights" not in method.portable_settings
    (tmp_path / "adapted.json").write_text(json.dumps({"settings": method.portable_settings}))
    adapted = Mosaic.adapted(tmp_path)
    assert adapted == replace(method, weights=f"{tmp_path / 'model.onnx'}")
    (tmp_path / "adapted.json").write_text(json.dumps({"settings": {"level": 7}}))
    with pytest.raises(
        InputError, match=r"adapted\.json: expected the settings of an adapted mosaic, found KeyError"
    ):
        Mosaic.adapted(tmp_path)
    with pytest.raises(
        InputError, match="expected the settings of an adapted mosaic, found FileNotFoundError"
    ):
        Mosaic.adapted(tmp_path / "none")
