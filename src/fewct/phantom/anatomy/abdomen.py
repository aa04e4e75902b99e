"""Solid organs of the abdomen, and the stomach."""

from collections.abc import Iterator

import numpy as np

from fewct.phantom.anatomy.layers import Knot4, Knot6, Layer, jitter_ellipses, jitter_tube
from fewct.phantom.shapes import Loft, ellipses, tube


def _jitter_loft(
    rng: np.random.Generator,
    z: list[float],
    centres: list[tuple[float, float]],
    radii: list[list[float]],
    caps: tuple[float, float],
) -> Loft:
    """Return a loft whose outline, place and height vary at random."""
    angles = len(radii[0])
    turn = np.arange(angles) * 2 * np.pi / angles
    waves = sum(rng.normal(0, 0.05) * np.cos(k * turn + rng.uniform(0, 2 * np.pi)) for k in range(4))
    shift = rng.normal(0, 2.5, 2)
    return Loft(
        np.array(z) + rng.normal(0, 6),
        np.array(centres) + shift,
        np.array(radii, dtype=np.float64) * (1 + waves),
        caps,
    )


def draw_abdomen(rng: np.random.Generator) -> Iterator[Layer]:
    """Yield the layers of the abdominal organs but the bowel, in the order to paint them."""
    for organ in (_spleen, _kidneys, _liver, _stomach, _pancreas):
        yield from organ(rng)


def _liver(rng: np.random.Generator) -> Iterator[Layer]:
    # Radii from posterior over the right, anterior and the left, every 30 degrees.
    z = [62.0, 80, 97, 125, 159, 190, 212, 240, 262]
    centres = [
        (-106.0, -55.0),
        (-102, -60),
        (-95, -65),
        (-75, -72),
        (-65, -75),
        (-65, -75),
        (-65, -75),
        (-66, -72),
        (-66, -72),
    ]
    radii: list[list[float]] = [
        [18, 22, 28, 34, 30, 26, 24, 20, 16, 14, 15, 16],
        [26, 34, 44, 48, 48, 44, 36, 28, 20, 18, 20, 22],
        [40, 56, 60, 58, 62, 62, 56, 50, 36, 30, 28, 32],
        [66, 80, 84, 76, 84, 90, 84, 84, 72, 54, 40, 44],
        [88, 96, 98, 90, 96, 104, 104, 104, 112, 66, 50, 56],
        [96, 104, 104, 96, 100, 108, 108, 108, 124, 112, 58, 66],
        [100, 108, 108, 98, 102, 110, 110, 108, 112, 100, 60, 70],
        [100, 108, 108, 98, 102, 108, 104, 90, 80, 74, 66, 74],
        [96, 100, 100, 96, 100, 100, 94, 80, 70, 66, 66, 74],
    ]
    yield Layer(
        "liver",
        _jitter_loft(rng, z, centres, radii, (16, 6)),
        ("visceral_fat",),
        abdominal=True,
        rough_mm=1.2,
    )
    fold = [
        (z, x, y, 0.9, 14.0, 12.0) for z, x, y in ((115.0, -18.0, -128.0), (150, -18, -124), (182, -20, -120))
    ]
    yield Layer("visceral_fat", ellipses(jitter_ellipses(rng, fold)), ("liver",), rough_mm=0.8)
    porta = [
        (-14.0, -84.0, 132.0, 6.5),
        (-30, -82, 150, 7.0),
        (-48, -80, 160, 6.5),
        (-72, -72, 168, 4.5),
        (-98, -70, 176, 2.5),
    ]
    yield Layer("visceral_fat", tube([(x, y, z, r + 1.5) for x, y, z, r in porta[:2]]), ("liver",))
    yield Layer("portal_vein", tube(jitter_tube(rng, porta, shift_mm=1.5)), ("liver", "visceral_fat"))
    splenic = [
        (-12.0, -86.0, 130.0, 5.5),
        (6, -84, 138, 4.8),
        (30, -76, 144, 4.2),
        (58, -60, 148, 3.8),
        (80, -48, 152, 3.0),
    ]
    yield Layer("portal_vein", tube(jitter_tube(rng, splenic, shift_mm=1.5)), ("visceral_fat",))
    for x, y, z0 in ((-92.0, -92.0, 178.0), (-60.0, -128.0, 182.0), (0.0, -126.0, 186.0)):
        vein = [(-27.0, -80.0, 208.0, 5.0), (0.5 * (x - 27), 0.5 * (y - 80), 200, 3.8), (x, y, z0, 1.6)]
        yield Layer("liver_vessel", tube(jitter_tube(rng, vein)), ("liver",))
    bladder: list[Knot6] = [
        (88, -62, -112, 7, 8, 20),
        (100, -62, -112, 14, 20, 20),
        (122, -54, -104, 14, 21, 25),
        (140, -44, -94, 8, 9, 25),
    ]
    if rng.random() < 0.85:
        yield Layer(
            "gallbladder",
            ellipses(jitter_ellipses(rng, bladder, shift_mm=4, size=0.18), power=2),
            ("liver", "visceral_fat"),
            abdominal=True,
        )


