"""Duodenum, colon and the loops of the small bowel."""

from collections.abc import Iterator

import numpy as np

from fewct.phantom.anatomy.layers import Knot4, Layer, jitter_tube
from fewct.phantom.canvas import Canvas
from fewct.phantom.shapes import Tube, tube
from fewct.phantom.structures import PARTS, SMALL_BOWEL_LOOPS
from fewct.types import Image


def draw_colon(rng: np.random.Generator) -> Iterator[Layer]:
    """Yield the layers of duodenum and colon, in the order to paint them."""
    bend: list[Knot4] = [
        (-28, -92, 122, 11),
        (-42, -78, 116, 12),
        (-40, -70, 96, 12),
        (-28, -70, 82, 11),
        (4, -78, 80, 9),
        (34, -74, 88, 10),
        (44, -84, 104, 11),
    ]
    yield Layer(
        "duodenum",
        tube(jitter_tube(rng, bend, shift_mm=2.5)),
        ("visceral_fat",),
        abdominal=True,
        rough_mm=1.2,
    )
    sag = float(rng.normal(0, 10))
    ascending = [
        (-96.0, -62.0, -60.0, 22.0),
        (-102, -50, -20, 23),
        (-103, -42, 30, 22),
        (-100, -44, 64, 20),
        (-92, -60, 86, 19),
    ]
    transverse = [
        (-88.0, -80.0, 92.0, 18.0),
        (-66, -112, 90 + sag, 18),
        (-30, -128, 78 + sag, 18),
        (12, -132, 76 + sag, 17),
        (52, -128, 96 + sag, 17),
        (84, -108, 128, 17),
        (102, -84, 156, 17),
    ]
    descending = [
        (108.0, -66.0, 164.0, 15.0),
        (112, -44, 140, 14.5),
        (111, -34, 100, 13.5),
        (108, -36, 50, 13),
        (102, -48, 0, 13),
        (92, -64, -40, 14),
        (70, -70, -90, 15),
    ]
    for name, knots in (("descending", descending), ("ascending", ascending), ("transverse", transverse)):
        solid = haustra(rng, tube(jitter_tube(rng, knots, shift_mm=3.5, size=0.12), step_mm=6))
        yield Layer(f"colon_{name}", solid, ("visceral_fat",), abdominal=True, rough_mm=1.6)


def haustra(rng: np.random.Generator, solid: Tube) -> Tube:
    """Return the tube with the bulges of a colon, about 30 mm long."""
    length = np.append(0, np.cumsum(np.linalg.norm(np.diff(solid.points, axis=0), axis=1)))
    phase = length * 2 * np.pi / rng.uniform(26, 36) + rng.uniform(0, 2 * np.pi)
    return Tube(solid.points, solid.radii * (1 + 0.14 * np.sin(phase)), solid.tall)


def draw_loops(rng: np.random.Generator) -> list[Tube]:
    """Return the loops of the small bowel: short bent tubes spread over the middle of the abdomen."""
    places = rng.uniform((-84, -128, -90), (96, -62, 140), (1200, 3))
    apart = np.full(len(places), np.inf)
    centres = []
    for _ in SMALL_BOWEL_LOOPS:
        centres.append(places[int(np.argmax(apart))])
        apart = np.minimum(apart, np.linalg.norm((places - centres[-1]) / (1.4, 1.0, 1.0), axis=1))
    loops = []
    for centre in centres:
        heading, turn = rng.uniform(0, 2 * np.pi), rng.normal(0, 0.7)
        reach = rng.uniform(12, 32)
        knots = []
        for step in (-1.0, -0.5, 0.0, 0.5, 1.0):
            angle = heading + turn * step
            offset = reach * step * np.array([np.cos(angle), 0.7 * np.sin(angle), 0.25 * np.sin(angle + 1)])
            knots.append((*(centre + offset), float(rng.uniform(11, 14))))
        loops.append(tube(knots))
    return loops


def paint_loops(canvas: Canvas, loops: list[Tube], abdomen: Image) -> None:
    """Paint the loops of the small bowel onto the cavity's fat, packed side by side with a thin gap.

    Args:
        abdomen: Signed field of the space for abdominal organs.
    """
    depth = np.full(canvas.x.shape, 1e3, dtype=np.float32)
    second = depth.copy()
    loop = np.full(canvas.x.shape, -1, dtype=np.int16)
    for index, solid in enumerate(loops):
        section = solid.section(canvas.z)
        if section is None:
            continue
        window = canvas.window(section.box)
        signed = canvas.signed(section, window) + np.float32(1.2) * canvas.bumps[window]
        nearer = signed < depth[window]
        second[window] = np.where(nearer, depth[window], np.minimum(second[window], signed))
        depth[window] = np.where(nearer, signed, depth[window])
        loop[window][nearer] = index
    inside = (depth < 0) & (second - depth > 1.8) & (abdomen < 0)
    inside &= canvas.parts == PARTS["visceral_fat"]
    canvas.parts[inside] = np.take([PARTS[f"small_bowel_{n}"] for n in SMALL_BOWEL_LOOPS], loop[inside])
