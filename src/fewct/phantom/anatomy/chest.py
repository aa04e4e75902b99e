"""Heart, vessels of the lung, airways and gullet."""

from collections.abc import Iterator, Sequence

import numpy as np

from fewct.phantom.anatomy.layers import Knot4, Knot6, Layer, jitter_tube
from fewct.phantom.shapes import ellipses, tube

# Left and right ventricle, right and left atrium: z, x, y, half axes, turn.
_CHAMBERS: tuple[tuple[Knot6, ...], ...] = (
    (
        (200, 52, -116, 17, 9, 35),
        (225, 46, -106, 24, 13, 40),
        (255, 36, -100, 22, 14, 45),
        (268, 26, -98, 14, 10, 45),
    ),
    (
        (198, 22, -132, 26, 8, 12),
        (225, 6, -128, 33, 11, 22),
        (255, 4, -130, 30, 12, 20),
        (290, 16, -128, 16, 11, 10),
    ),
    (
        (218, -22, -100, 11, 14, 0),
        (240, -30, -104, 15, 22, 10),
        (268, -28, -106, 14, 20, 10),
        (292, -24, -104, 9, 12, 0),
    ),
    ((240, 8, -80, 20, 9, 10), (262, 8, -78, 28, 14, 8), (288, 6, -78, 27, 13, 4), (302, 4, -78, 18, 8, 0)),
)


def draw_chest(rng: np.random.Generator) -> Iterator[Layer]:
    """Yield the layers of heart, pulmonary vessels, airways and gullet, in the order to paint them."""
    yield from _heart(rng)
    yield from _pulmonary_vessels(rng)
    yield from _airways(rng)


def _heart(rng: np.random.Generator) -> Iterator[Layer]:
    dz, size = rng.normal(0, 5), np.exp(rng.normal(0, 0.05))

    def placed(knots: Sequence[Knot6]) -> list[Knot6]:
        """Return the knots moved along z and resized about the middle of the heart."""
        return [
            (z + dz, 8 + (x - 8) * size, -105 + (y + 105) * size, a * size, b * size, turn)
            for z, x, y, a, b, turn in knots
        ]

    wall: list[Knot6] = [
        (188, 42, -122, 34, 18, 12),
        (205, 32, -118, 52, 30, 14),
        (225, 22, -112, 58, 40, 18),
        (250, 12, -108, 58, 43, 24),
        (272, 8, -106, 50, 42, 30),
        (295, 6, -102, 40, 36, 30),
        (312, 6, -98, 30, 26, 20),
    ]
    yield Layer("heart", ellipses(placed(wall), power=2.1, caps_mm=(16, 10)), rough_mm=0.8)
    for chamber in _CHAMBERS:
        yield Layer("heart_blood", ellipses(placed(chamber), caps_mm=(14, 14)), onto=("heart",))


def _pulmonary_vessels(rng: np.random.Generator) -> Iterator[Layer]:
    trunk: list[Knot4] = [
        (16, -128, 284, 13),
        (24, -120, 300, 14),
        (26, -104, 314, 13.5),
        (32, -84, 322, 12),
        (46, -68, 322, 10),
    ]
    right: list[Knot4] = [(24, -104, 314, 11), (6, -80, 315, 10.5), (-20, -76, 314, 10), (-42, -76, 310, 9)]
    yield Layer("pulmonary_artery", tube(jitter_tube(rng, trunk, shift_mm=1)))
    yield Layer("pulmonary_artery", tube(jitter_tube(rng, right, shift_mm=1)))
    for side, name in ((-1, "right"), (1, "left")):
        for _ in range(11):
            hilum = np.array([side * 40.0, -68.0, rng.uniform(270, 322)])
            reach = rng.uniform(35, 72) * np.array(
                [side * rng.uniform(0.3, 1.0), rng.uniform(-0.9, 0.8), rng.uniform(-1.3, 0.6)]
            )
            bend = rng.normal(0, 6, 3)
            knots = [
                (*(hilum + reach * s + bend * s * (1 - s) * 4), float(6.0 * (1 - s) ** 0.8 + 1.1))
                for s in np.linspace(0, 1, 5)
            ]
            yield Layer(f"lung_vessel_{name}", tube(knots), onto=(f"lung_{name}",))


def _airways(rng: np.random.Generator) -> Iterator[Layer]:
    for knots in (
        [(-1.0, -56.0, 430.0, 9.0), (-2, -52, 380, 8.8), (0, -52, 338, 9.0)],
        [(0, -52, 340, 7.5), (-22, -56, 322, 7), (-40, -62, 306, 5.5), (-48, -58, 290, 4)],
        [(0, -52, 340, 7), (22, -54, 326, 6), (40, -58, 312, 5.2), (46, -54, 292, 4)],
    ):
        yield Layer("trachea", tube(jitter_tube(rng, knots, shift_mm=0.8)))
    gullet: list[Knot4] = [
        (4, -40, 430, 6),
        (6, -39, 360, 6),
        (2, -46, 300, 6.5),
        (6, -58, 240, 7),
        (18, -68, 212, 8),
        (36, -74, 196, 9),
    ]
    yield Layer("esophagus", tube(jitter_tube(rng, gullet, shift_mm=1.2)), rough_mm=0.8)