def _spleen(rng: np.random.Generator) -> Iterator[Layer]:
    z = [108.0, 130, 159, 185, 212]
    centres = [(114.0, -28.0), (112, -26), (106, -26), (98, -24), (92, -30)]
    radii: list[list[float]] = [
        [20, 16, 14, 14, 16, 22, 26, 34, 34, 30, 30, 26],
        [32, 25, 17, 16, 20, 30, 42, 50, 44, 40, 42, 38],
        [44, 36, 24, 20, 24, 36, 54, 56, 50, 48, 54, 52],
        [50, 44, 32, 26, 28, 36, 50, 58, 56, 54, 60, 60],
        [40, 36, 28, 24, 24, 28, 34, 44, 48, 52, 56, 50],
    ]
    yield Layer(
        "spleen",
        _jitter_loft(rng, z, centres, radii, (16, 14)),
        ("visceral_fat",),
        abdominal=True,
        rough_mm=1.2,
    )


def _kidneys(rng: np.random.Generator) -> Iterator[Layer]:
    for side, name, drop in ((-1, "right", 10.0), (1, "left", 0.0)):
        low, high = 70.0 - drop, 170.0 - drop
        knots: list[Knot6] = [
            (low, side * 72, -22, 17, 15, 0),
            (low + 25, side * 71, -19, 24, 21, side * 25),
            (low + 50, side * 66, -14, 26, 22, side * 30),
            (low + 75, side * 60, -9, 23, 20, side * 35),
            (high, side * 54, -5, 15, 14, side * 35),
        ]
        knots = jitter_ellipses(rng, knots, shift_mm=3.0, size=0.06)
        yield Layer(
            f"kidney_{name}",
            ellipses(knots, caps_mm=(18, 18)),
            ("visceral_fat",),
            abdominal=True,
            rough_mm=0.7,
        )
        _, x, y, *_ = knots[2]
        mid = 0.5 * (knots[0][0] + knots[-1][0])
        sinus: list[Knot4] = [
            (x - side * 25, y - 13, mid, 6),
            (x - side * 13, y - 6, mid, 7.5),
            (x - side * 2, y - 1, mid + 2, 5.5),
        ]
        yield Layer("visceral_fat", tube(sinus, tall=3.6), (f"kidney_{name}",))
        for dz in (-9.0, 6.0):
            calyx = [
                (x - side * 16, y - 9, mid, 3.5),
                (x - side * 6, y - 2, mid + dz, 3.0),
                (x + side * 2, y + rng.normal(0, 3), mid + 1.6 * dz, 2.5),
            ]
            yield Layer("small_vessel", tube(calyx), ("visceral_fat",))
        hilar = [
            (x - side * 14, y - 8, mid, 4.0),
            (side * 32, -48, mid + 2, 4.2),
            (-14 if side < 0 else 4, -64 if side > 0 else -58, mid + 6, 4.0),
        ]
        yield Layer("small_vessel", tube(hilar), ("visceral_fat",))
        gland = [
            (side * 36.0, -52.0, high - 2, 2.2),
            (side * 40, -44, high + 2, 2.4),
            (side * 46, -34, high - 6, 2.0),
        ]
        yield Layer(
            f"adrenal_gland_{name}",
            tube(jitter_tube(rng, gland, shift_mm=1), tall=4.5),
            ("visceral_fat",),
            abdominal=True,
        )
        limb = [(side * 39.0, -45.0, high, 2.2), (side * 37, -30, high - 4, 1.7)]
        yield Layer(f"adrenal_gland_{name}", tube(limb, tall=4.5), ("visceral_fat",), abdominal=True)


def _stomach(rng: np.random.Generator) -> Iterator[Layer]:
    fill = float(rng.uniform(0.8, 1.15))
    knots: list[Knot4] = [
        (66, -56, 206, 30),
        (66, -64, 186, 36),
        (58, -84, 164, 34),
        (46, -106, 142, 28),
        (26, -120, 124, 23),
        (0, -118, 114, 19),
        (-22, -106, 116, 15),
        (-32, -94, 120, 11),
    ]
    knots = [(x, y, z, r * fill) for x, y, z, r in jitter_tube(rng, knots, shift_mm=4)]
    yield Layer("stomach", tube(knots), ("visceral_fat",), abdominal=True, rough_mm=2.0)


def _pancreas(rng: np.random.Generator) -> Iterator[Layer]:
    body: list[Knot4] = [
        (-24, -76, 92, 10),
        (-22, -80, 112, 12),
        (-12, -88, 128, 10),
        (8, -96, 138, 8.5),
        (30, -86, 144, 9.5),
        (52, -68, 150, 9),
        (74, -52, 154, 7.5),
    ]
    yield Layer(
        "pancreas",
        tube(jitter_tube(rng, body, shift_mm=3), tall=1.3),
        ("visceral_fat",),
        abdominal=True,
        rough_mm=2.6,
    )
