"""Names and numbers of the phantom's structures and parts.

A slice is first painted with parts. Some parts are structures of the truth (the liver); others are only
visible in the image and belong to a structure (a vessel in the liver) or to none (fat, skin, the table).
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

SIDES = ("right", "left")
VERTEBRAE = (*(f"T{number}" for number in range(3, 13)), *(f"L{number}" for number in range(1, 6)))
RIBS = range(2, 13)  # the first lies above the highest slice
SMALL_BOWEL_LOOPS = range(1, 57)

_SINGLE = (
    *("heart", "aorta", "pulmonary_artery", "superior_vena_cava", "inferior_vena_cava", "portal_vein"),
    *("trachea", "esophagus", "liver", "gallbladder", "stomach", "spleen", "pancreas", "duodenum"),
    *("colon_ascending", "colon_transverse", "colon_descending", "spinal_canal", "sacrum", "sternum"),
)
_PAIRED = (
    *("lung", "kidney", "adrenal_gland", "iliac_artery", "iliac_vein", "paraspinal_muscle"),
    *("iliopsoas", "quadratus_lumborum", "gluteus_medius", "gluteus_maximus", "hip", "scapula"),
    "costal_cartilage",
)
_NAMES = (
    *_SINGLE,
    *(f"{name}_{side}" for name in _PAIRED for side in SIDES),
    *(f"rib_{side}_{number}" for side in SIDES for number in RIBS),
    *(f"vertebra_{name}" for name in VERTEBRAE),
    *(f"disc_{name}" for name in VERTEBRAE),
    *(f"small_bowel_{number}" for number in SMALL_BOWEL_LOOPS),
)

_OWNER_OF_DETAIL: Mapping[str, str | None] = {
    **dict.fromkeys(("fat", "skin", "muscle", "visceral_fat", "small_vessel")),
    **{"heart_blood": "heart", "liver_vessel": "liver"},
    **{f"lung_vessel_{side}": f"lung_{side}" for side in SIDES},
    "stomach_gas": "stomach",
    **{f"colon_{part}_gas": f"colon_{part}" for part in ("ascending", "transverse", "descending")},
    "spinal_cord": "spinal_canal",
    **dict.fromkeys(("arm_muscle", "arm_bone", "table_shell", "table_foam")),
}

STRUCTURES: Mapping[int, str] = MappingProxyType(dict(enumerate(_NAMES, start=1)))
"""Anatomical name of each id in the phantom's truth; a disc is named after the vertebra above it."""

PARTS: Mapping[str, int] = MappingProxyType(
    {"air": 0, **{name: i for i, name in enumerate((*_NAMES, *_OWNER_OF_DETAIL), start=1)}}
)
"""Number of every part; a structure has the number it has in `STRUCTURES`."""


def _truth_table() -> Annotated[NDArray[np.int32], "parts"]:
    table = np.arange(len(PARTS), dtype=np.int32)
    for name, owner in _OWNER_OF_DETAIL.items():
        table[PARTS[name]] = 0 if owner is None else PARTS[owner]
    return table


TRUTH_OF_PART = _truth_table()
"""int32 (parts,): id in the truth of each part, 0 for what belongs to no structure."""
