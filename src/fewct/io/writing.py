"""From a result to a file, whole or not at all."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from fewct.errors import UsageError, as_labels
from fewct.io.arrays import write_npz
from fewct.io.coco import write_coco
from fewct.io.dicom import write_dicom_seg
from fewct.io.images import write_png
from fewct.io.itk import write_itk
from fewct.io.nifti import write_nifti
from fewct.types import Format, LabelMap, Provenance, Segmentation

SUFFIXES: Mapping[Format, str] = MappingProxyType(
    {
        "nifti": ".nii.gz",
        "nrrd": ".nrrd",
        "metaimage": ".mha",
        "dicom-seg": ".dcm",
        "png": ".png",
        "npz": ".npz",
        "coco": ".json",
    }
)
"""The suffix that each format's files get."""

_WRITERS: dict[Format, Callable[[Segmentation | LabelMap, Path], None]] = {
    "nifti": write_nifti,
    "nrrd": write_itk,
    "metaimage": write_itk,
    "dicom-seg": write_dicom_seg,
    "png": write_png,
    "npz": write_npz,
    "coco": write_coco,
}
_OWN_FORMATS: dict[str, Format] = {
    "dicom": "dicom-seg",
    "nifti": "nifti",
    "nrrd": "nrrd",
    "metaimage": "metaimage",
    "image": "png",
    "numpy": "npz",
}
_ALSO: dict[str, Format] = {".nii": "nifti"}


def default_format(source: Provenance | None) -> Format:
    """Return the format that a result is written in by default: the input's own kind; npz for arrays.

    Example:
        >>> default_format(None)
        'npz'
    """
    return "npz" if source is None else _OWN_FORMATS[source.format]


def write(result: Segmentation | LabelMap, path: str | Path, format: Format | None = None) -> Path:
    """Write a label map, whole or not at all, on the grid and in the place of its source.

    Args:
        result: A segmentation, or a label map alone.
        path: The file; its folder must exist. A file that is there is replaced.
        format: One of `SUFFIXES`; None for the one that the path's suffix tells.

    Returns:
        The path.

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
    by_suffix = {suffix: name for name, suffix in SUFFIXES.items()} | _ALSO
    suffix = next((suffix for suffix in by_suffix if path.name.lower().endswith(suffix)), None)
    if format is not None and format not in SUFFIXES:
        raise UsageError(
            "format", expected=", ".join(SUFFIXES), found=repr(format), fix="Choose one of them."
        )
    if suffix is None or (format is not None and by_suffix[suffix] != format):
        raise UsageError(
            path,
            expected=f"a name that ends on {SUFFIXES[format] if format else ', '.join(by_suffix)}",
            found=f"{path.name!r}",
            fix="Change the suffix or the format.",
        )
    _WRITERS[by_suffix[suffix]](replace(result, labels=as_labels(result.labels)), path)
    return path
