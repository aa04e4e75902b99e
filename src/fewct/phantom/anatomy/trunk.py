"""The trunk itself: skin, fat, the muscle wall, the body cavity, lungs and diaphragm."""

from dataclasses import dataclass
from typing import Annotated, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fewct.phantom.canvas import Canvas
from fewct.phantom.shapes import Loft, RandomField, ellipses, polar
from fewct.types import Image

Profile: TypeAlias = Annotated[NDArray[np.float64], "heights angles"]

CENTRE_Y = -55.0
"""y of the axis about which the trunk's curves are given; its x is 0."""

# Heights of the profiles below, and for each the values at 0, 20 .. 180 degrees from posterior to anterior.
_Z = np.array([-90.0, -40, 33, 97, 159, 212, 262, 334, 375, 420])
_CAVITY_RADIUS = np.array(
    [
        [46, 54, 70, 88, 100, 104, 98, 94, 82, 76],
        [50, 60, 78, 96, 110, 114, 106, 98, 84, 77],
        [56, 66, 83, 103, 117, 120, 110, 102, 89, 80],
        [58, 72, 92, 112, 122, 123, 117, 110, 97, 87],
        [60, 78, 104, 120, 127, 128, 126, 127, 115, 106],
        [64, 82, 106, 120, 125, 126, 126, 128, 115, 104],
        [62, 76, 105, 118, 121, 122, 123, 125, 108, 96],
        [58, 70, 92, 104, 107, 105, 101, 97, 84, 76],
        [52, 62, 79, 88, 90, 88, 83, 79, 70, 63],
        [46, 54, 62, 66, 66, 64, 60, 56, 52, 48],
    ],
    dtype=np.float64,
)
_WALL_MM = np.array(
    [
        [58, 62, 60, 52, 42, 38, 30, 16, 16, 10],
        [52, 44, 42, 40, 34, 28, 20, 12, 15, 9],
        [46, 40, 24, 19, 18, 18, 15, 9, 12, 6],
        [46, 38, 19, 16, 16, 16, 14, 9, 12, 6],
        [48, 38, 17, 14, 13, 13, 12, 11, 12, 8],
        [49, 36, 18, 17, 16, 13, 12, 12, 11, 9],
        [49, 36, 21, 21, 22, 16, 13, 13, 12, 10],
        [51, 40, 33, 39, 37, 27, 19, 19, 14, 12],
        [53, 46, 45, 52, 54, 44, 29, 25, 16, 13],
        [56, 56, 60, 70, 72, 62, 40, 30, 20, 15],
    ],
    dtype=np.float64,
)
# Subcutaneous fat as a share of the patient's fat thickness.
_FAT_SHARE = np.array(
    [
        [0.9, 1.6, 1.7, 1.3, 1.0, 0.9, 0.9, 1.0, 1.0, 1.0],
        [0.7, 1.5, 1.8, 1.5, 1.1, 0.8, 0.8, 1.0, 1.2, 1.2],
        [0.5, 1.0, 1.6, 1.4, 0.9, 0.7, 0.8, 1.1, 1.3, 1.2],
        [0.4, 0.7, 1.2, 1.1, 0.8, 0.7, 0.8, 1.0, 1.1, 1.0],
        [0.4, 0.5, 0.8, 0.9, 0.7, 0.6, 0.7, 0.8, 0.8, 0.8],
        [0.4, 0.5, 0.7, 0.8, 0.7, 0.6, 0.6, 0.7, 0.7, 0.6],
        [0.4, 0.5, 0.7, 0.8, 0.8, 0.7, 0.6, 0.7, 0.7, 0.5],
        [0.5, 0.6, 0.7, 0.8, 0.9, 0.8, 0.7, 0.7, 0.7, 0.5],
        [0.6, 0.7, 0.8, 0.9, 1.0, 0.9, 0.7, 0.7, 0.6, 0.5],
        [0.6, 0.7, 0.8, 0.9, 1.0, 0.9, 0.7, 0.7, 0.6, 0.5],
    ]
)
_SULCUS_Z = 126.0  # lowest point of the lungs


@dataclass(frozen=True)
class Table:
    """The table under the patient.

    Args:
        back_mm: y at which the back lies on the mattress.
        curvature: How strongly the board is curved, in 1/mm.
        double: Whether there is a second board below.
    """

    back_mm: float
    curvature: float
    double: bool


