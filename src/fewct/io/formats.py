"""The file formats, built-in ones and those of other packages, and detecting the format of a file.

A format is one `FormatSpec` in `_BUILTIN`, or one that another package declares as an entry point of the
group `fewct.formats`. What reads and writes it is imported on first use, and its library with it.
"""

import gzip
import re
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from fewct.errors import FewctWarning
from fewct.io.dicom.detection import starts_like_dicom
from fewct.runtime.entry_points import Registry

Reference = str | Callable[..., Any] | None
"""A function, or where it is: "package.module:function"; None where there is none."""

_START = 544
"""Bytes of a file that are looked at, as many as a NIfTI header has."""


@dataclass(frozen=True)
class FormatSpec:
    """A file format: how it is recognised, read and written.

    Args:
        name: What `Provenance.format` calls it, and for another package's format its entry point.
        suffixes: Endings of its files' names, in lower case.
        matches: Function (bytes) -> true or false: are these the first 544 bytes of such a file (unpacked
            if it is gzip)? None to go by the suffix only.
        read_image: Function (path) -> `CTSlice`, `CTVolume`, or a `RawImage` whose unit is yet to be guessed.
        read_labels: Function (path) -> `LabelMap`, or a `RawImage`.
        write_labels: Function (result, path) -> None, where the result is a `Segmentation` or a `LabelMap`.
        label_format: What `fewct.write` calls it, where that is not `name`.
        label_suffixes: Endings of the files written, the usual one first, where they are not `suffixes`.
    """

    name: str
    suffixes: tuple[str, ...]
    matches: Callable[[bytes], object] | None = None
    read_image: Reference = None
    read_labels: Reference = None
    write_labels: Reference = None
    label_format: str = ""
    label_suffixes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "label_format", self.label_format or self.name)
        if self.write_labels is not None:
            object.__setattr__(self, "label_suffixes", self.label_suffixes or self.suffixes)


def _bytes(pattern: bytes) -> Callable[[bytes], object]:
    return re.compile(pattern, re.DOTALL).match


