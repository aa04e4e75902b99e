"""Label maps of real anatomy without images, from which synthetic CT is rendered."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from fewct.data.held_out import is_held_out
from fewct.data.regions.files import npz_files, read_npz
from fewct.errors import InputError

COMPLETE = ("trunk_",)
"""Beginnings of the names of maps in which all structures are labelled."""


@dataclass(frozen=True, eq=False)
class AnatomyMap:
    """A label map of a part of a person.

    Args:
        name: Name of its file, without suffix.
        labels: uint8 (slices, rows, columns), 0 for none.
        names: Of each label.
        spacing_mm: Distance of slices, of rows, and of columns.
        complete: Whether all structures are labelled; if not, 0 means unknown.
    """

    name: str
    labels: Annotated[NDArray[np.uint8], "slices rows columns"]
    names: dict[int, str]
    spacing_mm: tuple[float, float, float]
    complete: bool


def read_anatomy(path: Path, complete: bool) -> AnatomyMap:
    """Read a packed label map (arrays `label`, `names` and `spacing_mm`).

    Args:
        path: NPZ file.
        complete: Whether all structures are labelled.

    Raises:
        InputError: If the file is absent or damaged, lacks an array, or a label has no name.
    """
    arrays = read_npz(path, ("label", "names", "spacing_mm"))
    names = {int(key): str(name) for key, name in json.loads(str(arrays["names"])).items()}
    nameless = sorted({int(one) for one in np.unique(arrays["label"])} - {0, *names})
    if nameless:
        raise InputError(
            path, expected="a name for each label", found=f"none for {nameless}", fix="Add it to `names`."
        )
    slices, rows, columns = (float(one) for one in arrays["spacing_mm"])
    return AnatomyMap(path.stem, arrays["label"], names, (slices, rows, columns), complete)


def read_anatomies(data: Path, held_out: bool) -> list[AnatomyMap]:
    """Read the label maps of anatomy for training, or those of people held out.

    Args:
        data: Folder of the training data, with `anatomy` and `more/anatomy_spl`.
        held_out: Whether to read those held out, in place of all others.

    Raises:
        InputError: If a part is missing or damaged.
    """
    paths = npz_files(data / "anatomy") + npz_files(data / "more" / "anatomy_spl")
    return [
        read_anatomy(path, path.stem.startswith(COMPLETE))
        for path in paths
        if is_held_out("anatomy", path.stem) == held_out
    ]
