"""NPY and NPZ: reading arrays, writing whole results."""

from dataclasses import astuple, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from fewct.errors import InputError
from fewct.io.atomic import atomic_path
from fewct.io.discovered import image_name
from fewct.io.pixels import DAMAGED, Content, RawImage, geometry_from_affine, unreadable
from fewct.io.tables import manifest_json
from fewct.result import Segmentation
from fewct.types import Geometry, LabelMap, Provenance, Structure

_KEYS: dict[Content, tuple[str, ...]] = {"image": ("image",), "labels": ("labels", "label")}
_PLACE_KEYS = ("affine", "spacing_mm", "frame_of_reference_uid")


def open_numpy(path: Path, content: Content = "image") -> RawImage:
    """Return what an NPY or NPZ file holds.

    An NPY array is mapped and read slice by slice; an NPZ array is unpacked whole. An NPZ file holds its
    array as `image` (for label maps `labels` or `label`), or holds only one. It may have `affine` (slice,
    row, column to LPS millimetres) or `spacing_mm` (slices, rows, columns, or the last two).

    Raises:
        InputError: If the file is damaged, holds Python objects, or no such array.
    """
    try:
        with path.open("rb") as file:
            if file.read(6) == b"\x93NUMPY":
                array, geometry = np.load(path, mmap_mode="r", allow_pickle=False), None
            else:
                archive = NpzFile(file)  # which refuses pickled objects
                array, geometry = _array_of(archive, content, path), _geometry_of(archive, path)
    except DAMAGED as error:
        raise unreadable(path, "a whole NPY or NPZ file of numbers", error) from error
    if array.ndim not in (2, 3) or array.size == 0:
        raise InputError(
            path,
            expected="an array (rows, columns) or (slices, rows, columns)",
            found=f"shape {array.shape}",
            fix="Save each slice or scan by itself.",
        )
    if array.ndim == 3 and array.shape[2] in (3, 4) and min(array.shape[:2]) > 4:
        raise InputError(
            path,
            expected="one value a pixel",
            found=f"a colour image of shape {array.shape}",
            fix="Save one channel, as an array (rows, columns).",
        )
    stack = array if array.ndim == 3 else array[np.newaxis]
    return RawImage(stack, Provenance(path, "numpy", image_name(path), (path,)), geometry)


open_numpy_labels = partial(open_numpy, content="labels")


def _array_of(archive: NpzFile, content: Content, path: Path) -> NDArray[Any]:
    """Return the archive's image or label map."""
    for key in _KEYS[content]:
        if key in archive.files:
            return archive[key]
    others = [key for key in archive.files if key not in _PLACE_KEYS]
    if len(others) == 1:
        return archive[others[0]]
    raise InputError(
        path,
        expected=f"an array called {' or '.join(_KEYS[content])}, or only one array",
        found=", ".join(archive.files) or "no array",
        fix="Save the array under that name.",
    )


def _geometry_of(archive: NpzFile, path: Path) -> Geometry | None:
    """Return the geometry of an archive's array, None without `affine` and `spacing_mm`."""
    if "affine" in archive.files:
        geometry = geometry_from_affine(archive["affine"], path)
        uid = str(archive["frame_of_reference_uid"]) if "frame_of_reference_uid" in archive.files else None
        return replace(geometry, frame_of_reference_uid=uid)
    if "spacing_mm" not in archive.files:
        return None
    spacing = np.atleast_1d(archive["spacing_mm"])
    if spacing.shape not in ((2,), (3,)) or spacing.dtype.kind not in "uif" or not (spacing > 0).all():
        raise InputError(
            path,
            expected="spacing_mm of 2 or 3 numbers above 0",
            found=np.array2string(spacing, separator=", "),
            fix="Save the distance between slices, rows and columns in millimetres.",
        )
    slice_mm, row_mm, column_mm = spacing.tolist() if len(spacing) == 3 else (1.0, *spacing.tolist())
    return Geometry.from_spacing((slice_mm, row_mm, column_mm))


def write_npz(result: LabelMap, path: Path) -> None:
    """Write a whole result as one compressed NPZ, or nothing; the same result gives the same bytes.

    Keys: `labels`; where known `affine`, `spacing_mm` and `frame_of_reference_uid`; for a segmentation
    `structures` (a table with the fields of `Structure`) and `manifest` (JSON text, without how long it
    took); for one with a merge tree `tree_leaves`, `tree_parents` and `tree_levels`.

    Raises:
        OutputError: If the file cannot be written.
    """
    arrays: dict[str, Any] = {"labels": result.labels}
    if result.geometry is not None:
        arrays["affine"] = result.geometry.affine
        arrays["spacing_mm"] = np.array(result.geometry.spacing_mm)
        if result.geometry.frame_of_reference_uid is not None:
            arrays["frame_of_reference_uid"] = np.array(result.geometry.frame_of_reference_uid)
    if isinstance(result, Segmentation):
        columns = [
            (column.name, np.int64 if column.type is int else np.float64) for column in fields(Structure)
        ]
        arrays["structures"] = np.array([astuple(row) for row in result.structures], dtype=columns)
        arrays["manifest"] = np.array(manifest_json(replace(result.manifest, seconds={})))
        if result.tree is not None:
            arrays["tree_leaves"] = result.tree.leaves
            arrays["tree_parents"] = result.tree.parents
            arrays["tree_levels"] = result.tree.levels
    with atomic_path(path) as temporary:
        np.savez_compressed(temporary, **arrays)
