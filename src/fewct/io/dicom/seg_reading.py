"""Reading DICOM-SEG: the frames of a segmentation become a label map."""

import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.pixels.utils import iter_pixels

from fewct.errors import FewctWarning, InputError
from fewct.io.dicom.header import (
    FUNCTIONAL_GROUPS,
    UNREADABLE,
    DicomHeader,
    library_warnings_suppressed,
    read_header,
    reason,
)
from fewct.io.dicom.pixels import opener
from fewct.io.dicom.planes import Plane, planes_of
from fewct.io.dicom.stack import SAME_PLACE_MM, STEP_TOLERANCE, check_alike, geometry_of
from fewct.io.discovered import safe_name
from fewct.types import Geometry, LabelMap, Provenance

_MOST_SEGMENTS = 65535
_SEGMENT_TAGS = ("SegmentSequence", "SegmentationType", "MaximumFractionalValue")


def read_dicom_seg(file: Path) -> LabelMap:
    """Read a DICOM-SEG as a label map.

    Ids come from segment labels such as "Structure 17" where every segment has one, else they are the
    segment numbers. The slices are those from the first frame to the last, on an even grid of the header's
    slice spacing or else of the smallest distance between frames; slices without segments at either end of
    the source are not in the file. Fractional segments are cut at half. Where segments overlap, the one that
    comes later in the file wins, with a warning.

    Args:
        file: A DICOM-SEG: binary, fractional or label map.

    Returns:
        int32 labels (slices, rows, columns), or (rows, columns) if all frames are in one place.

    Raises:
        InputError: If it is no DICOM-SEG, is damaged, or lacks the positions of its frames.
    """
    header = read_header(file, extra=(*FUNCTIONAL_GROUPS, *_SEGMENT_TAGS))
    if not header.is_segmentation:
        raise InputError(
            file,
            expected="a DICOM segmentation",
            found=f"a DICOM object of modality {header.text('Modality') or 'unknown'}",
            fix="Give a DICOM-SEG, or the label map in another format; read images with fewct.read.",
        )
    planes = planes_of(header)
    check_alike(planes, file)
    try:
        with library_warnings_suppressed:
            ids = _ids(header)
            segments = [_segment_of(header, frame) for frame in range(len(planes))]
    except UNREADABLE as error:
        raise InputError(
            file,
            expected="a DICOM segmentation that tells each frame's segment",
            found=reason(error),
            fix="Write it again with the software that made it.",
        ) from error
    slots, geometry = _grid(planes, segments)
    labels = _merged(header, slots, segments, ids)
    source = Provenance(file, "dicom", safe_name(file.stem), (file,))
    return LabelMap(labels if len(labels) > 1 else labels[0], geometry, source)


def _ids(header: DicomHeader) -> NDArray[np.int32]:
    """Return the id of each segment number, 0 for numbers that are not described."""
    items = list(header.dataset.SegmentSequence)
    named = [re.fullmatch(r"Structure (\d+)", str(item.get("SegmentLabel", "")).strip()) for item in items]
    labelled = [int(match[1]) for match in named if match and int(match[1]) <= np.iinfo(np.int32).max]
    ids = np.zeros(_MOST_SEGMENTS + 1, dtype=np.int32)
    for index, item in enumerate(items):
        number = int(item.SegmentNumber)
        ids[number] = labelled[index] if len(set(labelled)) == len(items) else number
    return ids


def _segment_of(header: DicomHeader, frame: int) -> int:
    """Return the segment number of a frame; 0 in a label map, whose frames hold all segments."""
    if header.text("SegmentationType") == "LABELMAP":
        return 0
    per_frame = header.dataset.get("PerFrameFunctionalGroupsSequence") or []
    groups: list[Dataset] = [*per_frame[frame : frame + 1], *header.dataset.SharedFunctionalGroupsSequence]
    holders = [group for group in groups if "SegmentIdentificationSequence" in group]
    return int(holders[0].SegmentIdentificationSequence[0].ReferencedSegmentNumber)


