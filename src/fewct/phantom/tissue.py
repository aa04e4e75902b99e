"""Appearance of tissues on CT: mean Hounsfield value, texture, and the rim of organs that have one."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from fewct.phantom.structures import PARTS, RIBS, SIDES, SMALL_BOWEL_LOOPS, VERTEBRAE


@dataclass(frozen=True)
class Tissue:
    """How one label is rendered.

    Args:
        hu: Mean Hounsfield value.
        fine_hu: Standard deviation of the texture of a few millimetres.
        coarse_hu: Standard deviation of the texture of a few centimetres.
        strands_hu: Change along thin strands: below 0 for fat between fibres and lobules, above 0 for
            vessels and fibres in fat.
        rim_hu: Hounsfield value at the boundary (cortex of bone or kidney, wall of the bowel); None for none.
        rim_mm: Thickness of that rim.
    """

    hu: float
    fine_hu: float = 0.0
    coarse_hu: float = 0.0
    strands_hu: float = 0.0
    rim_hu: float | None = None
    rim_mm: float = 0.0


# Blood and organs by contrast phase: unenhanced, arterial, portal venous, delayed.
_PHASES: Mapping[str, tuple[float, float, float, float]] = {
    "artery": (42, 310, 165, 120),
    "vein": (40, 90, 145, 120),
    "portal": (42, 120, 175, 120),
    "liver": (57, 70, 108, 92),
    "spleen": (48, 118, 120, 98),
    "kidney": (33, 60, 165, 165),
    "renal_cortex": (33, 185, 195, 165),
    "pancreas": (40, 98, 95, 78),
    "muscle": (52, 58, 62, 62),
    "gland": (28, 60, 72, 60),
    "bowel_wall": (42, 85, 92, 78),
    "heart_wall": (46, 92, 98, 90),
    "renal_vein": (38, 130, 165, 150),
}
_PHASE_ODDS = (0.25, 0.15, 0.45, 0.15)


def draw_tissues(rng: np.random.Generator) -> dict[int, Tissue]:
    """Return the tissue of every part for a random patient and contrast phase."""
    phase = int(rng.choice(4, p=_PHASE_ODDS))
    value = {name: row[phase] * float(np.exp(rng.normal(0, 0.06))) for name, row in _PHASES.items()}
    density = float(rng.uniform(0.65, 1.25))  # of bone
    named = {
        **_outside(),
        **_blood(value),
        **_organs(rng, value),
        **_bowel(rng, value),
        **_muscles(value, float(rng.uniform(0.5, 1.6))),
        **_bones(density),
    }
    return {PARTS[name]: tissue for name, tissue in named.items()}


def _outside() -> dict[str, Tissue]:
    return {
        "air": Tissue(-1000),
        "skin": Tissue(5, 10),
        "fat": Tissue(-107, 4, 3, strands_hu=14),
        "visceral_fat": Tissue(-104, 6, 6, strands_hu=26),
        "table_shell": Tissue(320),
        "table_foam": Tissue(-820),
    }


def _blood(value: Mapping[str, float]) -> dict[str, Tissue]:
    artery, vein = Tissue(value["artery"], 2), Tissue(value["vein"], 3, 5)
    mixed = 0.5 * (value["artery"] + value["vein"])
    return {
        **dict.fromkeys(("aorta", "iliac_artery_right", "iliac_artery_left"), artery),
        **dict.fromkeys(
            ("inferior_vena_cava", "superior_vena_cava", "iliac_vein_right", "iliac_vein_left"), vein
        ),
        "pulmonary_artery": Tissue(mixed, 3),
        "heart_blood": Tissue(mixed, 3, 8),
        "heart": Tissue(value["heart_wall"], 4, 5),
        "portal_vein": Tissue(value["portal"], 2),
        "liver_vessel": Tissue(0.3 * value["liver"] + 0.7 * value["portal"]),
        "small_vessel": Tissue(0.8 * value["renal_vein"], 10),
        "lung_vessel_right": Tissue(max(0.8 * mixed, 40), 6),
        "lung_vessel_left": Tissue(max(0.8 * mixed, 40), 6),
    }


def _organs(rng: np.random.Generator, value: Mapping[str, float]) -> dict[str, Tissue]:
    lung = Tissue(float(rng.uniform(-885, -835)), 16, 14)
    kidney = Tissue(value["kidney"], 5, 4, rim_hu=value["renal_cortex"], rim_mm=7.0)
    gland = Tissue(value["gland"], 4)
    steatosis = float(rng.uniform(20, 45)) * float(rng.random() < 0.2)
    return {
        **{f"lung_{side}": lung for side in SIDES},
        **{f"kidney_{side}": kidney for side in SIDES},
        **{f"adrenal_gland_{side}": gland for side in SIDES},
        "trachea": Tissue(-985, rim_hu=-300, rim_mm=1.2),
        "esophagus": Tissue(value["muscle"] - 12, 8, 6),
        "liver": Tissue(value["liver"] - steatosis, 2.5, 2.5),
        "gallbladder": Tissue(float(rng.uniform(2, 18)), 1, 2),
        "spleen": Tissue(value["spleen"], 2.5, 3),
        "pancreas": Tissue(value["pancreas"] - 8, 10, 5, strands_hu=-55),
        "spinal_canal": Tissue(22, 4),
        "spinal_cord": Tissue(38, 2),
    }


def _bowel(rng: np.random.Generator, value: Mapping[str, float]) -> dict[str, Tissue]:
    wall = value["bowel_wall"]
    oral = float(rng.uniform(160, 320)) if rng.random() < 0.3 else 0.0
    food = Tissue(float(rng.uniform(8, 45)) + oral * 0.7, 8, 8, rim_hu=wall, rim_mm=2.6)
    named = {"stomach": food, "stomach_gas": Tissue(-960)}
    named["duodenum"] = replace(food, hu=float(rng.uniform(15, 45)) + 0.5 * oral)
    for loop in SMALL_BOWEL_LOOPS:
        filled = oral * float(rng.random() < 0.6)
        collapsed = rng.random() < 0.35
        hu = 0.8 * wall if collapsed else float(rng.uniform(8, 40)) + filled
        named[f"small_bowel_{loop}"] = Tissue(hu, 9, 6, rim_hu=wall, rim_mm=2.2)
    for segment in ("ascending", "transverse", "descending"):
        named[f"colon_{segment}"] = Tissue(
            float(rng.uniform(15, 60)) + 0.3 * oral, 34, 12, rim_hu=0.85 * wall, rim_mm=2.2
        )
        named[f"colon_{segment}_gas"] = Tissue(-880, 60)
    return named


def _muscles(value: Mapping[str, float], fatty: float) -> dict[str, Tissue]:
    named = {"muscle": Tissue(value["muscle"], 7, 4, strands_hu=-70 * fatty)}
    named["arm_muscle"] = named["muscle"]
    for side in SIDES:
        named[f"paraspinal_muscle_{side}"] = Tissue(value["muscle"], 9, 5, strands_hu=-95 * fatty)
        for name in ("iliopsoas", "quadratus_lumborum", "gluteus_medius", "gluteus_maximus"):
            named[f"{name}_{side}"] = Tissue(value["muscle"], 6, 3, strands_hu=-40 * fatty)
    return named


def _bones(density: float) -> dict[str, Tissue]:
    spongy = Tissue(185 * density, 30 * density, 12, rim_hu=560 * density + 60, rim_mm=1.8)
    rib = Tissue(170 * density, 40, 10, rim_hu=720 * density + 80, rim_mm=1.9)
    flat = Tissue(210 * density, 40, 15, rim_hu=760 * density + 80, rim_mm=2.2)
    named = {f"vertebra_{name}": spongy for name in VERTEBRAE}
    named.update({f"disc_{name}": Tissue(88, 8, 5) for name in VERTEBRAE})
    named.update({f"rib_{side}_{number}": rib for side in SIDES for number in RIBS})
    named.update({f"costal_cartilage_{side}": Tissue(105, 10, 10, rim_hu=140, rim_mm=1.6) for side in SIDES})
    named.update({f"{name}_{side}": flat for name in ("hip", "scapula") for side in SIDES})
    named.update(
        {
            "sacrum": spongy,
            "sternum": replace(spongy, hu=120 * density),
            "arm_bone": Tissue(60, rim_hu=1100, rim_mm=4.0),
        }
    )
    return named
