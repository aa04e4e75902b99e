"""DICOM series: grouping images, and choosing one series."""

from collections.abc import Sequence
from pathlib import Path

from fewct.errors import InputError
from fewct.io.dicom.header import DicomHeader

Series = list[DicomHeader]


def group_series(headers: Sequence[DicomHeader]) -> list[Series]:
    """Group images into series, in the order in which they come.

    Images without a SeriesInstanceUID (de-identification often blanks it) belong together when patient,
    study, frame of reference, series number and description, orientation and size agree. A file of several
    frames is a series of its own.
    """
    groups: dict[tuple[object, ...], Series] = {}
    for header in headers:
        own = str(header.file) if header.frames > 1 else ""
        groups.setdefault((own, *_identity(header)), []).append(header)
    return list(groups.values())


def _identity(header: DicomHeader) -> tuple[object, ...]:
    uid = header.text("SeriesInstanceUID")
    if uid:
        return (uid,)
    keywords = ("PatientID", "StudyInstanceUID", "FrameOfReferenceUID", "SeriesNumber", "SeriesDescription")
    rest = (header.text("ImageOrientationPatient"), header.shape, header.is_localizer)
    return (*(header.text(keyword) for keyword in keywords), *rest)


def without_localizers(groups: Sequence[Series]) -> tuple[list[Series], Series]:
    """Separate localizers (scouts, topograms) from the series of scans, unless there is nothing else.

    Returns:
        The series without localizers, and the localizers left out.
    """
    scans = [[header for header in group if not header.is_localizer] for group in groups]
    if not any(scans):
        return list(groups), []
    return [group for group in scans if group], [h for group in groups for h in group if h.is_localizer]


def choose_series(groups: Sequence[Series], wanted: str, subject: Path) -> list[Series]:
    """Return the series that the user names.

    Args:
        wanted: A SeriesInstanceUID, the start of one, or a series description (in any case).

    Returns:
        The series that `wanted` names in full, else the only one whose UID starts so; several only where
        files of several frames share a UID.

    Raises:
        InputError: If it names none, or several.
    """
    key = wanted.strip().lower()
    full = [g for g in groups if key in (_uid(g).lower(), _description(g).lower())]
    chosen = full or [g for g in groups if key and _uid(g).startswith(key)]
    if len(chosen) == 1 or (chosen and len({_uid(g) for g in chosen} - {""}) == 1):
        return chosen
    raise InputError(
        subject,
        expected=f"one series whose UID or description is {wanted!r}",
        found=listed_series(chosen) if chosen else f"none among {listed_series(groups)}",
        fix="Choose one by its UID.",
    )


def listed_series(groups: Sequence[Series]) -> str:
    """Return series for people, one a line: UID, description and number of images."""
    lines = [
        f"  {_uid(g) or '(no UID)'}  {_description(g) or '(no description)'}  {_count(g)}" for g in groups
    ]
    return "\n".join([f"{len(groups)} series:", *lines, ""])


def _uid(group: Series) -> str:
    return group[0].text("SeriesInstanceUID")


def _description(group: Series) -> str:
    return group[0].text("SeriesDescription")


def _count(group: Series) -> str:
    images = sum(header.frames for header in group)
    return f"{images} image{'s' if images > 1 else ''}"
