"""The moment that SOURCE_DATE_EPOCH names: it stands for the clock in files that must repeat.

See https://reproducible-builds.org/specs/source-date-epoch.
"""

import os
from datetime import UTC, datetime

from fewct.errors import UsageError

VARIABLE = "SOURCE_DATE_EPOCH"
_LATEST_S = 253402300799  # 9999-12-31 23:59:59, the last second that DICOM can write


def epoch_moment() -> datetime | None:
    """Return the moment of the environment variable SOURCE_DATE_EPOCH in UTC, None if it is not set or empty.

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


def check_environment() -> None:
    """Raise as `epoch_moment` does, and unset the variable where it is empty.

    NumPy reads it too, on import, and ends with a ValueError if it is no number, empty included.
    """
    if epoch_moment() is None:
        os.environ.pop(VARIABLE, None)
