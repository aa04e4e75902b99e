"""Date and time of source images, as a DICOM-SEG takes them, and how DICOM writes such."""

from collections.abc import Iterable
from datetime import date, datetime, time

from pydicom import Dataset
from pydicom.valuerep import DA, TM

_NO_DATE = datetime(1970, 1, 1)
_KINDS = ("Content", "Acquisition", "Series", "Study")


def source_moment(datasets: Iterable[Dataset]) -> datetime:
    """Return the latest date and time of some images, in their own time zone.

    Of an image the content's date counts; where it has none, or none that can be read, that of acquisition,
    series or study. A time that is absent is 0:00. Images without any date give 1970-01-01, as DICOM does not
    allow a segmentation without a date.
    """
    return max((moment for dataset in datasets if (moment := _moment(dataset))), default=_NO_DATE)


def date_text(moment: datetime) -> str:
    """Return a date as DICOM writes it.

    Example:
        >>> date_text(datetime(2004, 1, 19, 7, 27, 30))
        '20040119'
    """
    return moment.date().isoformat().replace("-", "")


def time_text(moment: datetime) -> str:
    """Return a time as DICOM writes it.

    Example:
        >>> time_text(datetime(2004, 1, 19, 7, 27, 30, 5000))
        '072730.005000'
    """
    return moment.time().isoformat().replace(":", "")


def _moment(dataset: Dataset) -> datetime | None:
    """Return the date and time of an image, None if it has no date that can be read."""
    for kind in _KINDS:
        day = _parsed(DA, dataset.get(f"{kind}Date"))
        if isinstance(day, date):
            clock = _parsed(TM, dataset.get(f"{kind}Time"))
            return datetime.combine(day, clock if isinstance(clock, time) else time())
    return None


def _parsed(kind: type[DA] | type[TM], value: object) -> DA | TM | None:
    """Return a value as a date or time, None if it is absent or cannot be read."""
    try:
        return kind("" if value is None else str(value))
    except ValueError:
        return None
