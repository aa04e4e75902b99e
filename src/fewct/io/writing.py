"""From a result to a file, whole or not at all."""

from dataclasses import replace
from pathlib import Path

from fewct.errors import UsageError, as_labels
from fewct.io.formats import FORMATS, FormatSpec, all_formats, load
from fewct.types import LabelMap, Provenance


def default_format(source: Provenance | None) -> str:
    """Return the format that a result is written in by default: the input's own kind; npz for arrays.

    Example:
        >>> default_format(None)
        'npz'
    """
    spec = None if source is None else FORMATS.find(source.format, "Provenance.format")
    return "npz" if spec is None or spec.write_labels is None else spec.label_format


def label_suffix(format: str) -> str:
    """Return the suffix that files of a format of label maps get.

    Raises:
        UsageError: If there is no such format.

    Example:
        >>> label_suffix("nifti")
        '.nii.gz'
    """
    return _spec(format).label_suffixes[0]


def write(result: LabelMap, path: str | Path, format: str | None = None) -> Path:
    """Write a label map, whole or not at all, on the grid and in the place of its source.

    Args:
        result: A segmentation, or a label map alone.
        path: The file; its folder must exist. A file that is there is replaced.
        format: "nifti", "nrrd", "metaimage", "dicom-seg", "png", "npz", "coco" or that of another package;
            None for the one of the path's suffix.

    Raises:
        UsageError: If there is no such format, or the suffix belongs to another.
        OutputError: If the format cannot hold the result, or the system refuses.
        InputError: If the labels are no label map.
        MissingExtraError: For NRRD and MetaImage without SimpleITK.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> labels = LabelMap(np.eye(4, dtype=np.int32))
        >>> write(labels, Path(tempfile.mkdtemp()) / "diagonal.png").name
        'diagonal.png'
    """
    path = Path(path)
    asked = None if format is None else _spec(format)
    name = path.name.lower()
    spec = next((spec for spec in all_formats() if name.endswith(spec.label_suffixes)), None)
    if spec is None or asked not in (None, spec):
        suffixes = [suffix for known in all_formats() for suffix in known.label_suffixes]
        raise UsageError(
            path,
            expected=f"a name that ends on {asked.label_suffixes[0] if asked else ', '.join(suffixes)}",
            found=f"{path.name!r}",
            fix="Change the suffix or the format.",
        )
    load(spec.write_labels)(replace(result, labels=as_labels(result.labels)), path)
    return path


def _spec(format: str) -> FormatSpec:
    """Return the format of label maps that has a name."""
    for spec in all_formats():
        if spec.label_format == format and spec.label_suffixes:
            return spec
    names = ", ".join(spec.label_format for spec in all_formats() if spec.label_suffixes)
    raise UsageError("format", expected=names, found=repr(format), fix="Choose one of them.")
