"""Bones: vertebrae and discs, ribs and their cartilage, sternum, shoulder blades, hip bones."""

from collections.abc import Iterator

import numpy as np

from fewct.phantom.anatomy.trunk import CENTRE_Y, Trunk
from fewct.phantom.shapes import Solid, band, ellipses, mirrored, tube
from fewct.phantom.structures import RIBS, VERTEBRAE

Piece = tuple[str, Solid]

# Middle of each vertebra along z, in millimetres, from T3 down to L5.
_VERTEBRA_Z = (379.0, 357, 334, 310, 286, 261, 236, 211, 185, 157, 128, 97, 65, 33, 0)
# From rib 2 on: height of its head, how far it descends, and the angle from posterior where bone ends.
_RIB_HEAD_Z = (418.0, 400, 379, 356, 330, 304, 278, 251, 224, 194, 160)
_RIB_DROP = (90.0, 114, 133, 147, 151, 157, 158, 140, 105, 84, 56)
_RIB_END_DEG = (138.0, 140, 143, 143, 142, 138, 128, 118, 104, 82, 62)
_STERNAL_END_Z = (350.0, 325, 300, 280, 264, 252)


def skeleton(trunk: Trunk) -> Iterator[Piece]:
    """Yield the bones as (part, solid), in the order to paint them; ribs and breastbone lie on the cavity."""
    yield from _shoulder_blades()
    yield from _ribs(trunk)
    yield from _sternum(trunk)
    yield from _pelvis()
    yield from _spine()


def _spine() -> Iterator[Piece]:
    for index, (name, z) in enumerate(zip(VERTEBRAE, _VERTEBRA_Z, strict=True)):
        below = _VERTEBRA_Z[index + 1] if index + 1 < len(VERTEBRAE) else -34.0
        lumbar = np.clip((200 - z) / 140, 0, 1)  # 0 at the chest, 1 at the loin
        a, b = 16.5 + 8 * lumbar, 14.5 + 3 * lumbar
        half = 0.5 * (z - below)
        y = -8.5 - b
        waist = ellipses(
            [(z - half + 2, 0, y, a, b, 0), (z, 0, y, 0.92 * a, 0.93 * b, 0), (z + half - 2, 0, y, a, b, 0)],
            power=2.6,
            caps_mm=(1.5, 1.5),
        )
        yield (
            f"disc_{name}",
            ellipses(
                [(z - half - 4, 0, y, a, b, 0), (z - half + 4, 0, y, a, b, 0)], power=2.6, caps_mm=(1.5, 1.5)
            ),
        )
        yield f"vertebra_{name}", waist
        yield from ((f"vertebra_{name}", solid) for solid in _posterior_arch(z, half, float(lumbar)))
    yield (
        "spinal_canal",
        ellipses(
            [(-90, 0, 0, 9, 6, 0), (-20, 0, 0, 11, 8, 0), (60, 0, 0, 11, 8.5, 0), (420, 0, 0, 8.5, 7.5, 0)],
            caps_mm=(1, 1),
        ),
    )
    yield "spinal_cord", ellipses([(90, 0, 0, 4, 3.2, 0), (420, 0, 0, 4.8, 3.8, 0)], caps_mm=(30, 1))


def _posterior_arch(z: float, half: float, lumbar: float) -> Iterator[Solid]:
    """Yield pedicles, transverse processes, facets, laminae and the spinous process of one vertebra."""
    tip_y, tip_z = 46 - 2 * lumbar, z - (1.9 - 1.3 * lumbar) * half
    for side in (-1, 1):
        reach, back = 27 + 12 * lumbar, 22 - 16 * lumbar
        yield tube(
            [(side * 12, -10, z + 4, 4.0 + 1.5 * lumbar), (side * (14 + 2 * lumbar), 6, z + 2, 4.5)], tall=1.6
        )
        yield tube([(side * 15, 6, z + 3, 4.5), (side * reach, back, z + 4, 3.2)], tall=1.2)
        yield tube([(side * 15, 8, z + half, 4.2 + lumbar), (side * 14, 10, z - half, 4.2 + lumbar)])
        yield tube([(side * 14, 9, z - 2, 4.0), (side * 1, 16, z - 0.5 * half, 3.4)], tall=3.0)
    yield tube([(0, 15, z - 0.4 * half, 3.2), (0, tip_y, tip_z, 3.0 + lumbar)], tall=1.5 + lumbar)


def _on_cage(trunk: Trunk, side: int, theta_deg: float, z: float) -> tuple[float, float, float]:
    """Return the point just outside the cavity at an angle from posterior, x, y, z in millimetres."""
    radius = trunk.cavity_radius(theta_deg if side < 0 else 360 - theta_deg, z) + 5.5
    theta = np.radians(theta_deg)
    return side * radius * float(np.sin(theta)), CENTRE_Y + radius * float(np.cos(theta)), z


