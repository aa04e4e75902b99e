"""Writing DICOM-SEG: label maps as segmentations that refer to their source images."""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import highdicom
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid
from pydicom.valuerep import DSfloat

from fewct._version import __version__
from fewct.errors import OutputError
from fewct.io.atomic import atomic_path
from fewct.io.dicom.dates import date_text, source_moment, time_text
from fewct.io.dicom.header import library_warnings_suppressed, read_header, reason
from fewct.io.dicom.planes import Plane, planes_of
from fewct.io.dicom.reference import reference_datasets
from fewct.io.dicom.stack import SAME_PLACE_MM, Stack, stack_planes
from fewct.runtime.source_date import epoch_moment
from fewct.types import AnyLabels, Geometry, LabelMap

_DESCRIPTION = "fewct structures"
_SERIES_NUMBER = 9000
_MOST_SEGMENTS = 65535
_STRUCTURE = Code("91723000", "SCT", "Anatomical Structure")
_ALGORITHM_FAMILY = Code("123110", "DCM", "Artificial Intelligence")


def write_dicom_seg(result: LabelMap, path: Path) -> None:
    """Write a label map as a binary DICOM-SEG that refers to its source images.

    Segments are numbered 1, 2, ... in the order of the structures' ids; the segment's label holds the id,
    "Structure 17". Frames without a structure are left out. As DICOM knows no segmentation without segments,
    an empty label map becomes one empty segment called "No structures".

    The same result gives the same file, byte for byte. Its UIDs are derived from labels, source, date and
    version. Date and time of its content are those of the environment variable SOURCE_DATE_EPOCH (seconds
    since 1970, UTC), which then also tells when the instance was created; else those of the latest source
    image (see `dates.source_moment`), and the file does not tell when it was created.

    Args:
        result: Labels read from DICOM images; the images must still be where they were.

    Raises:
        OutputError: If the labels do not come from DICOM, are not on the source's slices, have more than
            65535 structures, or the source's header cannot carry a segmentation.
        InputError: If a source image can no longer be read.
        UsageError: If SOURCE_DATE_EPOCH is set to something else than such a number.
    """
    created = epoch_moment()
    planes = _planes_under(result, path)
    datasets = reference_datasets(planes)
    ids, frames = _segments(_in_file_order(result.labels, planes), path)
    try:
        with library_warnings_suppressed:
            segmentation = _segmentation(datasets, frames, ids, created)
            if len(planes) == 1 and result.geometry is not None:
                # highdicom says 1 mm of any single slice
                measures = segmentation.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
                measures.SpacingBetweenSlices = DSfloat(result.geometry.spacing_mm[0], auto_format=True)
            with atomic_path(path) as temporary:
                segmentation.save_as(temporary)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise OutputError(
            path,
            expected="source images whose headers can carry a DICOM-SEG",
            found=reason(error),
            fix="Write NIfTI instead (--format nifti).",
        ) from error


def _planes_under(result: LabelMap, path: Path) -> list[Plane]:
    """Return the source's plane under each slice of the labels."""
    source = result.source
    if source is None or source.format != "dicom":
        raise OutputError(
            path,
            expected="labels drawn on DICOM images, to which a DICOM-SEG refers",
            found="no source" if source is None else f"a source of format {source.format}",
            fix="Write NIfTI instead (--format nifti).",
        )
    with library_warnings_suppressed:
        headers = [read_header(file) for file in source.files]
        stack = stack_planes([plane for header in headers for plane in planes_of(header)], source.path)
    slices = 1 if result.labels.ndim == 2 else len(result.labels)
    shape = result.labels.shape[-2:]
    planes = _all_planes(stack, result.geometry)
    if len(planes) != slices:
        planes = _planes_at(stack, result.geometry, slices)
    if len(planes) != slices or shape != stack.planes[0].header.shape:
        raise OutputError(
            path,
            expected="labels on the slices of their source, {} x {} pixels each".format(
                *stack.planes[0].header.shape
            ),
            found=f"{slices} slices of {shape[0]} x {shape[1]}",
            fix="Keep geometry and source of what was read, or write NIfTI instead (--format nifti).",
        )
    return planes


def _all_planes(stack: Stack, geometry: Geometry | None) -> list[Plane]:
    """Return all planes, in the order in which a geometry runs through them."""
    planes, places = list(stack.planes), [plane.place for plane in (stack.planes[0], stack.planes[-1])]
    if geometry is not None and places[0] is not None and places[1] is not None:
        along = places[1].position - places[0].position
        if float(along @ geometry.affine[:3, 0]) < 0:
            planes.reverse()
    return planes


