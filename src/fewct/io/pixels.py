"""What all readers share: checking pixels, guessing their unit, refusing masks, checking labels."""

import struct
import tokenize
import warnings
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fewct.errors import FewctWarning, InputError, as_labels
from fewct.types import AnyLabels, CTSlice, CTVolume, Geometry, Image, LabelMap, Provenance, UnitChoice

Content = Literal["image", "labels"]

HU_BELOW = -200
"""Only Hounsfield units go below this: windowed images have no negative values."""

MASK_VALUES = 64
"""Most values, background included, among which a label map is suspected."""

MASK_FLATNESS = 0.8
"""Share of equal neighbours from which whole numbers are a label map. On real slices reduced to 32 grey
levels the share is at most 0.33; on label maps of the trunk it is 0.82 to 0.98."""

DAMAGED = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    MemoryError,
    NotImplementedError,
    SyntaxError,
    tokenize.TokenError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
)
"""Exceptions of nibabel, NumPy, Pillow, pydicom and tifffile on damaged files."""


@dataclass(frozen=True, eq=False)
class RawImage:
    """The content of a file as slices, not yet judged to be an image or a label map.

    Args:
        values: (slices, rows, columns) in the file's own type, often a view that reads on demand.
        source: File and format.
        geometry: None where the file has none.
        slope: Real values are `slope` * stored value + `intercept`.
        intercept: See `slope`.
    """

    values: NDArray[Any]
    source: Provenance
    geometry: Geometry | None = None
    slope: float = 1.0
    intercept: float = 0.0

    def at(self, index: int) -> NDArray[Any]:
        """Return the real values of one slice, (rows, columns)."""
        values = np.asarray(self.values[index])
        if (self.slope, self.intercept) == (1.0, 0.0):
            return values
        return values * self.slope + self.intercept


def unreadable(path: object, expected: str, reason: object) -> InputError:
    """Return the error for a file whose content is damaged or not what its name says."""
    return InputError(
        path,
        expected=expected,
        found=str(reason) or "damaged content",
        fix="Check that the file is whole and of that format, or export it again.",
    )


def geometry_from_affine(affine: NDArray[np.float64], path: Path) -> Geometry:
    """Return the geometry of an affine, or an error that names the file."""
    try:
        return Geometry(affine)
    except InputError as error:
        raise InputError(path, expected=error.expected, found=error.found, fix=error.fix) from error


def checked_pixels(pixels: NDArray[Any], subject: object) -> Image:
    """Return a slice's pixels as float32 (rows, columns), after a check of each value.

    Args:
        pixels: (rows, columns), real numbers; NaN marks padding.

    Raises:
        InputError: If a value is infinite (or too large for float32), or none is a number.
    """
    with np.errstate(over="ignore"):
        image = np.asarray(pixels, dtype=np.float32)
    if np.isinf(image).any():
        raise InputError(
            subject,
            expected="finite pixels, or NaN for padding",
            found=f"{np.count_nonzero(np.isinf(image))} infinite pixels",
            fix="Replace them by NaN or by the value of air.",
        )
    if np.isnan(image).all():
        raise InputError(
            subject, expected="pixels", found="NaN only", fix="Choose a slice that holds an image."
        )
    return image


def looks_like_mask(samples: NDArray[Any]) -> bool:
    """Return whether values are rather labels than CT.

    Two distinct values are a mask. So are at most 64 whole numbers from 0 upwards in flat regions: of the
    neighbouring pixels that are not both background, 80 % or more are equal. Real CT has noise: of neighbours
    in a slice of only 32 grey levels, a third are equal at most.

    Args:
        samples: (slices, rows, columns).

    Example:
        >>> disc = np.zeros((1, 32, 32))
        >>> disc[0, 8:24, 8:24] = 1
        >>> looks_like_mask(disc)
        True
    """
    numbers = samples[np.isfinite(samples)]
    values = np.unique(numbers)
    if values.size == 2:
        return True
    if not 2 < values.size <= MASK_VALUES or values[0] != 0 or not np.array_equal(values, np.rint(values)):
        return False
    equal = pairs = 0
    for first, second in ((samples[:, 1:], samples[:, :-1]), (samples[:, :, 1:], samples[:, :, :-1])):
        foreground = (first != 0) | (second != 0)
        pairs += int(np.count_nonzero(foreground))
        equal += int(np.count_nonzero((first == second) & foreground))
    return equal >= MASK_FLATNESS * pairs


