"""How many threads fewct uses."""

import os

from fewct.errors import UsageError


def thread_count() -> int:
    """Return the number of threads to use: FEWCT_NUM_THREADS, or all cores of this machine.

    Raises:
        UsageError: If FEWCT_NUM_THREADS is not a whole number of 1 or more.
    """
    text = os.environ.get("FEWCT_NUM_THREADS", "")
    if not text:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(
            "FEWCT_NUM_THREADS",
            expected="a whole number of 1 or more",
            found=repr(text),
            fix="Unset it to use all cores.",
        )
    return int(text)