def _ribs(trunk: Trunk) -> Iterator[Piece]:
    for side, side_name in ((-1, "right"), (1, "left")):
        ends: dict[int, tuple[float, float]] = {}
        for number in RIBS:
            head, drop, end = _RIB_HEAD_Z[number - 2], _RIB_DROP[number - 2], _RIB_END_DEG[number - 2]
            radius = 4.4 if number < 11 else 3.4
            knots = [(side * 19.0, -12.0, head, 3.6), (side * 27.0, 4.0, head - 2, 3.6)]
            for share in np.linspace(0, 1, 10):
                z = head - 5 - (drop - 5) * float(share) ** 1.12
                knots.append((*_on_cage(trunk, side, 30 + (end - 30) * float(share), z), radius))
            yield f"rib_{side_name}_{number}", tube(knots, tall=1.7, step_mm=10)
            ends[number] = (end, head - drop)
        yield from ((f"costal_cartilage_{side_name}", solid) for solid in _cartilage(trunk, side, ends))


def _cartilage(trunk: Trunk, side: int, ends: dict[int, tuple[float, float]]) -> Iterator[Solid]:
    """Yield the cartilage of ribs 2 to 10: the upper six reach the sternum, the others the next above."""
    for number in range(2, 11):
        theta, z = ends[number]
        if number <= 7:
            theta_end, z_end = 171.0, _STERNAL_END_Z[number - 2]
        else:
            theta_end, z_end = ends[number - 1][0] + 14, ends[number - 1][1] + 16
        knots = []
        for share in np.linspace(0, 1, 6):
            height = z + (z_end - z) * float(share) ** 1.4
            knots.append((*_on_cage(trunk, side, theta + (theta_end - theta) * float(share), height), 4.6))
        yield tube(knots, tall=1.6, step_mm=10)


def _sternum(trunk: Trunk) -> Iterator[Piece]:
    heights = (
        (236.0, 6.0, 3.5),
        (262, 15, 5),
        (300, 17, 5.5),
        (335, 18, 5.5),
        (348, 25, 6.5),
        (380, 29, 7.5),
    )
    yield (
        "sternum",
        ellipses(
            [(z, 0, CENTRE_Y - trunk.cavity_radius(180, z) - 6.5, a, b, 0) for z, a, b in heights],
            power=2.6,
            caps_mm=(10, 4),
        ),
    )


def _shoulder_blades() -> Iterator[Piece]:
    z = (283.0, 300.0, 334.0, 375.0, 400.0)
    blade = (
        ((100, 36), (106, 28), (110, 20)),
        ((90, 40), (103, 27), (114, 12)),
        ((76, 40), (102, 20), (122, -12)),
        ((72, 40), (104, 16), (132, -20)),
        ((72, 40), (104, 12), (136, -22)),
    )
    half_widths = ((2.5, 2.5, 3), (2.5, 2.5, 4), (2.5, 2.5, 5), (3, 3.5, 8), (3, 4, 9))
    for side, name in ((-1, "right"), (1, "left")):
        yield f"scapula_{name}", band(z, mirrored(blade, side), half_widths)


def _pelvis() -> Iterator[Piece]:
    wing_z = (-90.0, -40.0, 0.0, 18.0, 30.0)
    wing = (
        ((44, 32), (62, 10), (98, -34), (116, -76)),
        ((44, 38), (66, 18), (110, -28), (124, -86)),
        ((56, 34), (74, 18), (110, -16), (120, -60)),
        ((74, 20), (84, 8), (106, -14), (116, -36)),
        ((90, 6), (96, 0), (104, -8), (108, -14)),
    )
    wing_widths = ((9, 7, 4.5, 7), (9, 6.5, 3, 6), (7, 4.5, 3, 5), (5, 4.5, 4.5, 5), (3, 3.5, 3.5, 3))
    ala_z = (-90.0, -44.0, -20.0, -12.0)
    ala = (
        ((10, -8), (28, 2), (42, 20)),
        ((16, -16), (36, -6), (52, 16)),
        ((18, -18), (36, -10), (46, 6)),
        ((18, -16), (26, -10), (34, -2)),
    )
    ala_widths = ((8, 9, 6), (12, 12, 8), (9, 8, 5), (4, 4, 3))
    for side, name in ((-1, "right"), (1, "left")):
        yield f"hip_{name}", band(wing_z, mirrored(wing, side), wing_widths)
        yield "sacrum", band(ala_z, mirrored(ala, side), ala_widths)
    body = [(-90.0, 0.0, -8.0, 22.0, 9.0, 0.0), (-50, 0, -20, 26, 13, 0), (-21, 0, -27, 26, 18, 0)]
    yield "sacrum", ellipses(body, caps_mm=(1, 2))
    yield "sacrum", tube([(-14, 10, -40, 4), (0, 16, -42, 4), (14, 10, -40, 4)], tall=5)