def as_ct(stored: RawImage, unit: UnitChoice) -> CTSlice | CTVolume:
    """Return the slice (if there is only one) or the volume in a file.

    The first, the middle and the last slice are looked at now: for the unit ("hu" where a value lies below
    -200, else "grey") and against masks given as images.

    Args:
        unit: "hu" or "grey" where the user knows better.

    Raises:
        InputError: For values that are no real numbers, pixels that cannot be used, or a mask.
    """
    subject = stored.source.path
    if stored.values.dtype.kind not in "uifb":
        raise InputError(
            subject,
            expected="one real number a pixel",
            found=f"values of type {stored.values.dtype}",
            fix="Convert it to grey values or Hounsfield units.",
        )
    count = len(stored.values)
    samples = np.stack([checked_pixels(stored.at(k), subject) for k in sorted({0, count // 2, count - 1})])
    if looks_like_mask(samples):
        raise InputError(
            subject,
            expected="a CT image",
            found=f"what looks like a mask: {len(np.unique(samples))} flat values",
            fix="Give the image here, and the mask only where labels are asked for.",
        )
    if unit == "auto":
        unit = "hu" if bool((samples < HU_BELOW).any()) else "grey"
    if count > 1:
        slices, rows, columns = stored.values.shape
        return CTVolume(
            (slices, rows, columns),
            lambda index: checked_pixels(stored.at(index), subject),
            unit,
            stored.geometry,
            stored.source,
        )
    if np.nanmin(samples) == np.nanmax(samples):
        warnings.warn(f"{subject}: every pixel is {np.nanmin(samples):g}", FewctWarning, stacklevel=2)
    return CTSlice(samples[0], unit, stored.geometry, stored.source)


def as_label_map(stored: RawImage) -> LabelMap:
    """Return the label map in a file, two-dimensional if the file holds one slice.

    Raises:
        InputError: If a value is not a whole number of 0 or more (to 0.001, for files that scale), or too
            large for int32.
    """
    subject = str(stored.source.path)
    labels = np.empty(stored.values.shape, dtype=np.int32)
    for index in range(len(labels)):
        labels[index] = as_labels(_whole_numbers(stored.at(index), subject), subject)
    return LabelMap(labels if len(labels) > 1 else labels[0], stored.geometry, stored.source)


def narrow(labels: AnyLabels) -> NDArray[Any]:
    """Return labels in the narrowest of uint8, uint16 and int32 that holds them.

    Example:
        >>> narrow(np.array([[0, 255]], np.int32)).dtype, narrow(np.array([[0, 256]], np.int32)).dtype
        (dtype('uint8'), dtype('uint16'))
    """
    largest = int(labels.max())
    if largest <= 255:
        return labels.astype(np.uint8)
    return labels.astype(np.uint16) if largest <= 65535 else labels


def _whole_numbers(values: NDArray[Any], subject: str) -> NDArray[Any]:
    """Return values as integers, or raise if they are not."""
    if values.dtype.kind != "f":
        return values
    whole = np.rint(values)
    if not (np.abs(values - whole) <= 1e-3).all():
        wrong = values[~(np.abs(values - whole) <= 1e-3)][0]
        raise InputError(
            subject,
            expected="a label map of whole numbers",
            found=f"a value of {wrong:g}",
            fix="Give the label map, not the image or a probability map.",
        )
    integers: NDArray[np.int64] = np.clip(whole, -1, 2.0**62).astype(np.int64)
    return integers
