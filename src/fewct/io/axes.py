"""From a file's own axis order to (slices, rows, columns) and back.

Files may store axes in any order and direction. `stored_axes` gives, for each of (slice, row, column), the
file's axis, counted from 1, negative where it runs the other way.
"""

from pathlib import Path
from typing import Any

import numpy as np
from nibabel.orientations import io_orientation
from numpy.typing import NDArray

from fewct.errors import InputError
from fewct.io.discovered import image_name
from fewct.io.pixels import RawImage, geometry_from_affine, narrow
from fewct.types import Affine, LabelMap, Provenance

StoredAxes = tuple[int, int, int]

COLUMN_FIRST: StoredAxes = (3, 2, 1)
"""Axes of a file that stores (column, row, slice), as most do."""

# For the patient axis (0 x, 1 y, 2 z) that is the slice axis: patient axis and direction of each of
# (slice, row, column), in LPS. Axial rows run to posterior; coronal and sagittal rows run to inferior.
_DIRECTIONS = {
    2: ((2, 1), (1, 1), (0, 1)),
    1: ((1, 1), (2, -1), (0, 1)),
    0: ((0, 1), (2, -1), (1, 1)),
}


def closest_axes(affine: Affine, shape: tuple[int, int, int], subject: object) -> StoredAxes:
    """Return the stored axes of (slice, row, column).

    Volumes become axial: slices run to superior, rows to posterior, columns to left, each along the closest
    of the file's axes. A file with an axis of size 1 is one slice across that axis.

    Args:
        affine: Maps file indices to LPS millimetres; invertible.
        shape: Shape of the array in the file.

    Raises:
        InputError: If the three axes lie in one plane.

    Example:
        >>> closest_axes(np.diag([-0.7, 0.7, 5.0, 1.0]), (512, 512, 40), "scan.nii")
        (3, 2, -1)
    """
    patient_axes = io_orientation(affine)
    if np.isnan(patient_axes).any():
        raise InputError(
            subject,
            expected="three axes that point different ways",
            found=f"axes along {affine[:3, :3].T.tolist()}",
            fix="Repair the direction in the file's header.",
        )
    across = 2
    thin = [int(axis) for (axis, _), size in zip(patient_axes, shape, strict=True) if size == 1]
    if thin and across not in thin:
        across = thin[0]
    signed = {int(axis): (number + 1) * int(flip) for number, (axis, flip) in enumerate(patient_axes)}
    slices, rows, columns = (signed[axis] * direction for axis, direction in _DIRECTIONS[across])
    return slices, rows, columns


def arranged_image(
    stored: NDArray[Any], affine: Affine, path: Path, format: str, ndim: int, files: tuple[Path, ...]
) -> RawImage:
    """Return a file's array (columns, rows, slices) or in any other order as axial slices.

    Args:
        stored: Three-dimensional, in the file's order.
        affine: Maps file indices to LPS millimetres.
        path: The file, for `Provenance` and errors, like the rest.
        format: Its format.
        ndim: Number of dimensions of the array in the file.
        files: What was read.
    """
    affine = geometry_from_affine(affine, path).affine
    axes = closest_axes(affine, stored.shape, path)
    values = arrange(stored, axes)
    source = Provenance(path, format, image_name(path), files, axes, ndim)
    return RawImage(values, source, geometry_from_affine(arrange_affine(affine, values.shape, axes), path))


def restored_labels(result: LabelMap) -> tuple[NDArray[Any], Affine | None]:
    """Return labels in the source's axis order, narrow and three-dimensional, and their affine, if known."""
    stack = result.labels if result.labels.ndim == 3 else result.labels[np.newaxis]
    axes = result.source.stored_axes if result.source and result.source.stored_axes else COLUMN_FIRST
    geometry = result.geometry
    affine = None if geometry is None else restore_affine(geometry.affine, stack.shape, axes)
    return restore(narrow(stack), axes), affine


def arrange(stored: NDArray[Any], axes: StoredAxes) -> NDArray[Any]:
    """Return a file's three-dimensional array as a view (slices, rows, columns)."""
    arranged = stored.transpose([abs(axis) - 1 for axis in axes])
    return arranged[tuple(slice(None, None, -1 if axis < 0 else 1) for axis in axes)]


def restore(arranged: NDArray[Any], axes: StoredAxes) -> NDArray[Any]:
    """Return an array (slices, rows, columns) as a view in the file's own axis order; undoes `arrange`."""
    unflipped = arranged[tuple(slice(None, None, -1 if axis < 0 else 1) for axis in axes)]
    return unflipped.transpose(np.argsort([abs(axis) for axis in axes]))


def arrange_affine(affine: Affine, shape: tuple[int, ...], axes: StoredAxes) -> Affine:
    """Return the affine over (slice, row, column), from one over the file's indices.

    `shape` is (slices, rows, columns), here and below.
    """
    return affine @ _file_from_arranged(shape, axes)


def restore_affine(affine: Affine, shape: tuple[int, ...], axes: StoredAxes) -> Affine:
    """Return the affine over the file's indices, from one over (slice, row, column)."""
    arranged_from_file: Affine = np.rint(np.linalg.inv(_file_from_arranged(shape, axes)))
    return affine @ arranged_from_file


def _file_from_arranged(shape: tuple[int, ...], axes: StoredAxes) -> Affine:
    """Return the matrix that maps (slice, row, column, 1) to the file's (i, j, k, 1)."""
    matrix = np.zeros((4, 4))
    matrix[3, 3] = 1
    for arranged_axis, axis in enumerate(axes):
        file_axis = abs(axis) - 1
        matrix[file_axis, arranged_axis] = np.sign(axis)
        if axis < 0:
            matrix[file_axis, 3] = shape[arranged_axis] - 1
    return matrix
