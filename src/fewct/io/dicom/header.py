"""DICOM headers: the attributes of a file, read without its pixels."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.datadict import keyword_for_tag
from pydicom.errors import BytesLengthException
from pydicom.uid import UID, SegmentationStorage

from fewct.errors import InputError
from fewct.io.dicom.detection import AnyPath
from fewct.io.pixels import DAMAGED

UNREADABLE = (*DAMAGED, AttributeError, BytesLengthException, RuntimeError)
"""What pydicom, its decoders and a zip raise on files that they cannot read."""

_LABELMAP_SEGMENTATION_STORAGE = UID("1.2.840.10008.5.1.4.1.1.66.7")
_SEGMENTATIONS = (SegmentationStorage, _LABELMAP_SEGMENTATION_STORAGE)

FUNCTIONAL_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")
_TAGS = (
    *("SpecificCharacterSet", "ImageType", "SOPClassUID", "SOPInstanceUID", "Modality"),
    *("SeriesDescription", "PatientID", "SliceThickness", "SpacingBetweenSlices", "StudyInstanceUID"),
    *("SeriesInstanceUID", "SeriesNumber", "InstanceNumber", "ImagePositionPatient"),
    *("ImageOrientationPatient", "FrameOfReferenceUID", "SamplesPerPixel", "PhotometricInterpretation"),
    *("NumberOfFrames", "Rows", "Columns", "PixelSpacing", "BitsAllocated", "BitsStored"),
    *("PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit", "RescaleIntercept"),
    *("RescaleSlope", "RescaleType"),
)


def reason(error: Exception) -> str:
    """Return what an error says, on one line; its kind where it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


class _LibraryWarnings:
    """Suppresses pydicom's warnings about odd headers; what matters is checked here.

    Slices are read by several threads, and filters of warnings belong to all of them: the first thread sets
    them, the last one puts back what was there.
    """

    def __init__(self) -> None:
        self._lock, self._threads, self._before = Lock(), 0, warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            self._threads += 1
            if self._threads == 1:
                self._before = warnings.catch_warnings()
                self._before.__enter__()
                warnings.simplefilter("ignore")

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._threads -= 1
            if self._threads == 0:
                self._before.__exit__(None, None, None)


library_warnings_suppressed = _LibraryWarnings()


@dataclass(frozen=True, eq=False)
class DicomHeader:
    """The header of a DICOM file.

    Args:
        dataset: Its attributes without pixels, only those that reading needs.
    """

    file: AnyPath
    dataset: Dataset

    def text(self, keyword: str) -> str:
        """Return an attribute as text, "" where absent or empty."""
        return text(self.dataset, keyword, self.file)

    def integer(self, keyword: str, default: int) -> int:
        """Return an attribute as a whole number, `default` where absent or empty.

        Raises:
            InputError: If the attribute is something else.
        """
        values = numbers(self.dataset, keyword, 1, self.file)
        return default if values is None else int(values[0])

    @property
    def sop_class_uid(self) -> str:
        """Kind of object, from the file's meta information where the data set has none."""
        return self.text("SOPClassUID") or str(self.dataset.file_meta.get("MediaStorageSOPClassUID", ""))

    @property
    def sop_class_name(self) -> str:
        """Name of that kind, such as "CT Image Storage"; "" where it is none of the standard's."""
        with library_warnings_suppressed:
            name = UID(self.sop_class_uid).name
        return "" if name == self.sop_class_uid else name

    @property
    def frames(self) -> int:
        """Number of frames; 1 for classic images."""
        return max(self.integer("NumberOfFrames", 1), 1)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns), 0 where absent."""
        return self.integer("Rows", 0), self.integer("Columns", 0)

    @property
    def is_segmentation(self) -> bool:
        """Whether it is a DICOM-SEG."""
        return self.sop_class_uid in _SEGMENTATIONS

    @property
    def is_localizer(self) -> bool:
        """Whether it is a localizer (scout, topogram) and no slice of a scan."""
        return "LOCALIZER" in self.text("ImageType").upper()


def read_header(file: AnyPath, extra: Sequence[str] = ()) -> DicomHeader:
    """Read a DICOM file up to its pixels.

    Args:
        extra: Keywords of attributes to keep besides the usual ones.

    Raises:
        InputError: If it is no DICOM, broken before anything could be read, or holds a value in its header
            that cannot be decoded.
    """
    try:
        with library_warnings_suppressed, file.open("rb") as stream:
            dataset = dcmread(stream, force=True, stop_before_pixels=True, specific_tags=[*_TAGS, *extra])
    except UNREADABLE as error:
        raise InputError(
            file,
            expected="a readable DICOM file",
            found=reason(error),
            fix="It is cut short or damaged: copy or export it again.",
        ) from error
    if not dataset:
        raise InputError(
            file,
            expected="a readable DICOM file",
            found="no DICOM attributes",
            fix="It is cut short, damaged or no DICOM: copy or export it again.",
        )
    with library_warnings_suppressed:
        for part in (dataset.file_meta, dataset):
            for tag in list(part.keys()):
                _value(part, keyword_for_tag(tag), file)
    return DicomHeader(file, dataset)


def text(dataset: Dataset, keyword: str, file: AnyPath) -> str:
    """Return an attribute as text, "" where absent or empty.

    Raises:
        InputError: If the attribute cannot be decoded.
    """
    value = _value(dataset, keyword, file)
    return "" if value is None else str(value).strip()


def numbers(dataset: Dataset, keyword: str, count: int, file: AnyPath) -> NDArray[np.float64] | None:
    """Return an attribute's numbers.

    Returns:
        float64 (count,), or None where the attribute is absent or empty.

    Raises:
        InputError: If there are more or fewer numbers, or values that are no finite numbers.
    """
    value = _value(dataset, keyword, file)
    if value is None or value == "" or value == []:
        return None
    try:
        values = np.atleast_1d(np.array(value, dtype=np.float64))
    except (TypeError, ValueError):
        values = np.empty(0)
    if values.shape == (count,) and np.isfinite(values).all():
        return values
    raise InputError(
        file,
        expected=f"{count} finite number{'s' if count > 1 else ''} as {keyword}",
        found=str(value),
        fix="Repair the file's header, or export it again.",
    )


def _value(dataset: Dataset, keyword: str, file: AnyPath) -> object:
    """Return an attribute's value, None where absent; pydicom decodes it when it is first asked for."""
    try:
        return dataset.get(keyword)
    except UNREADABLE as error:
        raise InputError(
            file,
            expected=f"a valid {keyword} in the DICOM header",
            found=reason(error),
            fix="Repair the file's header, or export it again.",
        ) from error