@dataclass(frozen=True, eq=False)
class Trunk:
    """The trunk's outlines as solids, from inside to outside, and the domes of the diaphragm.

    Args:
        cavity: The inner face of the muscle wall and ribs.
        wall: The outer face of the muscle wall.
        body: The skin.
        domes: What lies under the right and under the left half of the diaphragm.
        mediastinum: What lies between the lungs, besides the spine.
    """

    cavity: Loft
    wall: Loft
    body: Loft
    domes: tuple[Loft, Loft]
    mediastinum: Loft

    def cavity_radius(self, angle_deg: float, z: float) -> float:
        """Return the cavity's radius in millimetres at an angle from posterior over the right."""
        profile = [float(np.interp(z, self.cavity.z, column)) for column in self.cavity.radii.T]
        return float(np.interp(angle_deg, np.arange(0, 361, 20), [*profile, profile[0]]))


def _around(profile: Profile) -> Profile:
    """Return a profile given for half a turn over the whole turn."""
    return np.concatenate([profile, profile[:, -2:0:-1]], axis=1)


def _dome(x: float, y: float, half_axes: tuple[float, float], top: float) -> Loft:
    height = (top - 100.0) * np.array([-0.1, 0, 0.25, 0.45, 0.6, 0.72, 0.82, 0.9, 0.95, 0.98, 0.995])
    narrowing = (1 - np.clip(height / (top - 100.0), 0, 1) ** 2.6) ** (1 / 2.6)
    a, b = half_axes
    return ellipses(
        [(100 + h, x, y, a * s, b * s, 0.0) for h, s in zip(height, narrowing, strict=True)], power=2.4
    )


def draw_trunk(rng: np.random.Generator, *, fat_mm: float, breast_mm: float) -> Trunk:
    """Return a trunk of random build.

    Args:
        fat_mm: Thickness of the subcutaneous fat.
        breast_mm: How far the breasts rise above it.
    """
    angles = np.radians(np.arange(0, 181, 20))
    belly = rng.normal(0, 0.03) + 0.13 * np.tanh((fat_mm - 15) / 12)
    shape = np.ones_like(_CAVITY_RADIUS)
    shape[1:5] += belly * np.clip(-np.cos(angles), 0, 1)
    cavity = _around(_CAVITY_RADIUS * shape)
    wall = cavity + _around(_WALL_MM * rng.uniform(0.9, 1.1))
    height = np.exp(-(((_Z - 278) / 42) ** 2))
    breast = breast_mm * np.outer(height, np.exp(-(((np.degrees(angles) - 138) / 20) ** 2)))
    fat = fat_mm * _FAT_SHARE * (1 + 0.1 * rng.normal(size=len(_FAT_SHARE)))[:, None] + 3.0
    turn = np.arange(2 * len(angles) - 2) * np.pi / (len(angles) - 1)
    uneven = sum(rng.normal(0, 0.008) * np.cos(k * turn + rng.uniform(0, 2 * np.pi)) for k in range(1, 5))
    cavity, wall, body = (radii * (1 + uneven) for radii in (cavity, wall, wall + _around(fat + breast)))
    centres = np.tile((0.0, CENTRE_Y), (len(_Z), 1))
    breath = rng.normal(0, 8)
    domes = (
        _dome(-66, -70, (88, 100), 243 + breath),
        _dome(70, -62, (84, 96), 228 + breath + rng.normal(0, 4)),
    )
    lofts = [Loft(_Z, centres, radii, (0.01, 0.01)) for radii in (cavity, wall, body)]
    return Trunk(lofts[0], lofts[1], lofts[2], domes, _mediastinum())


def _mediastinum() -> Loft:
    z = np.array([120.0, 200, 225, 262, 300, 330, 375, 420])
    radii = np.array(
        [
            [86, 58, 45, 40, 40, 50, 70, 60, 45, 38, 42, 62],
            [86, 58, 48, 48, 58, 66, 72, 84, 98, 88, 60, 64],
            [86, 58, 46, 50, 62, 68, 72, 82, 98, 84, 56, 64],
            [86, 58, 46, 60, 70, 62, 68, 68, 78, 72, 54, 62],
            [86, 58, 44, 50, 54, 42, 58, 46, 54, 52, 48, 60],
            [84, 56, 42, 44, 44, 34, 44, 38, 44, 44, 44, 58],
            [80, 52, 38, 38, 38, 34, 34, 36, 38, 38, 40, 54],
            [76, 50, 34, 32, 30, 28, 28, 28, 30, 32, 34, 50],
        ],
        dtype=np.float64,
    )
    centres = np.array([[0.0, -95], [3, -95], [5, -95], [4, -95], [2, -92], [0, -85], [-2, -78], [-2, -70]])
    return Loft(z, centres, radii, (0.01, 0.01))


