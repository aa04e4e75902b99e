"""Data sets that a DICOM-SEG can refer to: attributes that de-identification blanked are filled in."""

import hashlib
import warnings
from collections.abc import Sequence

from pydicom import Dataset, dcmread
from pydicom.uid import generate_uid

from fewct.errors import FewctWarning, InputError
from fewct.io.dicom.detection import AnyPath
from fewct.io.dicom.header import UNREADABLE, library_warnings_suppressed, reason
from fewct.io.dicom.planes import Plane

_MAY_BE_EMPTY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID"),
    *("StudyDate", "StudyTime", "ReferringPhysicianName"),
)
_STUDY = ("PatientID", "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "FrameOfReferenceUID")
_SERIES = (*_STUDY, "Modality", "SeriesDate", "SeriesTime", "SeriesNumber", "SeriesDescription")


def reference_datasets(planes: Sequence[Plane]) -> list[Dataset]:
    """Read again, without pixels, the files that hold some planes, ready to be referred to.

    Empty instance and class UIDs are taken from the file's meta information. Empty study, series and frame
    of reference UIDs are derived from the rest of the header, the same each time.

    Args:
        planes: Planes of one series in slice order.

    Returns:
        One data set a file, in the order of the planes. A warning names the UIDs that were derived.

    Raises:
        InputError: If a file can no longer be read.
    """
    with library_warnings_suppressed:
        datasets = [_read(file) for file in dict.fromkeys(plane.header.file for plane in planes)]
        derived = _fill_shared_uids(datasets, placed=planes[0].place is not None)
        for dataset in datasets:
            _fill_missing(dataset, planes[0])
    if derived:
        warnings.warn(
            f"{planes[0].header.file}: the images have no {', '.join(derived)}; derived from their headers",
            FewctWarning,
            stacklevel=3,
        )
    return datasets


def _read(file: AnyPath) -> Dataset:
    try:
        with file.open("rb") as stream:
            dataset = dcmread(stream, force=True, stop_before_pixels=True)
    except UNREADABLE as error:
        raise InputError(
            file,
            expected="the image that was read before",
            found=reason(error),
            fix="Put it back where it was.",
        ) from error
    meta = dataset.file_meta
    if not dataset.get("SOPClassUID"):
        dataset.SOPClassUID = meta.get("MediaStorageSOPClassUID", "")
    if not dataset.get("SOPInstanceUID"):
        uid = meta.get("MediaStorageSOPInstanceUID")
        dataset.SOPInstanceUID = uid or generate_uid(
            entropy_srcs=["instance", hashlib.sha256(file.read_bytes()).hexdigest()]
        )
    return dataset


def _fill_shared_uids(datasets: Sequence[Dataset], placed: bool) -> list[str]:
    """Derive the UIDs that all images of a series share where they are empty; return their keywords."""
    first = datasets[0]
    derived = []
    for keyword, sources in (
        ("StudyInstanceUID", _STUDY),
        ("SeriesInstanceUID", _SERIES),
        *([("FrameOfReferenceUID", _SERIES)] if placed else []),
    ):
        if first.get(keyword):
            continue
        described = [str(first.get(source) or "") for source in sources]
        uid = generate_uid(entropy_srcs=[keyword, *(described if any(described) else [first.SOPInstanceUID])])
        for dataset in datasets:
            setattr(dataset, keyword, uid)
        derived.append(keyword)
    return derived


def _fill_missing(dataset: Dataset, plane: Plane) -> None:
    """Fill what a segmentation copies from its source and de-identification or old software leaves out."""
    for keyword in _MAY_BE_EMPTY:
        if keyword not in dataset:
            setattr(dataset, keyword, "")
    if dataset.PatientSex not in ("M", "F", "O"):
        dataset.PatientSex = ""
    if dataset.get("SliceThickness") is None:
        dataset.SliceThickness = plane.thickness_mm or 1.0
    shared = dataset.get("SharedFunctionalGroupsSequence")
    frames = dataset.get("PerFrameFunctionalGroupsSequence")
    if shared and frames:
        for keyword in ("PixelMeasuresSequence", "PlaneOrientationSequence"):
            if keyword not in shared[0] and keyword in frames[0]:
                setattr(shared[0], keyword, frames[0][keyword].value)
