"""Images that are in memory already: arrays, and what other libraries read."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from fewct.errors import InputError, UsageError, check_choice
from fewct.io.pixels import RawImage, as_ct
from fewct.io.reading import read
from fewct.types import CTSlice, CTVolume, Geometry, LabelMap, Provenance, UnitChoice

ImageLike: TypeAlias = CTSlice | CTVolume | NDArray[Any] | Path | str
"""What is taken as an image: a record, an array (rows, columns) or (slices, rows, columns), a nibabel image,
or a path."""
SpacingMm: TypeAlias = float | Sequence[float]
"""Distance between neighbouring pixels in millimetres: one number for all axes, or one for each of (rows,
columns) or (slices, rows, columns)."""

COLOUR_CHANNELS = (3, 4)
MOST_MM = 1000.0  # between pixels: above, it is another unit


def as_image(
    image: ImageLike, spacing_mm: SpacingMm | None = None, unit: UnitChoice = "auto"
) -> CTSlice | CTVolume:
    """Return whatever is taken as an image as a slice or scan.

    Args:
        image: See `ImageLike`; other array-likes are converted.
        spacing_mm: For an image that does not tell its own: see `SpacingMm`. Of a single slice, the distance
            to the next one counts as 1 mm.
        unit: "hu", "grey", or "auto" to look at the values: "hu" where one lies below -200.

    Raises:
        InputError: If the array has another dimension, looks like colours or a mask, or holds no real
            numbers; for paths as `fewct.read`.
        UsageError: If a spacing or unit is given for an image that has its own, or the spacing does not fit.
    """
    check_choice("unit", unit, get_args(UnitChoice))
    if isinstance(image, (CTSlice, CTVolume)):
        if unit not in ("auto", image.unit):
            raise UsageError(
                "unit", expected=f"the image's own, {image.unit}", found=unit, fix="Leave it out."
            )
        ct: CTSlice | CTVolume = image
    elif isinstance(image, (str, Path)) or any(
        k.__module__.startswith("nibabel.") for k in type(image).__mro__
    ):
        named: Any = image
        ct = read(named, unit=unit)
    else:
        ct = _of_array(_as_array(image), unit)
    if spacing_mm is None:
        return ct
    if ct.geometry is not None:
        raise UsageError(
            "spacing_mm",
            expected=f"none, as the image tells its own, {ct.spacing_mm}",
            found=f"{spacing_mm}",
            fix="Leave it out.",
        )
    return replace(ct, geometry=_geometry(spacing_mm, len(ct.shape)))


def _as_array(image: Any) -> NDArray[Any]:
    """Return an array-like as an array; what is masked out is padding, NaN."""
    try:
        if isinstance(image, np.ma.MaskedArray):
            return np.ma.filled(image.astype(np.float64), np.nan)
        array = np.asarray(image)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            "array", expected="an array of numbers", found=f"{error}", fix="Convert it with numpy first."
        ) from error
    if isinstance(image, LabelMap):
        raise InputError("image", expected="a CT image", found="labels", fix="Give the image itself.")
    return array


def _of_array(values: NDArray[Any], unit: UnitChoice) -> CTSlice | CTVolume:
    colours = values.ndim == 3 and values.shape[-1] in COLOUR_CHANNELS
    if values.ndim not in (2, 3) or values.size == 0 or colours:
        raise InputError(
            "array",
            expected="an array (rows, columns) of a slice or (slices, rows, columns) of a scan",
            found=f"shape {values.shape}" + (", which looks like colours" if colours else ""),
            fix="Convert colours to grey, and order the axes like that.",
        )
    raw = RawImage(values if values.ndim == 3 else values[None], Provenance(Path("array"), "numpy", "array"))
    ct = as_ct(raw, unit)
    if values.ndim == 3 and isinstance(ct, CTSlice):  # a scan of one slice
        pixels = ct.pixels
        return CTVolume((1, *ct.shape), lambda _: pixels, ct.unit)
    return replace(ct, source=None)


def _geometry(spacing_mm: SpacingMm, ndim: int) -> Geometry:
    try:
        spacing = np.atleast_1d(np.asarray(spacing_mm, dtype=np.float64))
    except (TypeError, ValueError):
        spacing = np.zeros(0)
    if spacing.shape not in ((1,), (ndim,)) or not (
        np.isfinite(spacing).all() and ((spacing > 0) & (spacing < MOST_MM)).all()
    ):
        axes = "(rows, columns)" if ndim == 2 else "(slices, rows, columns)"
        raise UsageError(
            "spacing_mm",
            expected=f"millimetres above 0 and below {MOST_MM:g}: one number, or one for each of {axes}",
            found=f"{spacing_mm}",
            fix="Give the distance between neighbouring pixels.",
        )
    along = np.broadcast_to(spacing, ndim).tolist()
    slice_mm, row_mm, column_mm = along if ndim == 3 else (1.0, *along)
    return Geometry.from_spacing((slice_mm, row_mm, column_mm))
