"""Slices and short scans of a random patient, with truth."""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects, label

from fewct.errors import UsageError, check_range
from fewct.phantom.acquisition import acquire
from fewct.phantom.anatomy.trunk import CENTRE_Y
from fewct.phantom.patient import Patient, draw_patient, paint
from fewct.phantom.render import render_slice
from fewct.phantom.structures import TRUTH_OF_PART
from fewct.types import CTSlice, CTVolume, Geometry, Image, LabelMap

_LOWEST_Z, _HIGHEST_Z = -40.0, 370.0
_SUPERSAMPLING = 2
_SMALLEST_SIZE, _LARGEST_SIZE = 32, 2048
_SPECK_MM2 = 12.0


def phantom_slice(seed: int, *, level: float = 0.45, size: int = 512) -> tuple[CTSlice, LabelMap]:
    """Return a synthetic axial CT slice and its truth.

    Args:
        seed: The patient; 0 or more. One seed is one patient, here and in `phantom_volume`.
        level: Height along the trunk, in [0, 1]: 0 at the sacrum, 0.3 at the kidneys' lower poles, 0.45 at
            the pancreas, 0.6 at the dome of the liver, 0.75 at the heart, 1 at the arch of the aorta.
        size: Number of rows and columns.

    Returns:
        The slice in Hounsfield units, and the truth with the ids of `STRUCTURES`.

    Raises:
        UsageError: If an argument is out of its range.

    Example:
        >>> ct, truth = phantom_slice(7, size=64)
        >>> ct.shape, ct.unit, truth.labels.dtype.name
        ((64, 64), 'hu', 'int32')
    """
    _check(seed, size, (level,))
    patient = draw_patient(np.random.default_rng(seed))
    pixels, labels = _scan_slice(patient, seed, level, size)
    geometry = _geometry(patient, size, level, 5.0)
    return CTSlice(pixels, "hu", geometry), LabelMap(labels, geometry)


def phantom_volume(
    seed: int, *, slices: int = 24, size: int = 256, levels: tuple[float, float] = (0.4, 0.65)
) -> tuple[CTVolume, LabelMap]:
    """Return a short synthetic CT scan and its truth; slices rise from the lower level to the upper.

    Args:
        seed: The patient; 0 or more.
        slices: Number of slices, 2 or more.
        size: Number of rows and columns.
        levels: Height of the first and the last slice, as in `phantom_slice`.

    Returns:
        The scan in Hounsfield units, and the truth with the ids of `STRUCTURES`.

    Raises:
        UsageError: If an argument is out of its range.

    Example:
        >>> scan, truth = phantom_volume(7, slices=2, size=64)
        >>> scan.shape, truth.labels.shape
        ((2, 64, 64), (2, 64, 64))
    """
    _check(seed, size, levels)
    if slices < 2 or levels[0] >= levels[1]:
        raise UsageError(
            "slices and levels",
            expected="2 slices or more, and a lower level below the upper",
            found=f"{slices} slices from {levels[0]} to {levels[1]}",
            fix="Use phantom_slice for one slice.",
        )
    patient = draw_patient(np.random.default_rng(seed))
    made = [_scan_slice(patient, seed, float(level), size) for level in np.linspace(*levels, slices)]
    slice_mm = (levels[1] - levels[0]) * (_HIGHEST_Z - _LOWEST_Z) / (slices - 1)
    geometry = _geometry(patient, size, levels[0], slice_mm)
    pixels, labels = (np.stack(stack) for stack in zip(*made, strict=True))
    return CTVolume.from_array(pixels, "hu", geometry), LabelMap(labels, geometry)


def _check(seed: int, size: int, levels: tuple[float, ...]) -> None:
    check_range("seed", seed, fix="Choose another seed.")
    if not _SMALLEST_SIZE <= size <= _LARGEST_SIZE:
        raise UsageError(
            "size",
            expected=f"{_SMALLEST_SIZE} to {_LARGEST_SIZE} rows and columns",
            found=str(size),
            fix="512 is what scanners give.",
        )
    for level in levels:
        if not 0 <= level <= 1:
            raise UsageError(
                "level",
                expected="a height in [0, 1], from the sacrum to the arch of the aorta",
                found=str(level),
                fix="0.45 shows the upper abdomen, 0.75 the heart.",
            )


def _height(level: float) -> float:
    return _LOWEST_Z + level * (_HIGHEST_Z - _LOWEST_Z)


def _geometry(patient: Patient, size: int, level: float, slice_mm: float) -> Geometry:
    """Return the place of the slices in the patient: the field of view is centred on x = y = 0."""
    pixel_mm = patient.field_of_view_mm / size
    affine = Geometry.from_spacing((slice_mm, pixel_mm, pixel_mm)).affine
    affine[:3, 3] = (-0.5 * (size - 1) * pixel_mm, -0.5 * (size - 1) * pixel_mm, _height(level))
    return Geometry(affine)


def _drop_specks(labels: NDArray[np.int32], pixel_mm: float) -> None:
    """Set to 0, in place, what is cut off from a structure and smaller than a specialist would outline."""
    for structure, window in enumerate(find_objects(labels), start=1):
        if window is not None:
            pieces, _ = label(labels[window] == structure, np.ones((3, 3)))
            areas_mm2 = np.bincount(pieces.ravel()) * pixel_mm**2
            specks = np.flatnonzero(areas_mm2 < _SPECK_MM2)
            labels[window][np.isin(pieces, specks[specks > 0])] = 0


def _scan_slice(
    patient: Patient, seed: int, level: float, size: int
) -> tuple[Image, Annotated[NDArray[np.int32], "rows columns"]]:
    """Return the pixels and the truth of one slice."""
    fine_size = size * _SUPERSAMPLING
    pixel_mm = patient.field_of_view_mm / size
    offsets = (np.arange(fine_size) - 0.5 * (fine_size - 1)) * pixel_mm / _SUPERSAMPLING
    columns_mm, rows_mm = offsets / patient.width, offsets / patient.depth + 0.8 * CENTRE_Y
    canvas = paint(patient, columns_mm, rows_mm, _height(level))
    hu = render_slice(canvas.parts, patient.tissues, patient.texture, columns_mm, rows_mm, canvas.z)
    hu = hu.reshape(size, _SUPERSAMPLING, size, _SUPERSAMPLING).mean(axis=(1, 3))
    truth = TRUTH_OF_PART[canvas.parts[::_SUPERSAMPLING, ::_SUPERSAMPLING]]
    _drop_specks(truth, pixel_mm)
    rng = np.random.default_rng((seed, round(level * 1e6)))
    return acquire(hu, rng, pixel_mm=pixel_mm, noise_hu=patient.noise_hu), truth
