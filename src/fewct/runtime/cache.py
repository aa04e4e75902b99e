"""The folder for what fewct keeps between runs."""

import os
import sys
from pathlib import Path

from fewct.errors import UsageError

VARIABLE = "FEWCT_CACHE_DIR"


def cache_folder() -> Path:
    """Return the cache folder; it need not exist.

    Returns:
        FEWCT_CACHE_DIR if it is set; else `fewct` in the platform's usual place: XDG_CACHE_HOME or `~/.cache`
        on Linux, `~/Library/Caches` on macOS, `%LOCALAPPDATA%` on Windows.

    Raises:
        UsageError: If FEWCT_CACHE_DIR is not set, and the user has no home folder.
    """
    named = os.environ.get(VARIABLE)
    return Path(named).absolute() if named else _usual_place() / "fewct"


def _usual_place() -> Path:
    """Return the folder in which programs of this platform keep their caches."""
    variable = "LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME"
    if sys.platform != "darwin" and Path(os.environ.get(variable, "")).is_absolute():
        return Path(os.environ[variable])
    try:
        home = Path.home()
    except RuntimeError as error:
        raise UsageError(
            VARIABLE,
            expected="a folder for weights, as this user has no home folder",
            found="none",
            fix=f"Set the environment variable {VARIABLE} to a folder.",
        ) from error
    below = {"win32": "AppData/Local", "darwin": "Library/Caches"}
    return home / below.get(sys.platform, ".cache")
