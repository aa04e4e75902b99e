"""The image planes of a DICOM file: position, orientation, spacing and rescaling of each."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage

from fewct.errors import InputError
from fewct.io.dicom.header import (
    FUNCTIONAL_GROUPS,
    DicomHeader,
    library_warnings_suppressed,
    numbers,
    read_header,
    text,
)
from fewct.types import Unit

_CT_STORAGE = (CTImageStorage, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage)


@dataclass(frozen=True, eq=False)
class Place:
    """Position and orientation of a plane in the patient.

    Args:
        position: float64 (3,): centre of the first pixel in LPS millimetres.
        axes: float64 (2, 3): unit vectors along growing rows and along growing columns.
    """

    position: NDArray[np.float64]
    axes: NDArray[np.float64]

    @property
    def normal(self) -> NDArray[np.float64]:
        """float64 (3,): the direction in which slices ascend, DICOM's row cosines x column cosines."""
        down, right = self.axes
        return np.cross(right, down)


@dataclass(frozen=True, eq=False)
class Plane:
    """One image plane: a classic DICOM image, or one frame of a multi-frame file.

    Args:
        header: Header of the file that holds it.
        frame: Its frame in the file, from 0.
        place: None where position or orientation are unknown.
        spacing_mm: Distance between neighbouring (rows, columns); None where unknown.
        step_mm: Distance to the next slice in the header, checked when used; None where absent.
        thickness_mm: Thickness of the slice, likewise.
        slope: HU (or grey) values are `slope` * stored value + `intercept`.
        intercept: See `slope`.
        unit: "hu" where the header declares rescaled values to be Hounsfield units.
    """

    header: DicomHeader
    frame: int
    place: Place | None
    spacing_mm: tuple[float, float] | None
    step_mm: float | None
    thickness_mm: float | None
    slope: float
    intercept: float
    unit: Unit

    @property
    def name(self) -> str:
        """The file's name, with the frame counted from 1 where there are several."""
        frames = self.header.frames
        return self.header.file.name + (f" (frame {self.frame + 1})" if frames > 1 else "")


def planes_of(header: DicomHeader) -> list[Plane]:
    """Return the planes of a file in stored order: one, or one a frame of a multi-frame file.

    The header of a multi-frame file is read again with its functional groups.

    Raises:
        InputError: If a number in the header is malformed, the pixel spacing is not above 0, or the
            orientation is not two unit vectors at right angles.
    """
    if "NumberOfFrames" not in header.dataset:
        return [_plane(header, 0, [header.dataset])]
    whole = read_header(header.file, extra=FUNCTIONAL_GROUPS)
    shared, per_frame = (list(whole.dataset.get(keyword) or []) for keyword in FUNCTIONAL_GROUPS)
    with library_warnings_suppressed:
        return [
            _plane(header, frame, [*per_frame[frame : frame + 1], *shared, header.dataset])
            for frame in range(header.frames)
        ]


def check_holds_image(header: DicomHeader) -> None:
    """Raise unless a file holds a grey image that is no segmentation.

    Raises:
        InputError: If the file is a DICOM-SEG, has no rows and columns, or holds colours.
    """
    if header.is_segmentation:
        raise InputError(
            header.file,
            expected="an image",
            found="a DICOM segmentation",
            fix="Give the image that was segmented; read segmentations with fewct.read_labels.",
        )
    rows, columns = header.shape
    modality = header.text("Modality") or "unknown"
    if rows < 1 or columns < 1:
        raise InputError(
            header.file,
            expected="a DICOM image",
            found=f"no pixels ({rows} rows, {columns} columns, modality {modality})",
            fix="Give the images themselves. If this is one, it is cut short: copy or export it again.",
        )
    colours = header.text("PhotometricInterpretation")
    if header.integer("SamplesPerPixel", 1) != 1 or not colours.startswith("MONOCHROME"):
        raise InputError(
            header.file,
            expected="a grey DICOM image (MONOCHROME1 or MONOCHROME2)",
            found=f"colours ({colours or 'photometric interpretation missing'})",
            fix="Give the original CT image, not a screenshot or a fused picture.",
        )


def _plane(header: DicomHeader, frame: int, groups: list[Dataset]) -> Plane:
    """Return a plane from the data sets that describe it, the most specific first, the header last.

    Of several frames, the header's own position is not that of each.
    """
    file = header.file
    single = header.frames == 1
    position = _item(groups if single else groups[:-1], "PlanePositionSequence", "ImagePositionPatient")
    orientation = _item(groups, "PlaneOrientationSequence", "ImageOrientationPatient")
    measures = _item(groups, "PixelMeasuresSequence", "PixelSpacing")
    rescale = _item(groups, "PixelValueTransformationSequence", "RescaleSlope")
    slope = numbers(rescale, "RescaleSlope", 1, file)
    intercept = numbers(rescale, "RescaleIntercept", 1, file)
    return Plane(
        header,
        frame,
        _place(position, orientation, header),
        _spacing(measures, header),
        _length(measures, "SpacingBetweenSlices", header),
        _length(measures, "SliceThickness", header),
        1.0 if slope is None else float(slope[0]),
        0.0 if intercept is None else float(intercept[0]),
        _unit(rescale, header),
    )


def _item(groups: list[Dataset], sequence: str, keyword: str) -> Dataset:
    """Return the data set that holds an attribute: a group's item, or a group itself; empty if none does."""
    for group in groups:
        items = group.get(sequence)
        item = items[0] if items else group
        if keyword in item:
            return item
    return Dataset()


def _spacing(measures: Dataset, header: DicomHeader) -> tuple[float, float] | None:
    values = numbers(measures, "PixelSpacing", 2, header.file)
    if values is None:
        return None
    if values.min() <= 0:
        raise InputError(
            header.file,
            expected="PixelSpacing above 0 mm",
            found=", ".join(f"{value:g}" for value in values),
            fix="Repair the spacing in the file's header, or export it again.",
        )
    return float(values[0]), float(values[1])


def _length(measures: Dataset, keyword: str, header: DicomHeader) -> float | None:
    """Return a length from the measures, or else from the file as a whole; None if absent."""
    for dataset in (measures, header.dataset):
        value = numbers(dataset, keyword, 1, header.file)
        if value is not None:
            return float(value[0])
    return None


def _place(position: Dataset, orientation: Dataset, header: DicomHeader) -> Place | None:
    corner = numbers(position, "ImagePositionPatient", 3, header.file)
    cosines = numbers(orientation, "ImageOrientationPatient", 6, header.file)
    if corner is None or cosines is None:
        return None
    axes = np.stack([cosines[3:], cosines[:3]])
    lengths = np.linalg.norm(axes, axis=1)
    if np.abs(lengths - 1).max() > 0.01 or abs(axes[0] @ axes[1]) > 0.01:
        raise InputError(
            header.file,
            expected="ImageOrientationPatient of two unit vectors at right angles",
            found=", ".join(f"{value:g}" for value in cosines),
            fix="Repair the orientation in the file's header, or export it again.",
        )
    return Place(corner, axes / lengths[:, None])


def _unit(rescale: Dataset, header: DicomHeader) -> Unit:
    """Return "hu" if the rescale type says so or, where it is silent, for CT storage with a rescale slope."""
    if "RescaleSlope" not in rescale or "RescaleIntercept" not in rescale:
        return "grey"
    kind = text(rescale, "RescaleType", header.file).upper()
    is_ct = header.sop_class_uid in _CT_STORAGE or (
        not header.sop_class_uid and header.text("Modality") == "CT"
    )
    return "hu" if kind == "HU" or (not kind and is_ct) else "grey"
