"""Arms that lie beside the trunk, where the patient could not raise them."""

from collections.abc import Iterator

import numpy as np

from fewct.phantom.anatomy.layers import Layer
from fewct.phantom.shapes import ellipses


def draw_arms(rng: np.random.Generator, half_width_mm: float, fat_mm: float) -> Iterator[Layer]:
    """Yield the layers of both arms, to be painted before the trunk.

    Args:
        half_width_mm: Distance from the middle to the skin of the trunk.
        fat_mm: Thickness of the subcutaneous fat.
    """
    for side in (-1, 1):
        gap = float(rng.uniform(2, 14))
        muscle = float(rng.uniform(30, 36))
        reach = muscle + 2 + 0.45 * fat_mm
        x, y = side * (half_width_mm + gap + reach), float(rng.uniform(-45, 0))
        lower, upper = (-90.0, x, y + 15), (420.0, 0.94 * x, y - 15)
        for part, radius in (("skin", reach + 2.0), ("fat", reach), ("arm_muscle", muscle)):
            knots = [(*place, radius, 1.12 * radius, 12.0 * side) for place in (lower, upper)]
            yield Layer(part, ellipses(knots, caps_mm=(1, 1)), rough_mm=1.5 if part == "arm_muscle" else 0.0)
        bone = [(z, x - side * 6, y - 4, 10.0, 11.5, 0.0) for z, x, y in (lower, upper)]
        yield Layer("arm_bone", ellipses(bone, caps_mm=(1, 1)))
