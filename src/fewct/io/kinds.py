"""Which format family a file belongs to: by content first, by suffix second."""

import gzip
import re
import zipfile
import zlib
from pathlib import Path
from typing import Literal

from fewct.io.dicom import is_dicom

Kind = Literal["dicom", "nifti", "nrrd", "metaimage", "image", "numpy", "zip"]

_SUFFIXES: dict[str, Kind] = {
    **dict.fromkeys((".dcm", ".dicom", ".ima"), "dicom"),
    **dict.fromkeys((".nii", ".nii.gz"), "nifti"),
    **dict.fromkeys((".nrrd", ".nhdr"), "nrrd"),
    **dict.fromkeys((".mha", ".mhd"), "metaimage"),
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"), "image"),
    **dict.fromkeys((".npy", ".npz"), "numpy"),
    ".zip": "zip",
}

KNOWN_SUFFIXES = ", ".join(_SUFFIXES)

# The first bytes of each family. DICOM stands first: before its mark it may hold a TIFF header.
_CONTENTS: dict[Kind, re.Pattern[bytes]] = {
    "dicom": re.compile(rb".{128}DICM", re.DOTALL),
    "nifti": re.compile(rb".{344}n[+i]1\0|.{4}n[+i]2\0", re.DOTALL),
    "nrrd": re.compile(rb"NRRD000\d"),
    "metaimage": re.compile(rb"(ObjectType|NDims|Comment)\s*="),
    "image": re.compile(
        rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|II[*+]\0|MM\0[*+]|BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0",
        re.DOTALL,
    ),
    "numpy": re.compile(rb"\x93NUMPY"),
    "zip": re.compile(rb"PK(\x03\x04|\x05\x06)"),
}


def kind_by_content(file: Path) -> Kind | None:
    """Return the family that a file's first bytes tell, None if they tell none or cannot be read."""
    try:
        with file.open("rb") as raw:
            start = raw.read(544)
        if start.startswith(b"\x1f\x8b"):
            with gzip.open(file) as unpacked:
                start = unpacked.read(544)
    except (OSError, EOFError, zlib.error):
        return None
    for kind, pattern in _CONTENTS.items():
        if pattern.match(start):
            return "numpy" if kind == "zip" and _is_npz(file) else kind
    return "dicom" if is_dicom(file) else None


def kind_by_suffix(file: Path) -> Kind | None:
    """Return the family that a file's name tells, None if it tells none.

    Example:
        >>> kind_by_suffix(Path("scan.NII.GZ")), kind_by_suffix(Path("notes.txt"))
        ('nifti', None)
    """
    suffixes = [suffix.lower() for suffix in file.suffixes]
    return _SUFFIXES.get("".join(suffixes[-2:]), _SUFFIXES.get("".join(suffixes[-1:])))


def _is_npz(file: Path) -> bool:
    """Tell whether a zip holds NumPy's arrays; where its list is lost, its name must do."""
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile):
        names = []
    return any(name.endswith(".npy") for name in names) or file.suffix.lower() == ".npz"