def _signed(canvas: Canvas, loft: Loft) -> Image:
    """Return a loft's signed field on the canvas; far outside where it does not reach."""
    signed = np.full_like(canvas.x, 1e3)
    section = loft.section(canvas.z)
    if section is not None:
        window = canvas.window(section.box)
        signed[window] = canvas.signed(section, window)
    return signed


def paint_trunk(canvas: Canvas, trunk: Trunk, septa: RandomField, table: Table) -> Image:
    """Paint skin, fat, the wall's muscles, the cavity's fat, the lungs and the diaphragm.

    Args:
        septa: Random field that breaks up the layers of fat between muscles.

    Returns:
        Signed field of the space that abdominal organs may take: cavity below the diaphragm.
    """
    distance, turn = polar(canvas.x, canvas.y, (0.0, CENTRE_Y))
    sections = (loft.section(canvas.z) for loft in (trunk.cavity, trunk.wall, trunk.body))
    cavity, wall, body = (section.signed_polar(distance, turn) for section in sections if section)
    body = np.maximum(body, canvas.y - np.float32(table.back_mm) + np.float32(table.curvature) * canvas.x**2)
    canvas.fill("skin", body < 0)
    canvas.fill("fat", body < -2.0)
    _paint_wall(canvas, cavity, np.maximum(wall, body + 4.0), 360 * np.abs(turn), septa)
    canvas.fill("visceral_fat", cavity < 0)
    domes = np.minimum(*(_signed(canvas, dome) for dome in trunk.domes))
    if canvas.z < _SULCUS_Z:
        return cavity + 1.5
    mediastinum = np.minimum(_signed(canvas, trunk.mediastinum), _spine_bulge(canvas))
    thorax = (cavity < -1.0) & (domes > 0)
    canvas.fill("muscle", thorax & (domes < 2.5))
    aired = (cavity < -1.5) & (domes > 2.5) & (mediastinum > 0)
    canvas.fill("lung_right", aired & (canvas.x < 0))
    canvas.fill("lung_left", aired & (canvas.x >= 0))
    abdomen: Image = np.maximum(cavity + 1.5, domes)
    return abdomen


def _spine_bulge(canvas: Canvas) -> Image:
    bulge: Image = np.hypot(canvas.x / np.float32(26), (canvas.y + 16) / np.float32(34)) * 26 - 26
    return bulge


def _paint_wall(canvas: Canvas, cavity: Image, wall: Image, angle: Image, septa: RandomField) -> None:
    """Paint the wall's muscle in layers: three at the flank, ribs' and outer muscles at the chest."""
    depth = cavity / np.maximum(cavity - wall, 1)  # 0 at the cavity, 1 at the outer face
    gaps = canvas.field(septa)
    back = 36 + 4 * gaps
    canvas.fill("muscle", (cavity > 0) & (wall < 0) & (angle > back))
    belly = float(np.clip((165 - canvas.z) / 40, 0, 1))  # from 1 at the abdomen to 0 at the chest
    flank_seam = np.minimum(np.abs(depth - 0.36 - 0.06 * gaps), np.abs(depth - 0.68 - 0.06 * gaps))
    flank_fat = (flank_seam < belly * (0.05 + 0.04 * canvas.bumps)) & (angle > 55) & (angle < 138)
    rectus = np.sqrt(np.clip(1 - ((angle - 161) / 15.5) ** 2, 0, 1))
    flank = np.sqrt(np.clip((149 - angle) / 22, 0, 1))
    flank_fat |= depth > np.maximum(rectus, flank) + 1.03 - belly
    rib_fat = (np.abs(cavity - 12.5 - 1.2 * gaps) < (1 - belly) * (1.3 + 0.6 * gaps)) & (angle < 165)
    outer_fat = (np.abs(cavity - 24 - 2.5 * gaps) < (1 - belly) * (1.0 + 0.8 * gaps)) & (wall < -4)
    canvas.fill("fat", flank_fat | rib_fat | outer_fat, onto=("muscle",))
    superficial = (wall < 0) & (wall > -5 - gaps) & (angle <= back) & (angle > 5) & (canvas.z > 190)
    canvas.fill("muscle", superficial)


def paint_table(canvas: Canvas, table: Table) -> None:
    """Paint the table under the back."""
    sag = (canvas.rows_mm - table.back_mm - 10)[:, None] + table.curvature * canvas.columns_mm**2
    boards = [(sag, 205.0)] + ([(sag - 34, 150.0)] if table.double else [])
    for depth, half_width in boards:
        board = (depth > 0) & (depth < 5.9) & (np.abs(canvas.columns_mm) < half_width)
        canvas.fill("table_foam", board, onto=("air",))
        shell = board & ((depth < 2.0) | (depth > 3.9))
        canvas.fill("table_shell", shell)
