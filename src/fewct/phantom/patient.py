"""A random patient, and one slice of it painted with parts."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fewct.phantom.anatomy.abdomen import draw_abdomen
from fewct.phantom.anatomy.arms import draw_arms
from fewct.phantom.anatomy.bowel import draw_colon, draw_loops, paint_loops
from fewct.phantom.anatomy.chest import draw_chest
from fewct.phantom.anatomy.layers import Layer, paint_layers
from fewct.phantom.anatomy.muscles import draw_muscles
from fewct.phantom.anatomy.skeleton import skeleton
from fewct.phantom.anatomy.trunk import Table, Trunk, draw_trunk, paint_table, paint_trunk
from fewct.phantom.anatomy.vessels import draw_vessels
from fewct.phantom.canvas import Canvas
from fewct.phantom.render import Texture
from fewct.phantom.shapes import RandomField, Tube, Vector
from fewct.phantom.structures import PARTS
from fewct.phantom.tissue import Tissue, draw_tissues
from fewct.types import Image

_SHIFT_MM = 2.4  # standard deviation of the smooth shift that makes a patient unsymmetrical


@dataclass(frozen=True, eq=False)
class Fields:
    """The random fields of one patient.

    Args:
        shift: How far points move along x and y, in units of 2.4 mm.
        bumps: Unevenness of organs' boundaries.
        septa: Fat between layers of muscle.
        branches: Two fields whose common zeros are the vessels of liver and lung.
        twigs: The same on a smaller scale, for mesentery and lung.
        stool: Small pockets of gas in the colon.
    """

    shift: tuple[RandomField, RandomField]
    bumps: RandomField
    septa: RandomField
    branches: tuple[RandomField, RandomField]
    twigs: tuple[RandomField, RandomField]
    stool: RandomField

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Fields":
        """Return random fields."""

        def pair(low: float, high: float, count: int) -> tuple[RandomField, RandomField]:
            return RandomField.draw(rng, (low, high), count), RandomField.draw(rng, (low, high), count)

        return cls(
            shift=pair(110, 260, 10),
            bumps=RandomField.draw(rng, (14, 45)),
            septa=RandomField.draw(rng, (12, 60), 16),
            branches=pair(26, 60, 32),
            twigs=pair(14, 30, 32),
            stool=RandomField.draw(rng, (5, 16), 48),
        )


@dataclass(frozen=True, eq=False)
class Patient:
    """Everything about a patient that does not change from slice to slice.

    Args:
        width: Size from side to side relative to the standard person.
        depth: Size from front to back.
        field_of_view_mm: Side of the reconstructed square, in the patient's millimetres.
        before_bowel: What is painted before the bowel.
        colon: Duodenum and colon.
        bones: What is painted after it.
        stomach_level_mm: y above which the stomach holds gas.
        noise_hu: Standard deviation of the noise inside the body.
        texture: Random fields of the tissues' texture.
        tissues: Tissue of each part.
    """

    width: float
    depth: float
    field_of_view_mm: float
    table: Table
    arms: tuple[Layer, ...]
    trunk: Trunk
    before_bowel: tuple[Layer, ...]
    colon: tuple[Layer, ...]
    loops: list[Tube]
    bones: tuple[Layer, ...]
    stomach_level_mm: float
    noise_hu: float
    fields: Fields
    texture: Texture
    tissues: Mapping[int, Tissue]


def draw_patient(rng: np.random.Generator) -> Patient:
    """Return a random patient."""
    female = bool(rng.random() < 0.5)
    fat_mm = float(np.clip(np.exp(rng.normal(2.55, 0.45)), 5, 34))
    width = float(rng.normal(0.97 if female else 1.04, 0.035))
    depth = width * float(rng.normal(1.0, 0.04))
    trunk = draw_trunk(rng, fat_mm=fat_mm, breast_mm=float(rng.uniform(6, 30)) if female else 0.0)
    half_width_mm = float(trunk.body.radii.max())
    arms = tuple(draw_arms(rng, half_width_mm, fat_mm)) if rng.random() < 0.15 else ()
    body_mm = 2 * width * (half_width_mm + (70 if arms else 0))
    return Patient(
        width=width,
        depth=depth,
        field_of_view_mm=float(np.clip(body_mm * rng.uniform(1.04, 1.22), 330, 500)),
        table=Table(58 + 0.55 * fat_mm, float(rng.uniform(0.0005, 0.0011)), double=bool(rng.random() < 0.4)),
        arms=arms,
        trunk=trunk,
        before_bowel=(*draw_muscles(rng), *draw_chest(rng), *draw_vessels(rng), *draw_abdomen(rng)),
        colon=tuple(draw_colon(rng)),
        loops=draw_loops(rng),
        bones=tuple(Layer(part, solid) for part, solid in skeleton(trunk)),
        stomach_level_mm=float(rng.uniform(-125, -85)),
        noise_hu=float(rng.uniform(7, 13)),
        fields=Fields.draw(rng),
        texture=Texture.draw(rng),
        tissues=draw_tissues(rng),
    )


def paint(patient: Patient, columns_mm: Vector, rows_mm: Vector, z: float) -> Canvas:
    """Return one slice of a patient, painted.

    Args:
        columns_mm: x of the columns in the standard frame, rising, (columns,).
        rows_mm: y of the rows, rising, (rows,).
    """
    shift_x, shift_y = (
        np.float32(_SHIFT_MM) * f.on_grid(columns_mm, rows_mm, z) for f in patient.fields.shift
    )
    canvas = Canvas(
        columns_mm,
        rows_mm,
        z,
        x=columns_mm.astype(np.float32) + shift_x,
        y=rows_mm.astype(np.float32)[:, None] + shift_y,
        bumps=patient.fields.bumps.on_grid(columns_mm, rows_mm, z),
        parts=np.full((len(rows_mm), len(columns_mm)), PARTS["air"], dtype=np.int16),
    )
    paint_layers(canvas, patient.arms)
    abdomen = paint_trunk(canvas, patient.trunk, patient.fields.septa, patient.table)
    paint_layers(canvas, patient.before_bowel, abdomen)
    paint_layers(canvas, patient.colon, abdomen)
    paint_loops(canvas, patient.loops, abdomen)
    _paint_gas(canvas, patient)
    _paint_vessels(canvas, patient.fields)
    paint_layers(canvas, patient.bones)
    paint_table(canvas, patient.table)
    return canvas


def _paint_gas(canvas: Canvas, patient: Patient) -> None:
    """Paint gas that floats in the stomach and is mixed with stool in the colon."""
    above_fluid: Image = canvas.y - np.float32(patient.stomach_level_mm)
    floating = 0.6 - 0.6 * canvas.field(patient.fields.stool) - canvas.field(patient.fields.branches[0])
    for layer in (*patient.before_bowel, *patient.colon):
        gas = f"{layer.part}_gas"
        if gas in PARTS:
            limit = above_fluid if layer.part == "stomach" else floating
            canvas.paint(
                gas, layer.solid, onto=(layer.part,), limit=limit, rough_mm=layer.rough_mm, grow_mm=-3.5
            )


def _paint_vessels(canvas: Canvas, fields: Fields) -> None:
    """Paint the vessels of liver, lung and mesentery."""
    large, small = (canvas.field(a) ** 2 + canvas.field(b) ** 2 for a, b in (fields.branches, fields.twigs))
    canvas.fill("liver_vessel", large < 0.035, onto=("liver",))
    canvas.fill("small_vessel", small < 0.05, onto=("visceral_fat",))
    from_hilum = np.hypot(np.abs(canvas.x) - 40, np.hypot(canvas.y + 68, 0.6 * (canvas.z - 300)))
    thick = np.exp(-from_hilum / 45)
    for side in ("right", "left"):
        canvas.fill(
            f"lung_vessel_{side}", (small < 0.16 * thick) | (large < 0.05 * thick), onto=(f"lung_{side}",)
        )
