"""Patients that weights and settings are chosen on, held out of training."""

import zlib

HELD_OUT_OF_FIVE = 1
SAME_PERSON = {"pt_293": "pt_36", "pt_111": "pt_32"}
"""Numbers of OpenKBP that stand for one person."""
_ALWAYS = {
    "chd68": ("1003", "1006"),
    "openkbp": ("pt_212", "pt_233"),
    "openkbp_dense": ("pt_212", "pt_233"),
    "acrin_flt_breast": ("013",),
    "lung_fused_ct_path": ("lungfcp_01_0001",),
    "anatomy": ("headneck_03", "headneck_19"),
}
_BY_FIFTHS = ("openkbp", "tcga_luad_lusc")
_TRAINED_ON = frozenset(
    f"pt_{number}" for number in (29, 36, 47, 50, 111, 131, 150, 165, 185, 293, 295, 316, 32)
)
"""People with dense truth for training, whose other slices must not be held out."""


def is_held_out(folder: str, patient: str) -> bool:
    """Tell whether a patient of a folder is held out of training.

    Of folders with many patients one in five is, by a checksum of the patient's name, so that a new patient
    changes nothing for the others.

    Args:
        folder: Name of the folder, such as "chd68".
        patient: As the folder names it: the array `patient`, or the file's name.

    Example:
        >>> is_held_out("chd68", "1003"), is_held_out("chd68", "1001")
        (True, False)
    """
    if patient in _ALWAYS.get(folder, ()):
        return True
    if folder not in _BY_FIFTHS or patient in _TRAINED_ON:
        return False
    person = SAME_PERSON.get(patient, patient)
    return zlib.crc32(person.encode()) % 5 < HELD_OUT_OF_FIVE
