"""The patient on a slice: without the air around, table and head rests."""

import numpy as np
from scipy import ndimage
from skimage.filters import threshold_otsu

from fewct.types import CTSlice, Image, Mask

AIR_BELOW_HU = -350.0
WORKING_SIZE = 256  # longest side of the grid that the morphology runs on
OPENING_SHARE = 1 / 110  # radius of the opening, of the longest side: cuts thin things, as table tops are
THICK_SHARE = 0.15  # of the thickest part: arms are thicker, tables and blankets thinner

# Grey slices, on a scale where air is 0 and the typical tissue 1. With the whole range of a CT, table foam
# lies below 0.15 and fat near 0.9. Where a window clips air to one value, fat lies near 0.2.
FOAM_BELOW, FAT_ABOVE, CLIPPED_AIR_BELOW = 0.15, 0.45, 0.02
WHOLE_RANGE_SHARE = 0.935  # 447 real slices: 0.951 or more with the whole range, median 0.68 where clipped
NOISE_OF_AIR = 0.03


def body_mask(image: CTSlice) -> Mask:
    """Find the patient on a slice: without air around, table and head rests, with lungs and gas filled.

    Works on Hounsfield units and on grey values of any window, in any orientation. Lungs that the frame cuts
    open count as air.

    Args:
        image: Slice; pixels that are not finite count as air.

    Returns:
        bool (rows, columns): True inside the patient. All False where nothing is denser than air, or a
        grey slice is constant; True on all finite pixels where a grey slice has no even air at its border.
    """
    step = max(1, round(max(image.shape) / WORKING_SIZE))
    small = _block_mean(image.pixels, step)
    body = _solid_parts(small > AIR_BELOW_HU) if image.unit == "hu" else _body_on_grey(small)
    rows, columns = image.shape
    return body.repeat(step, axis=0).repeat(step, axis=1)[:rows, :columns]


def _block_mean(pixels: Image, step: int) -> Image:
    """Return the means of step x step blocks, the last ones with their edge repeated; NaN spreads."""
    finite = np.where(np.isfinite(pixels), pixels, np.float32(np.nan))
    padded = np.pad(finite, [(0, -size % step) for size in pixels.shape], mode="edge")
    rows, columns = padded.shape
    means: Image = padded.reshape(rows // step, step, columns // step, step).mean(axis=(1, 3))
    return means


def _body_on_grey(pixels: Image) -> Mask:
    """Find the patient where the window is unknown, from the level of air at the frame's border."""
    known = np.isfinite(pixels) & ~_round_frame(pixels)
    border = known.copy()
    margin = max(1, max(pixels.shape) // 25)
    border[margin:-margin, margin:-margin] = False
    if not border.any():
        return np.zeros(pixels.shape, dtype=np.bool_)
    darkest, air = np.percentile(pixels[border], (2, 10))
    top = np.percentile(pixels[known], 99.5)
    if top <= air:
        return np.zeros(pixels.shape, dtype=np.bool_)
    values = np.clip(np.where(known, pixels, air), air, top)
    tissue = np.median(values[values > threshold_otsu(values)])
    if air - darkest > NOISE_OF_AIR * (tissue - air):
        return known
    return _above_air((values - air) / (tissue - air))


def _above_air(scaled: Image) -> Mask:
    """Find the patient where air is 0 and the typical tissue 1.

    With the whole range of a CT, hardly any of the patient lies between foam and fat. Where a window clips
    air, much of the fat does; then whatever is brighter than air is the patient or the table.
    """
    dense = _solid_parts(scaled > FAT_ABOVE)
    if np.count_nonzero(dense) > WHOLE_RANGE_SHARE * np.count_nonzero(_solid_parts(scaled > FOAM_BELOW)):
        return dense
    not_air = ndimage.uniform_filter((scaled > CLIPPED_AIR_BELOW).astype(np.float32), 3) > 0.3
    return _solid_parts(ndimage.binary_fill_holes(not_air))


def _round_frame(pixels: Image) -> Mask:
    """Mark the padding outside a scanner's round field of view, where it is darker than all inside."""
    rows, columns = pixels.shape
    y, x = np.ogrid[:rows, :columns]
    radius = np.hypot((2 * y + 1) / rows - 1, (2 * x + 1) / columns - 1)
    inside, outside = radius < 0.98, radius > 1.02
    values = pixels[inside & np.isfinite(pixels)]
    if values.size == 0 or not outside.any():
        return np.zeros(pixels.shape, dtype=np.bool_)
    darkest = np.percentile(values, 1)
    padding: Mask = ~inside & (pixels < darkest) & (pixels[outside].max() < darkest)
    return padding


def _solid_parts(tissue: Mask) -> Mask:
    """Return the thick parts of a threshold image with their holes filled; table tops are thin."""
    r = max(1, round(OPENING_SHARE * max(tissue.shape)))
    y, x = np.ogrid[-r : r + 1, -r : r + 1]
    beyond_frame = np.pad(tissue, r, mode="edge")
    opened = ndimage.binary_opening(beyond_frame, x * x + y * y <= r * r + 1)[r:-r, r:-r]
    solid = ndimage.binary_fill_holes(opened)
    parts, count = ndimage.label(solid)
    depth = ndimage.distance_transform_edt(solid)
    thick = np.zeros(count + 1, dtype=np.bool_)
    thick[parts[depth >= THICK_SHARE * depth.max()]] = True
    chosen: Mask = solid & thick[parts]
    return chosen