def _grid(planes: Sequence[Plane], segments: Sequence[int]) -> tuple[NDArray[np.int64], Geometry | None]:
    """Return the slice that each frame belongs to, from 0 upwards, and the geometry of the slices."""
    places = [plane.place for plane in planes if plane.place is not None]
    if len(places) < len(planes):
        if len(set(segments)) < len(segments):
            raise InputError(
                planes[0].header.file,
                expected="a position in every frame",
                found=f"{len(planes) - len(places)} of {len(planes)} frames without",
                fix="Write it again with the software that made it.",
            )
        return np.zeros(len(planes), dtype=np.int64), geometry_of(planes[0], planes[0], 1)
    distances = np.array([place.position @ places[0].normal for place in places])
    slots = _slots(distances, planes[0])
    first, last = planes[int(distances.argmin())], planes[int(distances.argmax())]
    return slots, geometry_of(first, last, int(slots.max()) + 1)


def _slots(distances: NDArray[np.float64], plane: Plane) -> NDArray[np.int64]:
    """Return the index of each distance on the coarsest even grid that the header and the gaps allow."""
    ascending = np.sort(distances)
    gaps = np.diff(ascending)
    gaps = gaps[gaps > SAME_PLACE_MM]
    if not gaps.size:
        return np.zeros(len(distances), dtype=np.int64)
    extent = ascending[-1] - ascending[0]
    for step in (plane.step_mm, float(gaps.min())):
        if step is not None and 0 < step <= extent * (1 + STEP_TOLERANCE):
            exact = (distances - ascending[0]) / extent * round(extent / step)
            slots: NDArray[np.int64] = np.round(exact).astype(np.int64)
            if np.abs(exact - slots).max() < STEP_TOLERANCE and len(np.unique(slots)) == gaps.size + 1:
                return slots
    warnings.warn(
        f"{plane.header.file}: uneven slice spacing of {gaps.min():g} to {gaps.max():g} mm; "
        f"the geometry has the average of {gaps.mean():g} mm",
        FewctWarning,
        stacklevel=4,
    )
    starts = ascending[np.concatenate([[True], np.diff(ascending) > SAME_PLACE_MM])]
    places: NDArray[np.int64] = np.searchsorted(starts, distances, side="right") - 1
    return places


def _frames(header: DicomHeader, stream: BinaryIO) -> Iterator[NDArray[Any]]:
    """Yield the frames' stored values (rows, columns), one after the other.

    Frames of single bits need not start at a byte, which pydicom 3.0 reads only all at once.
    """
    dataset = dcmread(stream, force=True)
    if dataset.BitsAllocated != 1 or dataset.file_meta.TransferSyntaxUID.is_compressed:
        yield from iter_pixels(dataset)
        return
    packed = np.frombuffer(dataset.PixelData, dtype=np.uint8)
    size = dataset.Rows * dataset.Columns
    for start in range(0, size * header.frames, size):
        bits = np.unpackbits(packed[start // 8 : (start + size + 7) // 8], bitorder="little")
        yield bits[start % 8 : start % 8 + size].reshape(header.shape)


def _merged(
    header: DicomHeader, slots: NDArray[np.int64], segments: Sequence[int], ids: NDArray[np.int32]
) -> NDArray[np.int32]:
    """Return the label map (slices, rows, columns); pixels are decoded frame by frame."""
    labels = np.zeros((int(slots.max()) + 1, *header.shape), dtype=np.int32)
    half = header.integer("MaximumFractionalValue", 1) / 2
    overlaps = 0
    try:
        with library_warnings_suppressed, opener(header)() as stream:
            for slot, segment, pixels in zip(slots, segments, _frames(header, stream), strict=True):
                values = ids[pixels] if segment == 0 else np.where(pixels >= half, ids[segment], 0)
                labelled = values > 0
                overlaps += int(np.count_nonzero(labels[slot][labelled]))
                labels[slot][labelled] = values[labelled]
    except UNREADABLE as error:
        raise InputError(
            header.file,
            expected="a DICOM segmentation with complete pixels",
            found=reason(error),
            fix="It is cut short or damaged: copy or export it again.",
        ) from error
    if overlaps:
        warnings.warn(
            f"{header.file}: segments overlap on {overlaps} pixels; the later segment in the file is kept",
            FewctWarning,
            stacklevel=3,
        )
    return labels
