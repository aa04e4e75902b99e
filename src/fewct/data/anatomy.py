"""Label maps of real anatomy without images, from which synthetic CT is rendered."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fewct.data.held_out import is_held_out
from fewct.data.npz import npz_files, read_npz
from fewct.errors import InputError

COMPLETE = ("trunk_", "abdomen_spl")
"""Beginnings of the names of maps in which all structures are labelled."""
_FROM_HEAD = ("abdomen_spl", "headneck_spl")
_FIRST = {"abdomen_spl": 20}  # above, ribs and vertebrae are drawn without the lungs
BRAIN_MM2 = 2000.0  # a smaller cavity of the skull is no brain
HEART_MM = 0.9  # about, of the hearts' pixels; their files do not tell


@dataclass(frozen=True, eq=False)
class AnatomyMap:
    """A label map of a part of a person.

    Args:
        name: Name of its file, without suffix.
        labels: uint8 (slices, rows, columns) from the feet to the head, 0 for none.
        names: Of each label.
        spacing_mm: Distance of slices (NaN for a single one), of rows, and of columns.
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

    Beside the maps without images these are the hearts of `more/chd68`, each slice a map of its own.

    Args:
        data: Folder of the training data, with `anatomy`, `more/anatomy_spl` and `more/chd68`.
        held_out: Whether to read those held out, in place of all others.

    Raises:
        InputError: If a part is missing or damaged.
    """
    paths = npz_files(data / "anatomy") + npz_files(data / "more" / "anatomy_spl")
    maps = [
        _towards_head(read_anatomy(path, path.stem.startswith(COMPLETE)))
        for path in paths
        if is_held_out("anatomy", path.stem) == held_out
    ]
    hearts = npz_files(data / "more" / "chd68")
    return maps + [
        one for path in hearts if is_held_out("chd68", path.stem) == held_out for one in _read_hearts(path)
    ]


def _towards_head(anatomy: AnatomyMap) -> AnatomyMap:
    """Return the useful slices from the feet to the head, without structures that have no real name."""
    labels = anatomy.labels[_FIRST.get(anatomy.name, 0) :]
    if anatomy.name in _FROM_HEAD:
        labels = labels[::-1]
    nameless = [key for key, name in anatomy.names.items() if name.startswith("id ")]
    if nameless:
        labels = np.where(np.isin(labels, nameless), np.uint8(0), labels)
    names = {key: name for key, name in anatomy.names.items() if key not in nameless}
    some = replace(anatomy, labels=np.ascontiguousarray(labels), names=names)
    return _with_brain(some) if "brain" not in {name.lower() for name in names.values()} else some


def _with_brain(anatomy: AnatomyMap) -> AnatomyMap:
    """Return a map with the insides of its skull as the brain, slice by slice, where they are closed."""
    skull = [key for key, name in anatomy.names.items() if name == "skull"]
    if not skull:
        return anatomy
    labels, brain = anatomy.labels.copy(), max(anatomy.names) + 1
    least = BRAIN_MM2 / (anatomy.spacing_mm[1] * anatomy.spacing_mm[2])
    for one in labels:
        holes, _ = ndimage.label(ndimage.binary_fill_holes(one == skull[0]) & (one == 0))
        large = np.bincount(holes.ravel()) >= least
        large[0] = False
        one[large[holes]] = brain
    if not (labels == brain).any():
        return anatomy
    return replace(anatomy, labels=labels, names={**anatomy.names, brain: "brain"})


def _read_hearts(path: Path) -> list[AnatomyMap]:
    """Read the slices of a heart as maps."""
    arrays = read_npz(path, ("label", "names"))
    names = {int(key): str(name) for key, name in json.loads(str(arrays["names"])).items()}
    spacing = (float("nan"), HEART_MM, HEART_MM)
    return [
        AnatomyMap(f"chd68_{path.stem}_{k}", labels[None], names, spacing, complete=False)
        for k, labels in enumerate(arrays["label"])
    ]
