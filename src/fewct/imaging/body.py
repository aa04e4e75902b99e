"""The patient on a slice: without the air around, table, blankets and head rests."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fewct.types import CTSlice, Image, Mask

WORKING_SIZE = 256  # longest side of the grid that the morphology runs on
OPENING_SHARE = 1 / 110  # radius of the opening, of the longest side: cuts thin things, as table tops are
THICK_SHARE = 0.15  # of the thickest part: arms are thicker, tables and blankets thinner
POCKET_CONTACT = 0.35  # of the outline of gas in the head, where thin walls are cut; hollow tables have none

# Pixels are scaled so that air is 0 and the typical tissue 1. Where the window shows air, as in Hounsfield
# units, foam lies below 0.5 and fat near 0.86; lungs lie near 0.14, and air and mattresses around below 0.09.
AIR_HU, TISSUE_HU = -1000.0, 50.0
TISSUE_ABOVE = 0.62  # -350 HU
GAS_ABOVE, LUNG_ABOVE = 0.03, 0.06  # a pixel and the mean of a lung
LUNG_CONTACT = 0.7  # of its outline lies against the body where the frame cuts a lung open; air around 0.65
LUNG_SHARE = 0.004  # of the slice, at least
HARD_ABOVE, HARD_ABOVE_GREY = 1.1, 1.18  # median of a part that is no arm; of grey, 1 may be fat

# Where the window clips air, muscle lies near 1, fat near 0.2 and the air around at 0 without noise.
CLIPPED_AIR_BELOW = 0.02
NEAR_TISSUE = 4 / 9 - 0.01  # of the 9 pixels around
HARD_ABOVE_CLIPPED = 1.7
FAT_CLIPPED, LEAST_OF_BRIGHT = (
    0.1,
    0.3,
)  # a smaller share of what is brighter than this is organs without their fat
BETWEEN, BRIGHT, HIGHEST = (0.5, 0.75), 1.25, 1.6
FAINT, NOISY_AIR = 0.05, 0.08  # with clipped air at most 0.06 of the border are faint
FAT_RIM = 0.75  # of the pixels around dense tissue: fat; foam and blankets are at most 0.72
UNEVEN_AIR = 0.03


def body_mask(image: CTSlice) -> Mask:
    """Find the patient on a slice: without air around, table and head rests, with lungs and gas filled.

    Works on Hounsfield units and on grey values of any window, in any orientation. Lungs that the frame cuts
    open count as the patient where the window shows them brighter than air, else as air.

    Args:
        image: Slice; pixels that are not finite count as air.

    Returns:
        bool (rows, columns): True inside the patient. All False where nothing is denser than air, or a
        grey slice is constant; True on all finite pixels where a grey slice has no even air at its border.
    """
    step = max(1, round(max(image.shape) / WORKING_SIZE))
    small = _block_mean(image.pixels, step)
    if image.unit == "hu":
        hu = np.where(np.isfinite(small), small, np.float32(AIR_HU))
        body = _body_in_air(((hu - AIR_HU) / (TISSUE_HU - AIR_HU)).astype(np.float32, copy=False), HARD_ABOVE)
    else:
        body = _body_on_grey(small)
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
    values = pixels[known]
    top = np.percentile(values, 99.5)
    if top <= air:
        return np.zeros(pixels.shape, dtype=np.bool_)
    dense = values[values > air + 0.2 * (top - air)]
    below_top = dense[dense < dense.max()]  # a window may clip most of the bone of a head
    tissue = float(np.median(below_top if 3 * below_top.size > dense.size else dense))
    if air - darkest > UNEVEN_AIR * (tissue - air):
        return known
    scaled = (np.where(known, pixels, air) - air) / (tissue - air)
    if not _clips_air(scaled, border):
        body = _body_in_air(scaled, HARD_ABOVE_GREY)
        if np.count_nonzero(body) > LEAST_OF_BRIGHT * np.count_nonzero(scaled > FAT_CLIPPED):
            return body
    return _body_in_clipped_air(scaled)


def _clips_air(scaled: Image, border: Mask) -> bool:
    """Tell whether the window clips air and shows fat much darker than muscle.

    Air with noise is not clipped. Without noise it may be clipped, or set to one value by a program; then the
    tissue tells. Through a narrow window much of it lies between fat and muscle, bone is cut at one value and
    noise is large. The weights are a logistic fit: of 2966 real slices seen through five narrow windows 23
    are taken for wide ones, nearly all without visible fat, and of 2773 through wide windows 9 for narrow
    ones, without a table. Drawings without noise are told by their rim.
    """
    around = scaled[border]
    if _share((around > 0) & (around < FAINT), around < FAINT) > NOISY_AIR:
        return False
    low, high = BETWEEN
    between = _share((scaled > low) & (scaled < high), scaled >= high)
    top = float(scaled.max())
    cut = min(_share(scaled == top, scaled > BRIGHT), 0.6) if top > HIGHEST else 0.0
    soft = _erode(np.pad((scaled > high) & (scaled < BRIGHT), 1), 1)[:, 1:]
    noise = float(np.abs(np.diff(scaled, axis=1))[soft].mean()) if soft.any() else 0.0
    if 4.5 * min(between, 0.2) + 0.9 * cut + 14 * noise > 1:
        return True
    dense = _fill_holes(scaled > TISSUE_ABOVE)
    rim = _dilate(np.pad(dense, 4), 4) & ~_dilate(np.pad(dense, 2), 2)
    return _share(rim & (scaled > 0.1), rim) > FAT_RIM


def _share(part: Mask, whole: Mask) -> float:
    """Return the ratio of two counts, 0 where there is no whole."""
    return int(np.count_nonzero(part)) / max(int(np.count_nonzero(whole)), 1)


def _body_in_air(scaled: Image, hard_above: float) -> Mask:
    """Find the patient where the window shows air, foam and lungs."""
    body = _solid_parts(scaled > TISSUE_ABOVE, scaled, hard_above)
    if not _lungs_at_frame(scaled[::2, ::2], body[::2, ::2]).any():  # in a quarter of the time
        return body
    return _fill_holes(body | _lungs_at_frame(scaled, body))


def _lungs_at_frame(scaled: Image, body: Mask) -> Mask:
    """Find lungs that the frame cuts open: sparse, and mostly within the body."""
    gas = _fill_holes(body | (scaled > GAS_ABOVE)) & ~body
    parts, contact = _contact(gas, body)
    area = np.bincount(parts.ravel())
    lung = (contact > LUNG_CONTACT) & (area > LUNG_SHARE * gas.size)
    lung &= np.bincount(parts.ravel(), scaled.ravel()) > LUNG_ABOVE * area
    found: Mask = lung[parts]
    return found


def _body_in_clipped_air(scaled: Image) -> Mask:
    """Find the patient where whatever is brighter than air is the patient or a dense part of the table."""
    closed = _erode(_dilate(np.pad(scaled > CLIPPED_AIR_BELOW, 2, mode="edge"), 1), 1)  # noise cuts fat
    tissue = ndimage.uniform_filter(closed.astype(np.float32), 3) > NEAR_TISSUE
    return _solid_parts(tissue, scaled, HARD_ABOVE_CLIPPED)


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


def _solid_parts(tissue: Mask, scaled: Image, hard_above: float) -> Mask:
    """Return the thick parts of a threshold image with their holes filled; table tops are thin."""
    body = _thick_parts(_open(tissue), scaled, hard_above)
    pockets, contact = _contact(_fill_holes(tissue) & ~(tissue | body), body)
    near = contact > POCKET_CONTACT
    if not near.any():
        return body
    parts, count = ndimage.label(_fill_holes(_open(tissue | near[pockets])))
    kept = np.zeros(count + 1, dtype=np.bool_)
    kept[parts[body]] = True
    kept[0] = False
    filled: Mask = body | kept[parts]
    return filled


def _thick_parts(opened: Mask, scaled: Image, hard_above: float) -> Mask:
    """Return the filled parts that are about as thick as an arm, without smaller ones as hard as a table."""
    solid = _fill_holes(opened)
    parts, count = ndimage.label(solid)
    depth = ndimage.distance_transform_edt(solid[::2, ::2])
    thick = np.zeros(count + 1, dtype=np.bool_)
    thick[parts[::2, ::2][depth >= THICK_SHARE * depth.max()]] = True
    thick[0] = False
    area = np.bincount(parts[solid], minlength=1)
    for part in np.flatnonzero(thick):
        thick[part] = part == area.argmax() or np.median(scaled[parts == part]) < hard_above
    chosen: Mask = thick[parts]
    return chosen


def _contact(mask: Mask, body: Mask) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    """Label the parts of a mask beside the body; which share of each part's outline lies against the body."""
    parts, count = ndimage.label(mask)
    share = np.zeros(count + 1)
    if count == 0:
        return parts, share
    around, touching = np.pad(parts, 1), np.pad(body, 1)
    rows, columns = parts.shape
    edges, against = share.copy(), share.copy()
    for y, x in ((0, 1), (2, 1), (1, 0), (1, 2)):
        other = (around[y : y + rows, x : x + columns] != parts) & mask
        edges += np.bincount(parts[other], minlength=count + 1)
        against += np.bincount(parts[other & touching[y : y + rows, x : x + columns]], minlength=count + 1)
    share[1:] = against[1:] / edges[1:]
    return parts, share


