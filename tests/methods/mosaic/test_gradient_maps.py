"""Limits of densities and widths, each met from both sides on slices made by hand."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from fewct.methods.mosaic.gradient_maps import approximate_hu, boundary_map, solid_bone, structure_map
from fewct.types import CTSlice, Geometry

SIDE = 200
AIR, FAT, MUSCLE = 0.0, 50.0, 150.0
y, x = np.mgrid[:SIDE, :SIDE]
BODY = (abs(y - 99.5) < 80) & (abs(x - 99.5) < 80)
DEPTH = ndimage.distance_transform_edt(BODY)  # 1 at the body's edge; a pixel is 1 mm
ONE_MM = Geometry.from_spacing((5.0, 1.0, 1.0))


def by_depth(*layers: tuple[float, float]) -> NDArray[np.float64]:
    """A slice of grey values: (from this depth on, value), outermost first."""
    grey = np.full((SIDE, SIDE), AIR)
    for depth, value in layers:
        grey[depth <= DEPTH] = value
    return grey


def hu_of(grey: NDArray[np.float64]) -> NDArray[np.float32]:
    return approximate_hu(CTSlice(grey, "grey", ONE_MM), BODY)


def test_hounsfield_units_stay_and_what_is_not_finite_is_air() -> None:
    image = CTSlice(np.array([[-1024.0, 40.0, np.nan, np.inf]]), "hu")
    assert approximate_hu(image, np.ones((1, 4), bool)).tolist() == [[-1024, 40, -1000, -1000]]


def test_fat_of_grey_values_lies_at_minus_100_and_air_at_minus_1000() -> None:
    hu = hu_of(by_depth((1, FAT), (30, MUSCLE)))
    assert np.unique(hu[(DEPTH > 0) & (DEPTH < 30)]).tolist() == pytest.approx([-100])
    assert np.unique(hu[~BODY]).tolist() == [-1000]
    assert hu[100, 100] > 40
    assert hu.dtype == np.float32
    unknown = by_depth((1, FAT), (30, MUSCLE))
    unknown[0], unknown[1] = np.nan, np.inf
    np.testing.assert_array_equal(hu_of(unknown)[2:], hu[2:])
    assert (hu_of(unknown)[:2] == -1000).all()


@pytest.mark.parametrize(("share", "is_air"), [(0.25, True), (0.4, False)])
def test_a_third_of_the_fat_at_the_darkest_value_means_that_fat_is_clipped(
    share: float, is_air: bool
) -> None:
    grey = by_depth((1, FAT), (26, MUSCLE))
    under_skin = np.flatnonzero((DEPTH > 6) & (DEPTH <= 25))
    dark = np.random.default_rng(0).permutation(under_skin)[: round(share * len(under_skin))]
    grey.ravel()[dark] = AIR
    assert ((hu_of(grey)[~BODY] == -1000).all()) == is_air


@pytest.mark.parametrize(("first", "last", "is_air"), [(14, 24, False), (26, 40, True)])
def test_fat_counts_as_clipped_up_to_a_depth_of_25_mm(first: int, last: int, is_air: bool) -> None:
    grey = by_depth((1, FAT), (first, AIR), (last, FAT), (42, MUSCLE))
    assert ((hu_of(grey)[~BODY] == -1000).all()) == is_air


def test_fat_is_measured_below_6_mm_of_skin() -> None:
    hu = hu_of(by_depth((1, 40.0), (6.5, 60.0), (14, MUSCLE)))
    assert np.unique(hu[(DEPTH > 6) & (DEPTH < 14)]).tolist() == pytest.approx([-100])


@pytest.mark.parametrize(("end", "is_fat"), [(10, False), (13, True)])
def test_less_than_a_tenth_of_fat_is_none(end: int, is_fat: bool) -> None:
    """Rings of 3 and 6 mm below the skin are 8 and 16 % of the body."""
    noise = np.random.default_rng(0).normal(0, 5, (SIDE, SIDE))
    hu = hu_of(np.where(BODY, by_depth((1, FAT), (end, MUSCLE)) + noise, AIR))
    assert (abs(np.median(hu[DEPTH == 8]) + 100) < 10) == is_fat
    assert (abs(np.median(hu[DEPTH > 20])) < 100) == (not is_fat)


@pytest.mark.parametrize(("share", "known"), [(0.025, True), (0.035, False)])
def test_the_brightest_3_percent_do_not_move_the_end_of_fat(share: float, known: bool) -> None:
    noise = np.random.default_rng(0).normal(0, 5, (SIDE, SIDE))
    grey = np.where(BODY, by_depth((1, FAT), (30, MUSCLE)) + noise, AIR)
    inside = np.flatnonzero(DEPTH > 40)
    grey.ravel()[inside[: round(share * np.count_nonzero(BODY))]] = 3000.0
    assert (np.median(hu_of(grey)[DEPTH == 35]) > 100) == known


@pytest.mark.parametrize(("density", "is_bone"), [(170, False), (190, True)])
def test_bone_is_denser_than_180_hu(density: float, is_bone: bool) -> None:
    hu = np.where((abs(y - 100) < 20) & (abs(x - 100) < 20), density, 0).astype(np.float32)
    assert solid_bone(hu, np.ones_like(BODY), 1.0).any() == is_bone
    assert not solid_bone(hu, abs(y - 100) > 50, 1.0).any()


@pytest.mark.parametrize("pixel_mm", [0.5, 1.0])
@pytest.mark.parametrize(("gap_mm", "is_bone"), [(3, True), (6, False)])
def test_gaps_in_bone_of_up_to_4_mm_are_bone(pixel_mm: float, gap_mm: int, is_bone: bool) -> None:
    hu = np.full((SIDE, SIDE), 300, dtype=np.float32)
    gap = slice(100, 100 + round(gap_mm / pixel_mm))
    hu[gap] = 0
    assert solid_bone(hu, np.ones_like(BODY), pixel_mm)[gap].all() == is_bone
    assert solid_bone(hu, np.ones_like(BODY), pixel_mm)[gap].any() == is_bone


@pytest.mark.parametrize("pixel_mm", [0.5, 1.0])
@pytest.mark.parametrize(("area_mm2", "is_bone"), [(500, True), (700, False)])
def test_holes_in_bone_of_less_than_600_mm2_are_marrow(
    pixel_mm: float, area_mm2: float, is_bone: bool
) -> None:
    radius = (area_mm2 / np.pi) ** 0.5 / pixel_mm
    distance = np.hypot(y - 100, x - 100)
    hu = np.where((distance > radius) & (distance < radius + 10), 300, 0).astype(np.float32)
    assert solid_bone(hu, np.ones_like(BODY), pixel_mm)[100, 100] == is_bone


@pytest.mark.parametrize(
    ("low", "high", "seen"), [(-400, -160, 0), (-200, -120, 40), (200, 300, 40), (240, 800, 0), (-60, 20, 80)]
)
def test_borders_are_looked_for_from_minus_160_to_240_hu(low: float, high: float, seen: float) -> None:
    step = np.where(x < 100, low, high).astype(np.float32)
    at_step = boundary_map(step, np.zeros_like(BODY), 0.5)[100, 99:101].mean()
    assert at_step == pytest.approx(seen / 100 / np.sqrt(2 * np.pi), rel=0.02, abs=1e-6)


def test_borders_count_at_scales_of_1_2_and_4_mm() -> None:
    """At a distance d from a step, the change over one width s is h / sqrt(2 pi) exp(-d^2 / (2 s^2))."""
    step = np.where(x < 100, 0, 80).astype(np.float32)
    boundary = boundary_map(step, np.zeros_like(BODY), 0.25)
    for column in (104, 108, 116, 124):
        distance_mm = (column - 99.5) * 0.25
        shares = [np.exp(-(distance_mm**2) / (2 * scale**2)) for scale in (1, 2, 4)]
        assert boundary[100, column] == pytest.approx(0.8 / np.sqrt(2 * np.pi) * np.mean(shares), rel=0.02)


def test_no_scale_is_finer_than_0_7_pixels() -> None:
    noise = np.random.default_rng(0).normal(0, 20, (SIDE, SIDE)).astype(np.float32)
    changes = [s * ndimage.gaussian_gradient_magnitude(noise, s) for s in (0.7, 0.7, 1.0)]
    boundary = boundary_map(noise, np.zeros_like(BODY), 4.0)
    np.testing.assert_allclose(boundary, np.mean(changes, axis=0).clip(0, 100) / 100, rtol=1e-4)


def strip(density: float, width: int, rest: float = -100) -> NDArray[np.float32]:
    """A strip of some density, in pixels of 1 mm, in fat."""
    hu = np.full((SIDE, SIDE), rest, dtype=np.float32)
    hu[100 : 100 + width, 40:160] = density
    return hu


def is_structure(hu: NDArray[np.float32], body: NDArray[np.bool_] | None = None) -> bool:
    """Tell whether the middle of what is in the fat is a structure."""
    none = np.zeros_like(BODY)
    structure = structure_map(hu, ~none if body is None else body, none, 1.0)
    assert not structure[20, 20]
    width = int((hu[100:, 100] != hu[20, 20]).sum())
    return bool(structure[100 + width // 2, 100])


@pytest.mark.parametrize(
    ("density", "width", "expected"),
    [
        (50, 5, False),  # dense, but as thin as skin
        (50, 6, False),
        (50, 7, True),
        (20, 8, False),
        (20, 9, True),  # smoothing by 0.7 mm leaves it 7 mm wide
        (10, 9, False),  # not dense, and too thin for fluid
        (0, 13, False),
        (0, 40, True),  # fluid
        (-7, 60, True),
        (-15, 60, False),
    ],
)
def test_dense_tissue_and_fluid_from_some_width_on(density: float, width: int, expected: bool) -> None:
    assert is_structure(strip(density, width)) == expected


@pytest.mark.parametrize(
    ("density", "rows", "columns", "expected"),
    [
        (-900, 10, 15, True),  # 150 mm2 of gas
        (-900, 9, 9, False),
        (-900, 4, 120, False),  # thinner than 4 mm
        (-900, 6, 40, True),
        (-450, 20, 20, True),
        (-350, 20, 20, False),
    ],
)
def test_gas_from_some_size_on(density: float, rows: int, columns: int, expected: bool) -> None:
    hu = np.full((SIDE, SIDE), -100, dtype=np.float32)
    hu[100 : 100 + rows, 100 - columns // 2 : 100 + (columns + 1) // 2] = density
    assert is_structure(hu) == expected


@pytest.mark.parametrize(("top", "expected"), [(0, False), (2, True)])
def test_gas_within_4_mm_of_the_surface_is_the_air_outside(top: int, expected: bool) -> None:
    """A layer of 7 mm of gas below the surface is 3 mm without those 4, and 5 mm if it lies 2 mm deeper."""
    hu = np.full((SIDE, SIDE), -100, dtype=np.float32)
    hu[100 + top : 107 + top, 40:160] = -900
    body = y >= 100
    none = np.zeros_like(BODY)
    assert bool(structure_map(hu, body, none, 1.0)[106 + top, 100]) == expected


@pytest.mark.parametrize(("side", "filled"), [(5, True), (6, False)])
def test_holes_of_less_than_30_mm2_are_filled(side: int, filled: bool) -> None:
    bone = (abs(y - 100) < 30) & (abs(x - 100) < 30)
    bone[100 : 100 + side, 100 : 100 + side] = False
    hu = np.where(bone, 300, -100).astype(np.float32)
    hu[100 : 100 + side, 100 : 100 + side] = -5000  # as dark as to stay after smoothing
    assert bool(structure_map(hu, np.ones_like(BODY), bone, 1.0)[102, 102]) == filled


@pytest.mark.parametrize(("first", "last", "is_air"), [(4, 12, False), (14, 20, True)])
def test_depths_below_the_skin_are_millimetres(first: int, last: int, is_air: bool) -> None:
    """Fat at the darkest value from 8 to 24 or from 28 to 40 mm, with pixels of 2 mm."""
    grey = by_depth((1, FAT), (first, AIR), (last, FAT), (21, MUSCLE))
    hu = approximate_hu(CTSlice(grey, "grey", Geometry.from_spacing((5.0, 2.0, 2.0))), BODY)
    assert ((hu[~BODY] == -1000).all()) == is_air


@pytest.mark.parametrize(
    ("density", "rows", "columns", "expected"),
    [
        (50, 8, 240, False),
        (50, 24, 240, True),
        (0, 20, 240, False),
        (0, 80, 240, True),
        (-900, 20, 30, True),
        (-900, 18, 18, False),
        (-900, 6, 240, False),
    ],
)
def test_widths_and_areas_are_millimetres(density: float, rows: int, columns: int, expected: bool) -> None:
    """What is in the fat has pixels of half a millimetre: 4 to 40 mm wide."""
    hu = np.full((2 * SIDE, 2 * SIDE), -100, dtype=np.float32)
    hu[200 : 200 + rows, 200 - columns // 2 : 200 + columns // 2] = density
    none = np.zeros(hu.shape, dtype=bool)
    structure = structure_map(hu, ~none, none, 0.5)
    assert bool(structure[200 + rows // 2, 200]) == expected
    assert not structure[20, 20]


@pytest.mark.parametrize(("top", "expected"), [(0, False), (4, True)])
def test_the_depth_of_gas_is_in_millimetres(top: int, expected: bool) -> None:
    hu = np.full((2 * SIDE, 2 * SIDE), -100, dtype=np.float32)
    hu[200 + top : 214 + top, 80:320] = -900
    body = np.zeros(hu.shape, dtype=bool)
    body[200:] = True
    assert bool(structure_map(hu, body, np.zeros_like(body), 0.5)[213 + top, 200]) == expected


@pytest.mark.parametrize(("side", "filled"), [(10, True), (12, False)])
def test_the_area_of_holes_is_in_square_millimetres(side: int, filled: bool) -> None:
    bone = np.zeros((2 * SIDE, 2 * SIDE), dtype=bool)
    bone[150:250, 150:250] = True
    bone[200 : 200 + side, 200 : 200 + side] = False
    hu = np.where(bone, 300, -5000).astype(np.float32)
    hu[:140] = -100
    structure = structure_map(hu, np.ones_like(bone), bone, 0.5)
    assert bool(structure[200 + side // 2, 200 + side // 2]) == filled


def test_noise_of_fluid_is_smoothed_by_2_mm() -> None:
    """Waves of 6 mm and 60 HU are 7 HU after it, and 35 HU after 1 mm."""
    hu = np.where(BODY, 12 + 60 * np.cos(np.pi * x / 3), -100).astype(np.float32)
    none = np.zeros_like(BODY)
    structure = structure_map(hu, ~none, none, 1.0)
    assert structure[80:120, 80:120].all()


def test_without_fat_nothing_is_known() -> None:
    hu = hu_of(by_depth((1, MUSCLE)))
    assert hu.shape == (SIDE, SIDE)
    assert not hu.any()


def test_gas_is_as_dark_as_fat_but_does_not_reach_the_skin() -> None:
    hu = hu_of(by_depth((1, FAT), (20, MUSCLE), (33, 10.0)))  # more gas than fat
    assert np.unique(hu[(DEPTH > 0) & (DEPTH < 20)]).tolist() == pytest.approx([-100])
