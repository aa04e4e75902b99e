"""Packed NPZ files of the training data, read with errors that name the part."""

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewct.errors import InputError


def read_npz(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Read arrays of an NPZ file.

    Args:
        path: The file.
        names: Arrays that it must have; others are read, too.

    Raises:
        InputError: If the file is absent, damaged, or lacks an array.
    """
    try:
        with path.open("rb") as stream, np.load(stream) as file:
            arrays = {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise missing_part(path) from None
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            path,
            expected="an NPZ file of arrays",
            found=str(error),
            fix="It is damaged: copy it again.",
        ) from error
    missing = [name for name in names if name not in arrays]
    if missing:
        raise InputError(
            path,
            expected=f"the arrays {', '.join(names)}",
            found=f"no {', '.join(missing)}",
            fix="Copy the file again: without these arrays it is not known what is labelled.",
        )
    return arrays


def npz_files(folder: Path, pattern: str = "*.npz") -> list[Path]:
    """Return the NPZ files of a folder in order of name.

    Raises:
        InputError: If there is none.
    """
    files = sorted(folder.glob(pattern))
    if not files:
        raise missing_part(folder / pattern)
    return files


def missing_part(path: Path) -> InputError:
    """Return the error for a part of the data that is not there."""
    return InputError(
        path,
        expected="a part of the training data",
        found="no such file",
        fix="Copy this part beside the others; its README names what belongs to it.",
    )
