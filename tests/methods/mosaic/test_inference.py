"""Merge trees of maps made by hand: what each setting of mosaic does to them."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from fewct.imaging.body import body_mask
from fewct.imaging.cleanup import Cleanup
from fewct.methods import Mosaic
from fewct.methods.mosaic.inference import MosaicSegmenter, tree_of
from fewct.methods.mosaic.maps import STEPS, Affinities, Maps
from fewct.methods.mosaic.network_maps import WEIGHTS
from fewct.types import CTSlice, Geometry, Mask

SIDE = 40
METHOD = Mosaic(boundary_source="gradients", min_region_mm2=0, cleanup=Cleanup())


def slice_of(pixel_mm: float = 1.0) -> CTSlice:
    return CTSlice(np.zeros((SIDE, SIDE)), "hu", Geometry.from_spacing((5.0, pixel_mm, pixel_mm)))


def two_halves(border: float = 0.6) -> Maps:
    """Two regions side by side; affinities say of each pair of pixels that it is one structure."""
    boundary = np.zeros((SIDE, SIDE), dtype=np.float32)
    boundary[:, 20], boundary[:, 21] = border, border / 2  # the left one reaches the crest first
    grid = np.arange(0, SIDE, 2)
    same = np.ones((len(STEPS), len(grid), len(grid)), dtype=np.float32)
    return Maps(boundary, np.ones_like(boundary), Affinities(same, grid, grid))


@pytest.mark.parametrize("weight", [0.0, 0.5, 1.0])
def test_affinities_count_by_their_weight(weight: float) -> None:
    """3 and 8 pairs of each of the grid's 20 rows cross the border: 220, which weigh 220 / (220 + 20)."""
    tree = tree_of(replace(METHOD, affinity_weight=weight), slice_of(), two_halves())
    assert tree.n_leaves == 2
    assert tree.levels[2] == pytest.approx(0.6 * (1 - weight * 220 / 240), rel=1e-6)


def test_the_smallest_region_is_rounded_to_pixels() -> None:
    boundary = np.zeros((SIDE, SIDE), dtype=np.float32)
    boundary[:, 1] = 1
    maps = Maps(boundary, np.ones_like(boundary))
    size = np.bincount(tree_of(METHOD, slice_of(), maps).leaves.ravel())[1:].min()
    for area_mm2, n_leaves in ((size - 0.4, 2), (size + 0.4, 2), (size + 1.6, 1)):
        tree = tree_of(replace(METHOD, min_region_mm2=float(area_mm2)), slice_of(), maps)
        assert tree.n_leaves == n_leaves


@pytest.mark.parametrize(("pixel_mm", "n_leaves"), [(0.5, 1), (1.0, 2), (2.0, 3)])
def test_smallest_regions_are_measured_in_square_millimetres(pixel_mm: float, n_leaves: int) -> None:
    """Strips of 1, 5 and 34 columns, on pixels of 0.25, 1 and 4 mm2; 100 mm2 are 400, 100 and 25 pixels."""
    boundary = np.full((SIDE, SIDE), 0.5, dtype=np.float32)
    boundary[:, [0, 3, 20]] = 0
    boundary[:, 1], boundary[:, 6] = 1, 1
    image = slice_of(pixel_mm)
    maps = Maps(boundary, np.ones_like(boundary))
    tree = tree_of(replace(METHOD, min_region_mm2=100, minima_depth=0.1), image, maps)
    assert tree.n_leaves == n_leaves


def test_pixels_without_foreground_are_in_no_region_whatever_the_threshold() -> None:
    maps = two_halves()
    foreground = np.ones_like(maps.foreground)
    foreground[:, 30:] = 0.4
    foreground[:, 35:] = 0
    for threshold, columns in ((0.0, 35), (0.4, 35), (0.5, 30)):
        tree = tree_of(
            replace(METHOD, foreground_threshold=threshold), slice_of(), replace(maps, foreground=foreground)
        )
        np.testing.assert_array_equal(tree.leaves > 0, np.arange(SIDE) < columns + np.zeros((SIDE, 1)))


@pytest.mark.parametrize(("depth", "n_leaves"), [(0.0, 3), (0.1, 2), (0.7, 1)])
def test_minima_must_be_deeper_than_the_setting(depth: float, n_leaves: int) -> None:
    """Three basins: crests of 0.6 and of 0.05 above the shallower side."""
    maps = two_halves()
    maps.boundary[:, 30] = 0.05
    maps = replace(maps, affinities=None)
    assert tree_of(replace(METHOD, minima_depth=depth), slice_of(), maps).n_leaves == n_leaves