def _fill_holes(mask: Mask) -> Mask:
    """Return the mask with all that it encloses; several times faster than SciPy's function."""
    parts, count = ndimage.label(~mask)
    outside = np.zeros(count + 1, dtype=np.bool_)
    for side in (parts[0], parts[-1], parts[:, 0], parts[:, -1]):
        outside[side] = True
    outside[0] = False
    filled: Mask = ~outside[parts]
    return filled


def _opening_radius(shape: tuple[int, int]) -> int:
    """Return the radius in pixels."""
    return max(1, round(OPENING_SHARE * max(shape)))


def _open(mask: Mask) -> Mask:
    """Return the mask without what is thinner than a disk; what reaches the frame goes on beyond it."""
    r = _opening_radius(mask.shape)
    return _dilate(_erode(np.pad(mask, 2 * r, mode="edge"), r), r)


def _erode(padded: Mask, r: int) -> Mask:
    """Erode by a disk; the result is smaller by r at each side."""
    y, x = np.ogrid[-r : r + 1, -r : r + 1]
    rows, columns = padded.shape[0] - 2 * r, padded.shape[1] - 2 * r
    eroded = np.ones((rows, columns), dtype=np.bool_)
    for i, j in np.argwhere(x * x + y * y <= r * r + 1):
        eroded &= padded[i : i + rows, j : j + columns]
    return eroded


def _dilate(padded: Mask, r: int) -> Mask:
    """Dilate by a disk; the result is smaller by r at each side."""
    return ~_erode(~padded, r)
