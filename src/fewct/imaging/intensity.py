"""Intensities: Hounsfield windows for people, robust scaling for slices windowed in unknown ways."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from fewct.errors import InputError, UsageError, check_choice, check_image
from fewct.types import CTSlice, Image, Mask

DEFAULT_WINDOW = "soft-tissue"
LOW_PERCENTILE, HIGH_PERCENTILE = 0.5, 99.5
PADDING_SHARE = 0.02  # a value at the very end of the range that fills more of a slice is padding or clipping
RANK_BINS = 1024  # of the histogram that ranks are taken from
RANKED_HU = (-1024.0, 1500.0)  # what lies outside ranks as the ends of this range


@dataclass(frozen=True)
class Window:
    """A range of Hounsfield units shown from black to white.

    Args:
        level_hu: Centre of the range.
        width_hu: Extent of the range, above 1.

    Raises:
        UsageError: If the level is not finite or the width is not above 1.
    """

    level_hu: float
    width_hu: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.level_hu) and np.isfinite(self.width_hu) and self.width_hu > 1):
            raise UsageError(
                "window",
                expected="a finite level and a width above 1 HU",
                found=f"level {self.level_hu}, width {self.width_hu}",
                fix=f"Use a preset: {', '.join(WINDOWS)}.",
            )


WINDOWS: Mapping[str, Window] = MappingProxyType(
    {
        "soft-tissue": Window(40, 400),
        "lung": Window(-600, 1500),
        "bone": Window(400, 1800),
        "brain": Window(40, 80),
        "liver": Window(60, 160),
        "mediastinum": Window(50, 350),
    }
)


def apply_window(pixels_hu: NDArray[Any], window: Window) -> Annotated[NDArray[np.uint8], "rows columns"]:
    """Map Hounsfield units to 8-bit grey through a window.

    The linear function of DICOM PS3.3 C.11.2.1.2.1, with `c` the level and `w` the width:
    `y = ((x - (c - 0.5)) / (w - 1) + 0.5) * 255`, clipped to [0, 255] and rounded.

    Args:
        pixels_hu: Hounsfield units, (rows, columns); NaN marks padding.
        window: Range to show.

    Returns:
        uint8 (rows, columns); 0 where `pixels_hu` is NaN.

    Raises:
        InputError: If `pixels_hu` is no image.

    Example:
        >>> apply_window(np.array([[-200.0, 40.0, 240.0, np.nan]]), WINDOWS["soft-tissue"])
        array([[  0, 128, 255,   0]], dtype=uint8)
    """
    check_image(pixels_hu, "pixels_hu")
    low = window.level_hu - 0.5 - (window.width_hu - 1) / 2
    return _to_uint8(rescale(pixels_hu, low, low + window.width_hu - 1))


def robust_uint8(
    pixels: NDArray[Any], region: Mask | None = None
) -> Annotated[NDArray[np.uint8], "rows columns"]:
    """Map grey values of unknown range to 8-bit grey, from the 0.5th to the 99.5th percentile.

    A value at either end of the range that fills more than 2 % of the pixels (padding, or what a window
    clipped) does not count for the percentiles. So neither wide frames nor few bright pixels take the
    contrast.

    Args:
        pixels: Grey values, (rows, columns); NaN marks padding.
        region: Pixels that the percentiles are taken from; all by default.

    Returns:
        uint8 (rows, columns); 0 where `pixels` is NaN, and everywhere if `pixels` is constant.

    Raises:
        InputError: If `pixels` is no image or holds infinities.

    Example:
        >>> robust_uint8(np.array([[3.0, 5.0], [np.nan, 4.0]]))
        array([[  0, 255],
               [  0, 128]], dtype=uint8)
    """
    check_image(pixels)
    return _to_uint8(rescale(pixels, *_robust_range(pixels, region)))


def to_display(image: CTSlice, window: str | None = None) -> Annotated[NDArray[np.uint8], "rows columns"]:
    """Return a slice as 8-bit grey for people to look at.

    Args:
        image: Slice in Hounsfield units (shown through a window) or grey (robust percentiles of the body).
        window: Name of a preset in `WINDOWS`, for Hounsfield units only; soft tissue by default.

    Returns:
        uint8 (rows, columns).

    Raises:
        UsageError: If there is no such preset, or one is named for a slice that is not in Hounsfield units.
        InputError: If a grey slice holds infinities.
    """
    if image.unit == "grey":
        if window is not None:
            raise UsageError(
                "window",
                expected="none for a slice of grey values",
                found=repr(window),
                fix="Leave the window out: without Hounsfield units there is nothing to apply it to.",
            )
        from fewct.imaging.body import body_mask  # here and below: windows are listed without SciPy

        return robust_uint8(image.pixels, body_mask(image))
    name = DEFAULT_WINDOW if window is None else window
    check_choice("window", name, WINDOWS)
    return apply_window(image.pixels, WINDOWS[name])


def normalise(image: CTSlice) -> Image:
    """Return a slice's intensities in [0, 1], comparable between slices, for methods to work on.

    Hounsfield units go through the soft tissue window; grey values through robust percentiles of the body.

    Args:
        image: Slice.

    Returns:
        float32 (rows, columns) in [0, 1]; 0 where the slice is NaN, and everywhere if it is constant grey.

    Raises:
        InputError: If a grey slice holds infinities.
    """
    if image.unit == "hu":
        body = None
    else:
        from fewct.imaging.body import body_mask

        body = body_mask(image)
    return rescale(image.pixels, *contrast_range(image, body))


def contrast_range(image: CTSlice, body: Mask | None) -> tuple[float, float]:
    """Return the intensities between which a slice shows its contrast, see `normalise`.

    Args:
        image: Slice.
        body: bool (rows, columns): the patient, whose grey values count; all pixels if it is None or empty.

    Raises:
        InputError: If a grey slice holds infinities.
    """
    if image.unit == "hu":
        window = WINDOWS[DEFAULT_WINDOW]
        return window.level_hu - window.width_hu / 2, window.level_hu + window.width_hu / 2
    return _robust_range(image.pixels, body if body is not None and body.any() else None)


def ranks(pixels: Image, body: Mask) -> Image:
    """Return the rank of each pixel's intensity among those of the patient.

    It is the same for every window that does not clip, so that weak contrast is seen as well as any other.

    Args:
        pixels: float32 (rows, columns); NaN marks padding, which ranks lowest.
        body: bool (rows, columns): the patient; where it is empty, ranks are taken among all pixels.

    Returns:
        float32 (rows, columns) in [0, 1]; 0 everywhere if the patient is of one intensity.

    Example:
        >>> pixels = np.array([[0, 7], [20, 30]], dtype=np.float32)
        >>> ranks(pixels, pixels > 5).astype(float).round(2).tolist()
        [[0.17, 0.17], [0.5, 0.83]]
    """
    values = pixels[body & np.isfinite(pixels)]
    if values.size == 0:
        values = pixels[np.isfinite(pixels)]
    if values.size == 0:
        return np.zeros(pixels.shape, dtype=np.float32)
    low = max(float(values.min()), RANKED_HU[0])
    high = min(float(values.max()), RANKED_HU[1])
    if high <= low:
        return np.zeros(pixels.shape, dtype=np.float32)
    scale = (RANK_BINS - 1) / (high - low)
    bins = np.clip((np.nan_to_num(pixels, nan=low) - low) * scale, 0, RANK_BINS - 1).astype(np.int32)
    counts = np.bincount(bins[body & np.isfinite(pixels)].ravel(), minlength=RANK_BINS).astype(np.float64)
    if counts.sum() == 0:
        counts = np.bincount(bins.ravel(), minlength=RANK_BINS).astype(np.float64)
    cumulative = np.cumsum(counts) - counts / 2
    ranks: Image = (cumulative / counts.sum()).astype(np.float32)[bins]
    return ranks


def _robust_range(pixels: NDArray[Any], region: Mask | None) -> tuple[float, float]:
    """Return the range (low, high) of the pixels that matter; (0, 0) if there are none."""
    if np.isinf(pixels).any():
        raise InputError(
            "pixels",
            expected="finite numbers, NaN for padding",
            found=f"{np.count_nonzero(np.isinf(pixels))} infinite values",
            fix="Set the infinite pixels to NaN.",
        )
    values = pixels if region is None else pixels[region]
    values = values[~np.isnan(values)].astype(np.float64)
    if values.size == 0:
        return 0.0, 0.0
    inner = values
    for end in (values.min(), values.max()):
        at_end = inner == end
        if PADDING_SHARE < at_end.mean() < 1:
            inner = inner[~at_end]
    low, high = np.percentile(inner, (LOW_PERCENTILE, HIGH_PERCENTILE))
    if low == high:
        low, high = values.min(), values.max()
    return float(low), float(high)


def rescale(pixels: NDArray[Any], low: float, high: float) -> Image:
    """Return float32 pixels with `low` at 0 and `high` at 1, clipped; 0 for NaN and for an empty range."""
    if high <= low:
        return np.zeros(pixels.shape, dtype=np.float32)
    scaled = (pixels.astype(np.float64) - low) / (high - low)
    return np.nan_to_num(np.clip(scaled, 0, 1), nan=0.0).astype(np.float32)


def _to_uint8(unit_range: Image) -> Annotated[NDArray[np.uint8], "rows columns"]:
    return np.rint(unit_range * 255).astype(np.uint8)
