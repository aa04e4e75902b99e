"""Date and time of a DICOM-SEG: from SOURCE_DATE_EPOCH or from its source images, never from the clock."""

import os
from collections.abc import Iterable
from datetime import UTC, date, datetime, time

from pydicom import Dataset
from pydicom.valuerep import DA, TM

from fewct.errors import UsageError

VARIABLE = "SOURCE_DATE_EPOCH"
_LATEST_S = 253402300799  # 9999-12-31 23:59:59, the last second that DICOM can write
_NO_DATE = datetime(1970, 1, 1)
_KINDS = ("Content", "Acquisition", "Series", "Study")


def epoch_moment() -> datetime | None:
    """Return the moment of the environment variable SOURCE_DATE_EPOCH in UTC, None if it is not set.

    Raises:
        UsageError: If it is not a whole number of seconds, 0 or more, up to the year 9999.
    """
    text = os.environ.get(VARIABLE, "")
    if not text:
        return None
    if not (text.isascii() and text.isdecimal()) or len(text) > 20 or int(text) > _LATEST_S:
        raise UsageError(
            VARIABLE,
            expected=f"a whole number of seconds since 1970, from 0 to {_LATEST_S}",
            found=repr(text),
            fix="Unset it to take the dates of the source images.",
        )
    return datetime.fromtimestamp(int(text), UTC)


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
