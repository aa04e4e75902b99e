"""NRRD and MetaImage, through SimpleITK (the extra `itk`)."""

import re
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fewct.errors import InputError, OutputError, needs_extra
from fewct.io.atomic import atomic_path
from fewct.io.axes import arranged_image, restored_labels
from fewct.io.pixels import RawImage, unreadable
from fewct.types import Affine, LabelMap

_READERS = {"nrrd": "NrrdImageIO", "metaimage": "MetaImageIO"}
_SPACING_FIELD = re.compile(rb"^(spacings:|space directions:|ElementSpacing|ElementSize)", re.MULTILINE)


def _open(path: Path, kind: Literal["nrrd", "metaimage"]) -> RawImage:
    """Return what an NRRD or MetaImage file holds, as axial slices along the closest of its axes.

    The file is read whole, in its own number type. A header without spacing means no geometry.

    Raises:
        InputError: If the file is damaged, in colour, or has more than three dimensions.
        MissingExtraError: If SimpleITK is not installed.
    """
    with needs_extra(path, "itk"):
        sitk = import_module("SimpleITK")
    try:
        image = sitk.ReadImage(str(path), imageIO=_READERS[kind])
    except RuntimeError as error:
        raise unreadable(
            path, "a whole NRRD or MetaImage file with spacing above 0", _reason(error)
        ) from error
    ndim = image.GetDimension()
    if image.GetNumberOfComponentsPerPixel() > 1 or ndim > 3:
        raise InputError(
            path,
            expected="one slice or one volume of one value a voxel",
            found=f"size {image.GetSize()} with {image.GetNumberOfComponentsPerPixel()} values a voxel",
            fix="Split it into volumes of one value a voxel.",
        )
    stored = sitk.GetArrayFromImage(image).T
    if ndim == 2:
        stored = stored[:, :, np.newaxis]
    content = arranged_image(stored, _lps_affine(image), path, kind, ndim, (path,))
    return content if _has_spacing(path) else replace(content, geometry=None)


open_nrrd = partial(_open, kind="nrrd")
open_metaimage = partial(_open, kind="metaimage")


def write_itk(result: LabelMap, path: Path) -> None:
    """Write labels as NRRD or MetaImage on the source's own grid, whole or not at all.

    The grid is the source's axis order, shape and place. Labels become uint8, uint16 or int32, the narrowest
    that holds them. Without geometry the spacing is 1.

    Raises:
        MissingExtraError: If SimpleITK is not installed.
        OutputError: If the file cannot be written.
    """
    with needs_extra(path, "itk"):
        sitk = import_module("SimpleITK")
    data, place = restored_labels(result)
    affine = np.eye(4) if place is None else place
    source = result.source
    ndim = 2 if source and source.format in _READERS and source.stored_ndim == 2 else 3
    image = sitk.GetImageFromArray((data if ndim == 3 else data[:, :, 0]).T)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing[:ndim].tolist())
    image.SetOrigin(affine[:ndim, 3].tolist())
    image.SetDirection((affine[:ndim, :ndim] / spacing[:ndim]).ravel().tolist())
    try:
        with atomic_path(path) as temporary:
            sitk.WriteImage(image, str(temporary), useCompression=True)
    except RuntimeError as error:
        raise OutputError(
            path,
            expected="a file that can be written",
            found=_reason(error),
            fix="Free some space, or choose another folder or format.",
        ) from error


def _lps_affine(image: Any) -> Affine:
    """Return the matrix from image indices to LPS millimetres; a third axis that is missing gets 1 mm."""
    ndim = image.GetDimension()
    affine = np.eye(4)
    affine[:ndim, :ndim] = np.reshape(image.GetDirection(), (ndim, ndim)) * image.GetSpacing()
    affine[:ndim, 3] = image.GetOrigin()
    return affine


def _has_spacing(path: Path) -> bool:
    """Return whether a header gives spacing; ITK reports 1 for both answers."""
    with path.open("rb") as file:
        return _SPACING_FIELD.search(file.read(4096)) is not None


def _reason(error: RuntimeError) -> str:
    """Return what ITK says, on one line, without the place in its source."""
    said = str(error).split("ERROR:")[-1]
    return " ".join(re.sub(r"\w+\(0x[0-9a-f]+\):", "", said).split())
