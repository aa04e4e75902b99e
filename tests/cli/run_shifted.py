"""Runs commands of fewct under a clock that is set forward, each with a number of threads of its own.

    python run_shifted.py SECONDS JSON

JSON is a list of [threads, [word, ...]]. A command that fails ends the script with its exit code.
"""

import datetime
import json
import logging
import os
import sys
import time


def shift_clock(seconds: float) -> None:
    """Set forward what Python code calls the time: the functions of `time`, and `now` and `today`."""
    logging.Formatter.converter = staticmethod(logging.Formatter.converter)
    epoch, epoch_ns, local, utc, text = time.time, time.time_ns, time.localtime, time.gmtime, time.strftime
    time.time = lambda: epoch() + seconds
    time.time_ns = lambda: epoch_ns() + int(seconds * 1e9)
    time.localtime = lambda at=None: local(time.time() if at is None else at)
    time.gmtime = lambda at=None: utc(time.time() if at is None else at)
    time.strftime = lambda pattern, at=None: text(pattern, at or time.localtime())
    datetime.datetime, datetime.date = _shifted_datetime(seconds), _shifted_date(seconds)


def _kind(real: type) -> type:
    """Return a metaclass for which objects of the real class are objects of its classes."""
    return type("Kind", (type,), {"__instancecheck__": lambda _, one: isinstance(one, real)})


def _shifted_datetime(seconds: float) -> type[datetime.datetime]:
    real, ahead = datetime.datetime, datetime.timedelta(seconds=seconds)

    class Shifted(real, metaclass=_kind(real)):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:
            return real.now(tz) + ahead

        @classmethod
        def utcnow(cls) -> datetime.datetime:
            return cls.now(datetime.UTC).replace(tzinfo=None)

        @classmethod
        def today(cls) -> datetime.datetime:
            return cls.now()

    return Shifted


def _shifted_date(seconds: float) -> type[datetime.date]:
    real = datetime.date

    class Shifted(real, metaclass=_kind(real)):
        @classmethod
        def today(cls) -> datetime.date:
            return real.today() + datetime.timedelta(seconds=seconds)

    return Shifted


def main() -> None:
    shift_clock(float(sys.argv[1]))
    from fewct.cli import main as run

    for threads, words in json.loads(sys.argv[2]):
        os.environ["FEWCT_NUM_THREADS"] = str(threads)
        if code := run(words):
            sys.exit(code)


if __name__ == "__main__":
    main()
