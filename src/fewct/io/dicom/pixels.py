"""The pixels of one DICOM plane."""

import zipfile
from collections.abc import Callable
from io import BytesIO
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.pixels.utils import pixel_array
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from fewct.errors import InputError
from fewct.io.dicom.detection import AnyPath
from fewct.io.dicom.header import UNREADABLE, DicomHeader, library_warnings_suppressed, numbers, reason
from fewct.io.dicom.planes import Plane
from fewct.types import Image

Opener = Callable[[], BinaryIO]


def opener(header: DicomHeader) -> Opener:
    """Return a function that opens a DICOM file for reading at any place.

    A zip can only be read onwards, so a multi-frame file in it is unpacked into memory, once.
    """
    file: AnyPath = header.file
    if isinstance(file, zipfile.Path):
        if header.frames > 1:
            content = file.read_bytes()
            return lambda: BytesIO(content)
        return lambda: BytesIO(file.read_bytes())
    return lambda: file.open("rb")


def read_plane(plane: Plane, open_file: Opener | None = None) -> Image:
    """Read the pixels of one plane; nothing else of the file is decoded.

    MONOCHROME1 is about display, not about the meaning of values: Hounsfield units stay as they are,
    grey values are inverted so that larger is brighter.

    Args:
        open_file: Opens its file; made by `opener` if None.

    Returns:
        float32 (rows, columns) in the plane's unit, NaN where pixels are padding.

    Raises:
        InputError: If the file has no pixels, is cut short, or is compressed in a way that is not known.
    """
    header = plane.header
    try:
        with library_warnings_suppressed, (open_file or opener(header))() as stream:
            stored = _stored_values(plane, stream)
    except UNREADABLE as error:
        raise InputError(
            header.file,
            expected="a DICOM image with complete pixels",
            found=reason(error),
            fix="It is cut short, damaged or compressed in an unknown way: copy or export it again.",
        ) from error
    return _rescaled(plane, stored)


def _stored_values(plane: Plane, stream: BinaryIO) -> NDArray[np.generic]:
    """Decode one frame. Files of several frames are read frame by frame, others whole."""
    if plane.header.frames > 1:
        return pixel_array(stream, index=plane.frame)
    dataset = dcmread(stream, force=True)
    if "TransferSyntaxUID" not in dataset.file_meta:
        is_implicit, is_little_endian = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if is_little_endian else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if is_implicit else explicit
    return pixel_array(dataset, index=0)


def _rescaled(plane: Plane, stored: NDArray[np.generic]) -> Image:
    """Return stored values in the plane's unit, NaN where they are padding."""
    header = plane.header
    pixels = stored.astype(np.float32)
    if plane.unit == "grey" and header.text("PhotometricInterpretation") == "MONOCHROME1":
        signed = header.integer("PixelRepresentation", 0) == 1
        pixels = (-1 if signed else 2 ** header.integer("BitsStored", 16) - 1) - pixels
    pixels = pixels * np.float32(plane.slope) + np.float32(plane.intercept)
    pixels[_is_padding(header, stored)] = np.nan
    return pixels


def _is_padding(header: DicomHeader, stored: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Mark stored values that the header calls padding.

    Headers often give a negative padding value as an unsigned one; both wrap to the pixels' own type.
    """
    value = numbers(header.dataset, "PixelPaddingValue", 1, header.file)
    if value is None:
        return np.zeros(stored.shape, dtype=np.bool_)
    limit = numbers(header.dataset, "PixelPaddingRangeLimit", 1, header.file)
    ends = np.array([value[0], value[0] if limit is None else limit[0]])
    low, high = np.sort(ends.astype(np.int64).astype(stored.dtype))
    return np.asarray((stored >= low) & (stored <= high))