# DICOM comes first: its preamble may hold a TIFF header.
_BUILTIN = (
    FormatSpec(
        "dicom",
        (".dcm", ".dicom", ".ima"),
        starts_like_dicom,  # images are read by `reading`, as a series is many files
        read_labels="fewct.io.dicom.seg_reading:read_dicom_seg",
        write_labels="fewct.io.dicom.seg_writing:write_dicom_seg",
        label_format="dicom-seg",
        label_suffixes=(".dcm",),
    ),
    FormatSpec(
        "nifti",
        (".nii", ".nii.gz"),
        _bytes(rb".{344}n[+i]1\0|.{4}n[+i]2\0"),
        "fewct.io.nifti:open_nifti",
        "fewct.io.nifti:open_nifti",
        "fewct.io.nifti:write_nifti",
        label_suffixes=(".nii.gz", ".nii"),
    ),
    FormatSpec(
        "nrrd",
        (".nrrd", ".nhdr"),
        _bytes(rb"NRRD000\d"),
        "fewct.io.itk:open_nrrd",
        "fewct.io.itk:open_nrrd",
        "fewct.io.itk:write_itk",
        label_suffixes=(".nrrd",),
    ),
    FormatSpec(
        "metaimage",
        (".mha", ".mhd"),
        _bytes(rb"(ObjectType|NDims|Comment)\s*="),
        "fewct.io.itk:open_metaimage",
        "fewct.io.itk:open_metaimage",
        "fewct.io.itk:write_itk",
        label_suffixes=(".mha",),
    ),
    FormatSpec(
        "image",
        (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp"),
        _bytes(
            rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|II[*+]\0|MM\0[*+]|BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0"
        ),
        "fewct.io.images:open_image",
        "fewct.io.images:open_label_image",
        "fewct.io.images:write_png",
        label_format="png",
        label_suffixes=(".png",),
    ),
    FormatSpec(
        "numpy",
        (".npy", ".npz"),
        _bytes(rb"\x93NUMPY"),
        "fewct.io.arrays:open_numpy",
        "fewct.io.arrays:open_numpy_labels",
        "fewct.io.arrays:write_npz",
        label_format="npz",
        label_suffixes=(".npz",),
    ),
    FormatSpec("zip", (".zip",), _bytes(rb"PK(\x03\x04|\x05\x06)")),  # of DICOM, which `reading` reads
    FormatSpec("coco", (), write_labels="fewct.io.coco:write_coco", label_suffixes=(".json",)),
)


def _check(spec: FormatSpec) -> None:
    """Raise unless an entry point is a format whose suffixes are not those of a built-in one."""
    if not isinstance(spec, FormatSpec):
        raise TypeError(f"{type(spec).__name__} instead of fewct.io.FormatSpec")
    if claim := _taken_suffix(spec, _BUILTIN):
        raise ValueError(claim)


def _taken_suffix(spec: FormatSpec, others: tuple[FormatSpec, ...]) -> str:
    """Return which suffix of a format belongs to another one, in words; "" for none."""
    for other in others:
        if shared := {*spec.suffixes, *spec.label_suffixes} & {*other.suffixes, *other.label_suffixes}:
            return f"the suffix {min(shared)}, which is that of the format {other.name}"
    return ""


FORMATS: Registry[FormatSpec] = Registry("fewct.formats", {spec.name: spec for spec in _BUILTIN}, _check)
"""Formats by name."""


@cache
def _installed() -> tuple[FormatSpec, ...]:
    """Return the formats of other packages; a warning names each one that cannot be used."""
    loaded, errors = FORMATS.load_all()
    specs: tuple[FormatSpec, ...] = ()
    reasons = [str(error) for error in errors]
    for name, spec in list(loaded.items())[len(_BUILTIN) :]:
        claim = _taken_suffix(spec, specs) if spec.name == name else f"the name {spec.name}"
        if claim:
            reasons.append(f"entry point {name} of the group {FORMATS.group}: left out, as it claims {claim}")
        else:
            specs += (spec,)
    for reason in reasons:
        warnings.warn(reason, FewctWarning, stacklevel=2)
    return specs


def all_formats() -> Iterator[FormatSpec]:
    """Yield the built-in formats, then those of other packages, which are looked for only then."""
    yield from _BUILTIN
    yield from _installed()


def load(reference: Reference) -> Callable[..., Any]:
    """Return the function of a format's `read_image`, `read_labels` or `write_labels`."""
    if callable(reference):
        return reference
    module, _, name = str(reference).partition(":")
    function: Callable[..., Any] = getattr(import_module(module), name)
    return function


def known_suffixes() -> str:
    """Return the endings of the files that can be read, for an error."""
    return ", ".join(suffix for spec in all_formats() for suffix in spec.suffixes)


def format_by_content(file: Path) -> FormatSpec | None:
    """Return the format of a file's first bytes; None if there is none, or they cannot be read."""
    try:
        with file.open("rb") as raw:
            start = raw.read(_START)
        if start.startswith(b"\x1f\x8b"):
            with gzip.open(file) as unpacked:
                start = unpacked.read(_START)
    except (OSError, EOFError, zlib.error):
        return None
    spec = next((spec for spec in all_formats() if spec.matches is not None and spec.matches(start)), None)
    return FORMATS["numpy"] if spec is not None and spec.name == "zip" and _is_npz(file) else spec


def format_by_suffix(file: Path) -> FormatSpec | None:
    """Return the format of a file's suffix, None if there is none.

    Example:
        >>> format_by_suffix(Path("scan.NII.GZ")).name
        'nifti'
    """
    name = file.name.lower()
    return next((spec for spec in all_formats() if name.endswith(spec.suffixes)), None)


def _is_npz(file: Path) -> bool:
    """Return whether a zip holds NumPy's arrays; where its directory is lost, by its suffix."""
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile):
        names = []
    return any(name.endswith(".npy") for name in names) or file.suffix.lower() == ".npz"
