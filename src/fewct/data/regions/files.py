"""Packed NPZ files of the training data, read with errors that name the part, and neighbours of slices."""

import zipfile
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from fewct.errors import InputError

MAX_GAP_MM = 10.0
"""Slices further apart are no neighbours."""


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


def neighbours(
    patient: Annotated[NDArray[np.str_], "slices"],
    height: Annotated[NDArray[np.floating], "slices"],
    max_step: float,
) -> tuple[Annotated[NDArray[np.int32], "slices"], Annotated[NDArray[np.float32], "slices"]]:
    """Find the neighbour of each slice towards the head.

    Args:
        patient: Whose slice it is.
        height: Position along the body, rising towards the head.
        max_step: Largest difference of heights between neighbours.

    Returns:
        Index of the neighbour, -1 for none, and the difference of heights, NaN for none.
    """
    above = np.full(len(patient), -1, dtype=np.int32)
    step = np.full(len(patient), np.nan, dtype=np.float32)
    order = np.lexsort((height, patient))
    for low, high in pairwise(order):
        distance = float(height[high] - height[low])
        if patient[low] == patient[high] and 0 < distance <= max_step:
            above[low], step[low] = high, distance
    return above, step
