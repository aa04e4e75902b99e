"""Appearance of tissues on CT for rendering: Hounsfield units, texture and inner structure."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

Build: TypeAlias = Literal["solid", "bone", "hollow", "lung", "kidney", "heart"]


@dataclass(frozen=True)
class SyntheticTissue:
    """How a structure is drawn.

    Args:
        plain_hu: Range of its mean without contrast agent.
        enhanced_hu: Range of its mean at full enhancement.
        texture_hu: Standard deviation of its smooth texture.
        build: "solid"; "bone" with a dense shell; "hollow" with a wall, fluid, gas or contrast agent;
            "lung" with vessels; "kidney" with a cortex; "heart", where chambers may be drawn.
    """

    plain_hu: tuple[float, float]
    enhanced_hu: tuple[float, float]
    texture_hu: float = 6.0
    build: Build = "solid"


MUSCLE = SyntheticTissue((45, 65), (50, 80), 8)
FAT_HU = (-125.0, -80.0)
SKIN_HU = (-10.0, 60.0)
_BONE = SyntheticTissue((120, 320), (120, 320), 50, "bone")
_ARTERY = SyntheticTissue((30, 50), (120, 380), 4)
_VEIN = SyntheticTissue((30, 50), (70, 220), 6)
_BOWEL = SyntheticTissue((0, 45), (5, 60), 15, "hollow")

_BLOOD = SyntheticTissue((25, 50), (40, 420), 8)  # of a chamber: darker or brighter than the muscle around

# The first entry whose key occurs in the lower-case name of a structure holds.
_TISSUES: tuple[tuple[tuple[str, ...], SyntheticTissue], ...] = (
    (("muscle", "autochthon", "gluteus", "iliopsoas"), MUSCLE),
    (("disc", "disk"), SyntheticTissue((60, 120), (60, 120), 8)),
    (("myocard",), SyntheticTissue((35, 60), (70, 150), 7)),
    (("ventric", "atrium"), _BLOOD),
    (("artery", "aorta", "trunk", "carotid"), _ARTERY),
    (("vein", "vena", "jugular"), _VEIN),
    (("ureter", "renal pelvis"), SyntheticTissue((0, 30), (5, 350), 5)),
    (("lung",), SyntheticTissue((-900, -760), (-900, -760), 25, "lung")),
    (("trachea", "airway", "sinus"), SyntheticTissue((-1000, -960), (-1000, -960), 5)),
    (("cartilage",), SyntheticTissue((60, 140), (60, 140), 25)),
    (("rib", "vertebra", "hip", "sacrum", "femur", "scapula", "clavic", "sternum", "pelvis"), _BONE),
    (("cervical", "thoracic", "lumbar", "atlas", "axis", "hyoid", "patella", "tibia", "fibula"), _BONE),
    (("tooth", "teeth"), SyntheticTissue((900, 1500), (900, 1500), 90)),
    (("humerus", "skull", "mandible", "cochlea"), SyntheticTissue((200, 700), (200, 700), 90, "bone")),
    (("colon", "ileum", "small_bowel", "duodenum", "stomach"), _BOWEL),
    (("esophagus", "larynx"), SyntheticTissue((25, 45), (35, 70), 10)),
    (("spinal",), SyntheticTissue((15, 40), (15, 45), 5)),
    (("kidney",), SyntheticTissue((25, 40), (90, 230), 7, "kidney")),
    (("liver",), SyntheticTissue((35, 68), (80, 130), 6)),
    (("spleen",), SyntheticTissue((40, 58), (90, 150), 6)),
    (("pancreas",), SyntheticTissue((25, 50), (70, 120), 14)),
    (
        ("adrenal", "thyroid", "parotid", "submandibular", "lacrimal"),
        SyntheticTissue((10, 60), (40, 140), 10),
    ),
    (("gallbladder", "urinary_bladder"), SyntheticTissue((-2, 22), (-2, 25), 4)),
    (("prostate",), SyntheticTissue((30, 50), (50, 90), 10)),
    (("heart",), SyntheticTissue((35, 50), (90, 280), 14, "heart")),
    (("atrial",), SyntheticTissue((35, 50), (90, 280), 14)),
    (("brain",), SyntheticTissue((25, 42), (30, 50), 5)),
    (("orbit", "lens", "optic"), SyntheticTissue((0, 40), (0, 40), 8)),
)
_OTHER = SyntheticTissue((10, 60), (40, 120), 8)


def tissue_of(name: str) -> SyntheticTissue:
    """Return the tissue of a structure by its name in a label map of anatomy.

    Example:
        >>> tissue_of("rib_left_7").build
        'bone'
    """
    lower = name.lower()
    return next((tissue for keys, tissue in _TISSUES if any(key in lower for key in keys)), _OTHER)


def mean_hu(tissue: SyntheticTissue, enhancement: float, rng: np.random.Generator) -> float:
    """Draw a structure's mean in Hounsfield units.

    Args:
        enhancement: Contrast agent in [0, 1]: 0 none, 1 full.
        rng: Source of randomness.
    """
    share = np.clip(enhancement + rng.normal(0, 0.15), 0, 1)
    return float((1 - share) * rng.uniform(*tissue.plain_hu) + share * rng.uniform(*tissue.enhanced_hu))
