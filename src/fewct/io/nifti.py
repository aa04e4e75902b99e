"""NIfTI: any orientation in, the file's own grid out."""

import gzip
import math
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, cast

import nibabel as nib
import numpy as np
from nibabel.arrayproxy import ArrayProxy
from nibabel.spatialimages import HeaderDataError, SpatialImage
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from fewct.errors import InputError
from fewct.io.atomic import atomic_path
from fewct.io.axes import arranged_image, restored_labels
from fewct.io.pixels import DAMAGED, RawImage, unreadable
from fewct.types import Affine, LabelMap, Provenance

# NIfTI's patient space is RAS, ours is LPS; the same matrix leads there and back.
_RAS_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])

_MM = {"unknown": 1.0, "mm": 1.0, "meter": 1000.0, "micron": 0.001}
_MAX_DEFLATE_RATIO = 1032
_CHUNK = 1 << 24

# Fields of a NIfTI header that hold the place of its grid.
_PLACE_FIELDS = (
    *("pixdim", "xyzt_units", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d"),
    *("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"),
)


def open_nifti(path: Path) -> RawImage:
    """Return what a NIfTI file holds, as axial slices along the closest of its axes.

    An uncompressed file is mapped and read slice by slice. A compressed one is unpacked once, now,
    in the file's own number type, since gzip has no random access.

    Raises:
        InputError: If the file is damaged, holds more than one volume, or has spacing that is not above 0.
    """
    header = read_header(path)
    try:
        _check_header(header, path)
        slope, intercept = header.get_slope_inter()
        scaling = (1.0 if slope is None else float(slope), 0.0 if intercept is None else float(intercept))
        return _raw_image(_values(path, header), header, scaling, path, (path,))
    except (*DAMAGED, HeaderDataError) as error:
        raise unreadable(path, "a whole NIfTI file", error) from error


def open_nibabel(image: Any) -> RawImage:
    """Return what an image of nibabel's holds, by the same rules as the NIfTI file that it would be saved to.

    Values are not rounded to the type in the header, as saving does. Those of a file that nibabel has not
    read yet are read slice by slice where nibabel can.

    Args:
        image: A `SpatialImage`, of NIfTI or of another of nibabel's formats.

    Raises:
        InputError: If it has no grid in space, or as `open_nifti`.
    """
    path = Path((image.get_filename() if isinstance(image, SpatialImage) else None) or "nibabel image")
    try:
        kind = type(image) if isinstance(image, nib.Nifti1Pair) else nib.Nifti1Image
        header = kind(image.dataobj, image.affine, kind.header_class.from_header(image.header)).header
        _check_header(header, path)
    except (*DAMAGED, AttributeError, HeaderDataError) as error:
        raise unreadable(path, "an image of nibabel that NIfTI can hold", error) from error
    stored = image.dataobj
    if isinstance(stored, ArrayProxy):
        return _raw_image(stored.get_unscaled(), header, (float(stored.slope), float(stored.inter)), path)
    return _raw_image(np.asanyarray(stored), header, (1.0, 0.0), path)


def _raw_image(
    stored: NDArray[Any], header: Any, scaling: tuple[float, float], path: Path, files: tuple[Path, ...] = ()
) -> RawImage:
    """Return stored values, flat or in the header's shape, as axial slices; `scaling` is slope, intercept."""
    shape = header.get_data_shape()
    stored = stored.reshape((*shape, 1)[:3], order="F")
    content = arranged_image(stored, _lps_affine(header), path, "nifti", len(shape), files)
    return replace(content, slope=scaling[0], intercept=scaling[1])


def _check_header(header: Any, path: Path) -> None:
    """Raise unless a header describes one slice or volume with spacing above 0."""
    shape = header.get_data_shape()
    if not 2 <= len(shape) <= 7 or min(shape) < 1 or math.prod(shape[3:]) > 1:
        raise InputError(
            path,
            expected="one slice or one volume",
            found=f"an array of shape {tuple(shape)}",
            fix="Split it into volumes, for example with fslsplit or nibabel.four_to_three.",
        )
    spacing = np.asarray(header["pixdim"][1 : 1 + min(len(shape), 3)], dtype=np.float64)
    if not (np.isfinite(spacing) & (spacing > 0)).all():
        raise InputError(
            path,
            expected="spacing above 0 mm",
            found=f"spacing {tuple(spacing.tolist())}",
            fix="Set the right spacing (pixdim) in the file's header.",
        )


def read_header(path: Path) -> Any:
    """Return the header of a NIfTI file as nibabel's header object, before nibabel's silent repairs.

    Raises:
        InputError: If it is not a single-file NIfTI.
    """
    try:
        with _open(path) as file:
            start = file.read(544)
            file.seek(0)
            if start[344:348] == b"n+1\0":
                return nib.Nifti1Header.from_fileobj(file, check=False)
            if start[4:8] == b"n+2\0":
                return nib.Nifti2Header.from_fileobj(file, check=False)
    except (*DAMAGED, HeaderDataError, WrapStructError) as error:
        raise unreadable(path, "a whole NIfTI file", error) from error
    raise unreadable(path, "a NIfTI file of one piece (.nii or .nii.gz)", "other content")


def write_nifti(result: LabelMap, path: Path) -> None:
    """Write labels as NIfTI on the source's own grid, whole or not at all.

    The grid is the source's axis order, shape and place. The place is copied from the header of a NIfTI
    source, so its affine comes back bit for bit; from other sources it is written as sform and, where the
    axes are at right angles, as qform too. Without geometry both codes are 0. Labels become uint8, uint16
    or int32, the narrowest that holds them.

    Raises:
        OutputError: If the file cannot be written.
    """
    image = _nifti_image(result)
    with atomic_path(path) as temporary:
        image.to_filename(temporary)


def _nifti_image(result: LabelMap) -> Any:
    """Return labels as an image of nibabel's."""
    data, affine = restored_labels(result)
    source = result.source
    if source and source.format == "nifti" and source.stored_ndim:
        data = data.reshape((*data.shape, 1, 1, 1, 1)[: source.stored_ndim])
    if affine is None:
        return nib.Nifti1Image(data, None)
    header = _source_header(source, data.shape, affine)
    if header is not None:
        kind: Any = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
        return kind(data, header.get_best_affine(), header)
    image = nib.Nifti1Image(data, _RAS_LPS @ affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(_RAS_LPS @ affine, code="scanner")
    unit_axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    if np.allclose(unit_axes.T @ unit_axes, np.eye(3), atol=1e-5):
        image.set_qform(_RAS_LPS @ affine, code="scanner")
    return image


def _source_header(source: Provenance | None, shape: tuple[int, ...], affine: Affine) -> Any:
    """Return a header with the place of the source's, if the source is a NIfTI file of the same grid."""
    if source is None or source.format != "nifti" or not source.path.is_file():
        return None
    stored = read_header(source.path)
    same_shape = stored.get_data_shape() == shape
    if not same_shape or not np.allclose(_lps_affine(stored), affine, atol=1e-3):
        return None
    header = type(stored)()
    for name in _PLACE_FIELDS:
        header[name] = stored[name]
    return header


def _lps_affine(header: Any) -> Affine:
    """Return the matrix from file indices to LPS millimetres; a third axis that is missing gets 1 mm."""
    header = header.copy()
    header.check_fix()
    affine = np.array(header.get_best_affine(), dtype=np.float64)
    affine[:3] *= _MM[header.get_xyzt_units()[0]]
    if len(header.get_data_shape()) == 2 and not affine[:3, 2].any():
        normal = np.cross(affine[:3, 0], affine[:3, 1])
        affine[:3, 2] = normal / max(float(np.linalg.norm(normal)), 1e-12)
    return _RAS_LPS @ affine


def _values(path: Path, header: Any) -> NDArray[Any]:
    """Return the stored numbers, flat: mapped from the file, or unpacked if it is compressed."""
    dtype = header.get_data_dtype()
    count = math.prod(header.get_data_shape())
    offset = int(header.get_data_offset())
    compressed = _is_gzip(path)
    if count * dtype.itemsize > path.stat().st_size * (_MAX_DEFLATE_RATIO if compressed else 1):
        raise ValueError("a file too short for its image")
    if not compressed:
        return np.memmap(path, dtype, "r", offset, (count,))
    values = np.empty(count, dtype)
    octets = values.view(np.uint8)
    filled = 0
    with gzip.open(path) as file:
        file.seek(offset)
        while filled < octets.size:
            chunk = file.read(_CHUNK)
            if not chunk:
                raise ValueError("a file too short for its image")
            chunk = chunk[: octets.size - filled]
            octets[filled : filled + len(chunk)] = np.frombuffer(chunk, np.uint8)
            filled += len(chunk)
        file.read(1)  # past the end, where gzip compares its checksum
    return values


def _open(path: Path) -> BinaryIO:
    """Open a file for reading, through gzip if it is compressed."""
    return cast(BinaryIO, gzip.open(path)) if _is_gzip(path) else path.open("rb")


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"
