"""The muscles along the spine and around the hip bone."""

from collections.abc import Iterator

import numpy as np

from fewct.phantom.anatomy.layers import Knot6, Layer, jitter_ellipses
from fewct.phantom.shapes import band, ellipses, mirrored


def draw_muscles(rng: np.random.Generator) -> Iterator[Layer]:
    """Yield the layers of the muscles along the spine and around the hip bone."""
    bulk = float(rng.uniform(0.92, 1.06))
    back: list[Knot6] = [
        (-90, 18, 32, 9, 6, 0),
        (-40, 24, 34, 17, 10, 0),
        (0, 35, 33, 28, 16, 6),
        (60, 36, 31, 31, 18.5, 6),
        (120, 35, 32, 30.5, 17.5, 4),
        (170, 33, 33, 29, 15.5, 0),
        (215, 29, 31, 25.5, 13.5, -4),
        (270, 25, 30, 21, 11, -8),
        (340, 22, 29, 19, 11, -10),
        (420, 22, 30, 19, 12, -10),
    ]
    hip: list[Knot6] = [
        (-90, 78, -62, 26, 18, 20),
        (-40, 66, -48, 30, 19, 30),
        (-10, 56, -36, 20, 20, 30),
        (33, 48, -28, 16, 20, 10),
        (65, 42, -22, 12, 17, 10),
        (97, 36, -19, 8, 13, 10),
        (135, 29, -18, 4, 8, 10),
        (150, 26, -18, 3, 5, 10),
    ]
    loin: list[Knot6] = [
        (20, 76, 2, 20, 8, 14),
        (50, 70, 2, 19, 8, 16),
        (90, 60, 4, 17, 7, 20),
        (130, 48, 10, 11, 5, 24),
        (150, 42, 14, 8, 4, 24),
    ]
    for side, name in ((-1, "right"), (1, "left")):
        for part, knots, power in (
            ("quadratus_lumborum", loin, 2.2),
            ("paraspinal_muscle", back, 2.5),
            ("iliopsoas", hip, 2.1),
        ):
            sided = [(z, side * x, y, a * bulk, b * bulk, side * turn) for z, x, y, a, b, turn in knots]
            yield Layer(
                f"{part}_{name}",
                ellipses(jitter_ellipses(rng, sided, shift_mm=0.8, size=0.03), power=power),
                rough_mm=0.9,
            )
        yield from _gluteal(side, name, bulk)


def _gluteal(side: int, name: str, bulk: float) -> Iterator[Layer]:
    medius = (
        ((74, 14), (112, -30), (136, -78)),
        ((84, 18), (120, -26), (138, -70)),
        ((96, 12), (118, -12), (130, -38)),
        ((106, -4), (114, -12), (120, -22)),
    )
    maximus = (
        ((34, 50), (72, 40), (112, 8)),
        ((40, 50), (68, 40), (98, 22)),
        ((48, 48), (64, 40), (80, 30)),
        ((54, 46), (60, 42), (66, 38)),
    )
    for muscle, z, points, widths in (
        ("medius", (-90.0, -40.0, -5.0, 20.0), medius, ((13, 15, 9), (9, 14, 8), (4, 7, 4), (1, 2, 1))),
        ("maximus", (-90.0, -40.0, -15.0, 2.0), maximus, ((10, 14, 9), (7, 9, 6), (4, 5, 4), (1, 2, 1))),
    ):
        thick = [[bulk * width for width in row] for row in widths]
        yield Layer(f"gluteus_{muscle}_{name}", band(z, mirrored(points, side), thick), rough_mm=1.0)
