"""Aorta, caval veins and their branches large enough to be visible on a slice."""

from collections.abc import Iterator

import numpy as np

from fewct.phantom.anatomy.layers import Knot4, Knot6, Layer, jitter_ellipses, jitter_tube
from fewct.phantom.shapes import ellipses, tube


def draw_vessels(rng: np.random.Generator) -> Iterator[Layer]:
    """Yield the layers of the large vessels of chest and abdomen, in the order to paint them."""
    yield _aorta(rng)
    yield from _iliac_vessels()
    yield from _caval_veins(rng)
    yield from _small_vessels(rng)


def _aorta(rng: np.random.Generator) -> Layer:
    knots: list[Knot4] = [
        (-2, -104, 284, 14),
        (-14, -108, 318, 14),
        (-12, -98, 350, 13.5),
        (0, -76, 362, 12.5),
        (12, -56, 360, 12),
        (20, -44, 345, 11.5),
        (22, -42, 315, 11.5),
        (20, -44, 270, 11),
        (16, -48, 215, 10.5),
        (14, -52, 160, 10),
        (11, -60, 95, 8.5),
        (8, -64, 50, 8),
        (4, -66, 26, 8),
    ]
    return Layer("aorta", tube(jitter_tube(rng, knots, shift_mm=1.5, size=0.1), step_mm=6))


def _iliac_vessels() -> Iterator[Layer]:
    for side, name in ((-1, "right"), (1, "left")):
        artery: list[Knot4] = [
            (side * 8, -66, 24, 6),
            (side * 16, -66, 8, 5.5),
            (side * 32, -62, -22, 5),
            (side * 44, -58, -60, 4.5),
            (side * 52, -60, -92, 4.5),
        ]
        yield Layer(f"iliac_artery_{name}", tube(artery))
        vein: list[Knot4] = [
            (-12, -56, 24, 7.5),
            (side * 18 - 4, -52, 0, 6.5),
            (side * 32, -46, -30, 6),
            (side * 48, -48, -92, 6),
        ]
        yield Layer(f"iliac_vein_{name}", tube(vein))


def _caval_veins(rng: np.random.Generator) -> Iterator[Layer]:
    flat = float(rng.uniform(0.65, 1.0))
    lower: list[Knot6] = [
        (16, -12, -57, 12, 10 * flat, 0),
        (60, -14, -58, 12, 10 * flat, 0),
        (110, -18, -60, 12.5, 10.5 * flat, -8),
        (160, -24, -58, 13, 11.5 * flat, -12),
        (195, -26, -68, 14, 12, -10),
        (214, -26, -82, 14.5, 13, 0),
        (238, -27, -94, 13, 13, 0),
    ]
    yield Layer("inferior_vena_cava", ellipses(jitter_ellipses(rng, lower, shift_mm=1.0), caps_mm=(6, 6)))
    upper: list[Knot4] = [
        (-28, -98, 286, 8.5),
        (-33, -94, 310, 9),
        (-35, -92, 345, 8.5),
        (-32, -98, 385, 7.5),
        (-28, -100, 430, 7),
    ]
    yield Layer("superior_vena_cava", tube(jitter_tube(rng, upper, shift_mm=1.0)))


def _small_vessels(rng: np.random.Generator) -> Iterator[Layer]:
    """Yield mesenteric artery and vein, coeliac trunk, azygos vein and thoracic duct."""
    abdominal: tuple[list[Knot4], ...] = (
        [(8, -80, 140, 3.4), (7, -86, 110, 3.4), (4, -88, 60, 3), (-6, -92, 10, 2.5)],
        [(-6, -88, 132, 5.5), (-6, -90, 100, 5.2), (-8, -94, 50, 4), (-16, -96, 0, 3)],
        [(16, -80, 152, 3.0), (14, -62, 154, 3.4)],
    )
    for knots in abdominal:
        yield Layer("small_vessel", tube(jitter_tube(rng, knots, shift_mm=1.5)))
    thoracic: tuple[list[Knot4], ...] = (
        [(-13, -37, 340, 2.5), (-9, -37, 200, 2.5)],
        [(-9, -43, 340, 2.5), (-5, -43, 200, 2.5)],
    )
    for knots in thoracic:
        yield Layer("small_vessel", tube(jitter_tube(rng, knots, shift_mm=1.0)), onto=("visceral_fat",))