def test_without_a_body_there_is_nothing(rng: np.random.Generator) -> None:
    image = CTSlice(rng.normal(40, 10, (SIDE, SIDE)), "hu")
    nowhere = np.zeros((SIDE, SIDE), dtype=bool)
    maps = METHOD.load().maps_of(image, nowhere)
    assert not maps.boundary.any()
    assert not maps.foreground.any()
    found = METHOD.load().segment(image, nowhere)
    assert (found.labels.any(), len(found.scores)) == (False, 0)


def test_segment_cuts_at_the_level_and_drops_regions_of_low_foreground(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    foreground = np.full((SIDE, SIDE), 0.9, dtype=np.float32)
    foreground[:, 25:] = 0.7  # 0.75 on the mean of the right half
    maps = replace(two_halves(), foreground=foreground, affinities=None)
    monkeypatch.setattr(MosaicSegmenter, "maps_of", lambda *_: maps)

    def counts(**settings: float) -> int:
        body = np.ones((SIDE, SIDE), dtype=bool)
        return len(replace(METHOD, **settings).load().segment(slice_of(), body).scores)

    assert counts(level=0.5, min_foreground=0.7) == 2
    assert counts(level=0.5, min_foreground=0.83) == 1
    assert counts(level=0.7, min_foreground=0.7) == 1
    assert counts(level=0.7, min_foreground=0.95) == 0


def test_segment_takes_the_body_that_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def maps_of(_: MosaicSegmenter, _image: CTSlice, body: Mask, *_neighbours: None) -> Maps:
        seen.append(body)
        return replace(two_halves(), affinities=None)

    monkeypatch.setattr(MosaicSegmenter, "maps_of", maps_of)
    body = np.zeros((SIDE, SIDE), dtype=bool)
    body[:, :10] = True  # less than half of the left region, which is 21 columns wide
    body[:, 25:] = True
    found = replace(METHOD, cleanup=Cleanup(body_only=True)).load().segment(slice_of(), body)
    assert seen[0] is body
    np.testing.assert_array_equal(found.labels > 0, np.arange(SIDE) >= 25 + np.zeros((SIDE, 1)))


def test_the_network_is_that_of_the_settings() -> None:
    loaded = Mosaic().load()
    assert loaded.method == Mosaic()
    assert loaded.weights_sha256 == hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()
    assert METHOD.load().network is None
    assert METHOD.load().weights_sha256 is None


def test_no_body_no_maps() -> None:
    maps = Mosaic().load().maps_of(slice_of(), np.zeros((SIDE, SIDE), dtype=bool))
    assert (maps.boundary.dtype, maps.foreground.dtype) == (np.float32, np.float32)
    assert maps.boundary.shape == maps.foreground.shape == (SIDE, SIDE)
    assert not maps.boundary.any()
    assert not maps.foreground.any()
    assert maps.affinities is None


def test_infinite_pixels_are_padding_for_the_network() -> None:
    pixels = np.zeros((48, 64))
    pixels[8:40, 10:50] = 50
    body = pixels > 0
    pixels[12, 20] = np.nan
    infinite = np.where(np.isnan(pixels), np.inf, pixels)
    loaded = Mosaic().load()
    expected, found = (loaded.maps_of(CTSlice(values, "hu"), body) for values in (pixels, infinite))
    assert found.foreground.max() > 0
    np.testing.assert_array_equal(found.boundary, expected.boundary)
    np.testing.assert_array_equal(found.foreground, expected.foreground)


def test_the_body_is_found_where_it_is_not_given() -> None:
    pixels = np.full((SIDE, SIDE), -1000.0)
    pixels[5:35, 5:35] = 40
    image = CTSlice(pixels, "hu", Geometry.from_spacing((5.0, 2.0, 2.0)))
    alone = METHOD.load().segment(image)
    assert alone.labels[20, 20] == 1
    np.testing.assert_array_equal(alone.labels, METHOD.load().segment(image, body_mask(image)).labels)
    nothing = METHOD.load().segment(image, np.zeros((SIDE, SIDE), dtype=bool))
    assert not nothing.labels.any()
