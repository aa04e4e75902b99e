"""Detecting DICOM files by their first bytes, without importing pydicom for other files."""

import struct
import zipfile
import zlib
from pathlib import Path
from typing import TypeAlias

AnyPath: TypeAlias = Path | zipfile.Path


def is_dicom(file: AnyPath) -> bool:
    """Return whether a file, or a member of a zip, is DICOM; False where it cannot be opened."""
    try:
        with file.open("rb") as stream:
            return starts_like_dicom(stream.read(132))
    except (OSError, zlib.error, zipfile.BadZipFile):
        return False


def starts_like_dicom(start: bytes) -> bool:
    """Return whether the first 132 bytes or more of a file are those of DICOM.

    "DICM" is at byte 128 or, in a file without preamble, the first bytes are an early element of group
    0002 or 0008, in any of the three encodings, as pydicom would read it.
    """
    if start[128:132] == b"DICM":
        return True
    if len(start) < 8:
        return False
    for order in "<>":
        group, element, length = struct.unpack(f"{order}HHL", start[:8])
        if group in (0x0002, 0x0008) and element <= 0x0018:
            from pydicom.valuerep import VR

            if length <= 64 or start[4:6].decode("latin-1") in VR.__members__:
                return True
    return False
