"""Finished pieces of long work, kept on disk so that a killed run goes on from them."""

import hashlib
import json
import shutil
from dataclasses import asdict
from pathlib import Path

from fewct import __version__
from fewct.methods import Method

RESUME_FOLDER = ".fewct_resume"


def resume_key(method: Method, input_sha256: str) -> str:
    """Return a name for what a method makes of an input; a change to anything that matters changes it.

    Args:
        method: A configured method.
        input_sha256: Hash of the input.

    Returns:
        64 hexadecimal digits.
    """
    made_from = [__version__, method.name, asdict(method), method.weights_sha256, input_sha256]
    return hashlib.sha256(json.dumps(made_from).encode()).hexdigest()


def forget(folder: Path) -> None:
    """Delete what was kept in a folder, and the `RESUME_FOLDER` around it when nothing else is in it."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder.parent.is_dir() and not any(folder.parent.iterdir()):
        folder.parent.rmdir()