def _planes_at(stack: Stack, geometry: Geometry | None, slices: int) -> list[Plane]:
    """Return the planes at the places of the slices of a geometry, where there is one."""
    if geometry is None:
        return []
    found = []
    for origin in (geometry.affine[:3, 3] + k * geometry.affine[:3, 0] for k in range(slices)):
        for plane in stack.planes:
            if plane.place is not None and np.abs(plane.place.position - origin).max() < SAME_PLACE_MM:
                found.append(plane)
                break
    return found


def _in_file_order(labels: AnyLabels, planes: Sequence[Plane]) -> NDArray[np.int32]:
    """Return labels a source image, or where one file has several frames, labels a frame."""
    stacked = labels.reshape(len(planes), *labels.shape[-2:])
    frames = planes[0].header.frames
    if frames == 1:
        return stacked
    in_file = np.zeros((frames, *stacked.shape[1:]), dtype=np.int32)
    in_file[[plane.frame for plane in planes]] = stacked
    return in_file


def _segments(labels: NDArray[np.int32], path: Path) -> tuple[list[int], NDArray[np.integer]]:
    """Return the ids of the structures, and labels renumbered 1, 2, ... in their order."""
    ids = np.unique(np.concatenate([np.unique(plane) for plane in labels]))
    ids = ids[ids > 0]
    if len(ids) > _MOST_SEGMENTS:
        raise OutputError(
            path,
            expected=f"at most {_MOST_SEGMENTS} structures in a DICOM-SEG",
            found=f"{len(ids)} structures",
            fix="Raise min_area, or write NIfTI instead (--format nifti).",
        )
    numbers = np.empty(labels.shape, dtype=np.min_scalar_type(len(ids)))
    for plane, numbered in zip(labels, numbers, strict=True):
        numbered[...] = np.where(plane > 0, np.searchsorted(ids, plane) + 1, 0)
    return [int(id_) for id_ in ids], numbers


def _segmentation(
    datasets: Sequence[Dataset],
    frames: NDArray[np.integer],
    ids: Sequence[int],
    created: datetime | None,
) -> highdicom.seg.Segmentation:
    """Return the DICOM object of numbered frames (frames, rows, columns) on their source images.

    Args:
        created: When it was created; None to leave that out.
    """
    moment = created or source_moment(datasets)
    made_from = [
        __version__,
        *(str(dataset.SOPInstanceUID) for dataset in datasets),
        hashlib.sha256(frames.data).hexdigest(),
        *map(str, ids),
        moment.isoformat(),
    ]
    segmentation = highdicom.seg.Segmentation(
        source_images=datasets,
        pixel_array=frames,
        segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=_descriptions(ids),
        series_instance_uid=generate_uid(entropy_srcs=["series", *made_from]),
        series_number=_SERIES_NUMBER,
        sop_instance_uid=generate_uid(entropy_srcs=["instance", *made_from]),
        instance_number=1,
        manufacturer="fewct",
        manufacturer_model_name="fewct",
        software_versions=__version__,
        device_serial_number="1",
        content_label="STRUCTURES",
        content_description=_DESCRIPTION,
        series_description=_DESCRIPTION,
    )
    _set_moments(segmentation, moment, created)
    dimensions = generate_uid(entropy_srcs=["dimensions", *made_from])
    for item in (*segmentation.DimensionOrganizationSequence, *segmentation.DimensionIndexSequence):
        item.DimensionOrganizationUID = dimensions
    return segmentation


def _set_moments(segmentation: Dataset, content: datetime, created: datetime | None) -> None:
    """Replace the dates that highdicom takes from the clock; those of creation go if `created` is None."""
    segmentation.ContentDate, segmentation.ContentTime = date_text(content), time_text(content)
    del segmentation.InstanceCreationDate, segmentation.InstanceCreationTime
    equipment = [
        item
        for item in segmentation.ContributingEquipmentSequence
        if item.get("ManufacturerModelName") == "highdicom"
    ]
    for item in equipment:
        del item.ContributionDateTime
    if created is not None:
        day, clock = date_text(created), time_text(created)
        segmentation.InstanceCreationDate, segmentation.InstanceCreationTime = day, clock
        for item in equipment:
            item.ContributionDateTime = f"{day}{clock}+0000"


def _descriptions(ids: Sequence[int]) -> list[highdicom.seg.SegmentDescription]:
    algorithm = highdicom.AlgorithmIdentificationSequence(
        name="fewct", family=_ALGORITHM_FAMILY, version=__version__
    )
    return [
        highdicom.seg.SegmentDescription(
            segment_number=number,
            segment_label=label,
            segmented_property_category=_STRUCTURE,
            segmented_property_type=_STRUCTURE,
            algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
        )
        for number, label in enumerate([f"Structure {id_}" for id_ in ids] or ["No structures"], start=1)
    ]
