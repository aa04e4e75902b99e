"""A part with its solid and the rules for painting it, and how to vary one from patient to patient."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from fewct.phantom.canvas import Canvas
from fewct.phantom.shapes import Solid
from fewct.types import Image

Knot6: TypeAlias = tuple[float, float, float, float, float, float]
Knot4: TypeAlias = tuple[float, float, float, float]


@dataclass(frozen=True)
class Layer:
    """One step in painting a slice.

    Args:
        onto: Names of the parts it may cover; all of them if empty.
        abdominal: Whether it must lie inside the cavity, below the diaphragm.
        rough_mm: How uneven its boundary is.
    """

    part: str
    solid: Solid
    onto: tuple[str, ...] = ()
    abdominal: bool = False
    rough_mm: float = 0.0


def paint_layers(canvas: Canvas, layers: Iterable[Layer], abdomen: Image | None = None) -> None:
    """Paint layers in their order.

    Args:
        abdomen: Signed field of the space for abdominal organs; needed for layers that are.
    """
    for layer in layers:
        limit = abdomen if layer.abdominal else None
        canvas.paint(layer.part, layer.solid, onto=layer.onto, limit=limit, rough_mm=layer.rough_mm)


def jitter_ellipses(
    rng: np.random.Generator, knots: Sequence[Knot6], *, shift_mm: float = 2.5, size: float = 0.07
) -> list[Knot6]:
    """Return the knots of a solid between ellipses, moved and resized as a whole at random.

    Args:
        knots: z, x, y, half axes a and b, turn, as for `ellipses`.
        shift_mm: Standard deviation of the shift along each axis (along z twice that).
        size: Standard deviation of the size, as a share.
    """
    dx, dy, dz = rng.normal(0, shift_mm, 3) * (1, 1, 2)
    wide, deep = np.exp(rng.normal(0, size, 2))
    return [(z + dz, x + dx, y + dy, a * wide, b * deep, turn) for z, x, y, a, b, turn in knots]


def jitter_tube(
    rng: np.random.Generator, knots: Sequence[Knot4], *, shift_mm: float = 2.0, size: float = 0.08
) -> list[Knot4]:
    """Return the knots of a tube, each moved a little at random, the radius changed as a whole.

    Args:
        knots: x, y, z, radius, as for `tube`.
        shift_mm: Standard deviation of each knot's shift along each axis.
        size: Standard deviation of the radius, as a share.
    """
    scale = np.exp(rng.normal(0, size))
    shifts = rng.normal(0, shift_mm, (len(knots), 3))
    return [
        (x + dx, y + dy, z + dz, radius * scale)
        for (x, y, z, radius), (dx, dy, dz) in zip(knots, shifts, strict=True)
    ]
