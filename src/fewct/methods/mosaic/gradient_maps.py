"""Boundary and structure maps from image gradients and tissue densities: nothing is trained.

Densities are in Hounsfield units (HU), lengths in millimetres; for slices that tell neither, both are
estimated, so that one set of limits fits all.
"""

import math
from typing import Annotated, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.filters import threshold_otsu

from fewct.methods.mosaic.maps import Maps
from fewct.types import CTSlice, Image, Mask

Distances: TypeAlias = Annotated[NDArray[np.float64], "rows columns"]

FIELD_OF_VIEW_MM = 400.0  # of a slice that does not tell its spacing

SOFT_TISSUE_HU = (-160.0, 240.0)  # borders are looked for in this range
BORDER_SCALES_MM = (1.0, 2.0, 4.0)
CERTAIN_BORDER_HU = 100.0  # a change by this much over one scale is a certain border
FINEST_SCALE_PX = 0.7

AIR_HU, AIR_BELOW_HU = -1000.0, -400.0
FAT_HU = -100.0
# Dense tissue counts unless it is thin, as skin and septa are; fluid, only where it is wide: between fat and
# dense tissue there is always a thin layer of its density. Each is smoothed first, against noise.
DENSE_ABOVE_HU, DENSE_RADIUS_MM, DENSE_SCALE_MM = 15.0, 3.0, 0.7
FLUID_ABOVE_HU, FLUID_BELOW_HU, FLUID_RADIUS_MM, FLUID_SCALE_MM = -10.0, 35.0, 6.0, 2.0

BONE_ABOVE_HU, BONE_GAP_MM, MARROW_MM2 = 180.0, 2.0, 600.0
PINHOLE_MM2 = 30.0  # smaller holes in structures are noise, or vessels in lungs
GAS_DEPTH_MM, GAS_RADIUS_MM, GAS_MM2 = 4.0, 2.0, 100.0

SKIN_MM, SUBCUTANEOUS_MM = 6.0, 25.0
CLIPPED_FAT_SHARE = 0.3  # of fat under the skin at the darkest value: from here on fat is clipped, too
FAT_SHARE = 0.1  # of the body: less fat under the skin than this means that the dark part was gas


def gradient_maps(image: CTSlice, body: Mask) -> Maps:
    """Return boundary and foreground maps from gradients and densities of the slice alone.

    Args:
        image: Slice; pixels that are not finite count as air.
        body: bool (rows, columns): the patient, not empty.
    """
    pixel_mm = pixel_size_mm(image)
    hu = approximate_hu(image, body)
    bone = solid_bone(hu, body, pixel_mm)
    return Maps(boundary_map(hu, bone, pixel_mm), structure_map(hu, body, bone, pixel_mm))


def pixel_size_mm(image: CTSlice) -> float:
    """Return the side of a square as large as a pixel; where unknown, as if the slice showed 400 mm."""
    if image.spacing_mm is None:
        return FIELD_OF_VIEW_MM / max(image.shape)
    return math.sqrt(image.pixel_area_mm2)


def approximate_hu(image: CTSlice, body: Mask) -> Image:
    """Return Hounsfield units; grey values are mapped so that fat lies at -100 and the end of fat at 0.

    Fat is what is dark under the skin. Where a window has clipped air to its darkest value, that value
    becomes air.

    Args:
        image: Slice.
        body: bool (rows, columns), not empty.

    Returns:
        float32 (rows, columns), finite.
    """
    finite = np.isfinite(image.pixels)
    if image.unit == "hu":
        return np.where(finite, image.pixels, np.float32(AIR_HU))
    darkest = np.min(image.pixels, where=finite, initial=np.inf)
    pixels = np.where(finite, image.pixels, darkest).astype(np.float32)
    depth_mm = _depth_px(body) * pixel_size_mm(image)
    fat, end_of_fat = _fat(pixels, depth_mm)
    unclipped = pixels[fat & (pixels > darkest)]
    if unclipped.size == 0:
        return np.zeros(image.shape, np.float32)
    typical = float(np.median(unclipped))
    hu = (pixels - end_of_fat) * (-FAT_HU / (end_of_fat - typical))
    under_skin = pixels[fat & (depth_mm <= SUBCUTANEOUS_MM)]
    if np.count_nonzero(under_skin == darkest) < CLIPPED_FAT_SHARE * under_skin.size:
        hu[pixels == darkest] = AIR_HU
    return hu.astype(np.float32)


def _fat(pixels: Image, depth_mm: Distances) -> tuple[Mask, float]:
    """Return which pixels of the body are fat, and the grey value where fat ends.

    Otsu's threshold parts a body into fat and the rest, or, where much gas is darker than fat, into gas and
    the rest, which is then parted again. Fat reaches the skin, gas does not.
    """
    body, inner = depth_mm > 0, depth_mm > SKIN_MM
    threshold = _otsu(pixels[body])
    dark = ndimage.label(body & (pixels < threshold))[0]
    at_skin = np.unique(dark[body & ~inner])
    fat = inner & np.isin(dark, at_skin[at_skin > 0])
    if np.count_nonzero(fat) < FAT_SHARE * np.count_nonzero(inner):
        rest = inner & (dark == 0)
        threshold = _otsu(pixels[rest])
        fat = rest & (pixels < threshold)
    return fat, threshold


def _otsu(values: NDArray[np.float32]) -> float:
    """Return Otsu's threshold with the brightest 3 % (bone, metal) drawn in; the value of constant ones."""
    if values.size == 0:
        return 0.0
    values = np.minimum(values, np.percentile(values, 97))
    return float(threshold_otsu(values)) if values.min() < values.max() else float(values.min())


def solid_bone(hu: Image, body: Mask, pixel_mm: float) -> Mask:
    """Return bone with its marrow: what is denser than soft tissue, narrow gaps and small holes filled."""
    bone = (hu > BONE_ABOVE_HU) & body
    closed = ~_open(~bone, BONE_GAP_MM / pixel_mm)
    holes = ndimage.binary_fill_holes(closed) & ~closed
    marrow = holes & ~_large_parts(holes, MARROW_MM2 / pixel_mm**2)
    return np.asarray(closed | marrow)


def boundary_map(hu: Image, bone: Mask, pixel_mm: float) -> Image:
    """Return how likely a pixel lies on a border: the mean gradient over several scales.

    b = min(1, mean over s of s |grad(G_s * u)| / 100 HU), where u is the slice in the range of soft tissue
    with bone as one plateau on top, G_s a Gaussian of width s, and s times the gradient is the change over
    one width (Lindeberg 1998, https://doi.org/10.1023/A:1008045108935). The fine scale tells where a border
    lies, the coarse ones whether it is more than noise.

    Args:
        hu: float32 (rows, columns), finite.
        bone: bool (rows, columns).
        pixel_mm: Side of a pixel in millimetres.

    Returns:
        float32 (rows, columns) in [0, 1].
    """
    low, high = SOFT_TISSUE_HU
    tissue = np.where(bone, np.float32(high), hu.clip(low, high))
    total = np.zeros_like(tissue)
    for scale_mm in BORDER_SCALES_MM:
        scale_px = max(scale_mm / pixel_mm, FINEST_SCALE_PX)
        total += scale_px * ndimage.gaussian_gradient_magnitude(tissue, scale_px)
    boundary: Image = (total / (len(BORDER_SCALES_MM) * CERTAIN_BORDER_HU)).clip(0, 1)
    return boundary


def structure_map(hu: Image, body: Mask, bone: Mask, pixel_mm: float) -> Image:
    """Return which pixels belong to structures: bone, tissue denser than fat where it is not thin, and gas.

    Args:
        hu: float32 (rows, columns), finite.
        body: bool (rows, columns).
        bone: bool (rows, columns).
        pixel_mm: Side of a pixel in millimetres.

    Returns:
        float32 (rows, columns), 0 or 1.
    """
    low, high = SOFT_TISSUE_HU
    tissue = hu.clip(low, high)
    dense = ndimage.gaussian_filter(tissue, DENSE_SCALE_MM / pixel_mm) > DENSE_ABOVE_HU
    dense = _open((dense & body) | bone, DENSE_RADIUS_MM / pixel_mm)
    smooth = ndimage.gaussian_filter(tissue, FLUID_SCALE_MM / pixel_mm)
    fluid = (smooth > FLUID_ABOVE_HU) & (smooth < FLUID_BELOW_HU) & body
    fluid = _open(fluid, FLUID_RADIUS_MM / pixel_mm)
    deep = _depth_px(body) > GAS_DEPTH_MM / pixel_mm
    gas = _open((hu < AIR_BELOW_HU) & deep, GAS_RADIUS_MM / pixel_mm)
    structure = bone | dense | fluid | _large_parts(gas, GAS_MM2 / pixel_mm**2)
    background: Mask = _large_parts(~structure, PINHOLE_MM2 / pixel_mm**2)
    return (~background).astype(np.float32)


def _depth_px(mask: Mask) -> Distances:
    """Return how far each pixel of a mask is from the outside; beyond the frame is outside."""
    depth: Distances = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    return depth


def _open(mask: Mask, radius_px: float) -> Mask:
    """Return the part of a mask that a disk fits into; beyond the frame the mask goes on."""
    if mask.all():
        return mask
    margin = math.ceil(radius_px) + 1
    core = ndimage.distance_transform_edt(np.pad(mask, margin, mode="edge")) > radius_px
    if not core.any():
        return np.zeros_like(mask)
    opened = ndimage.distance_transform_edt(~core) <= radius_px
    return np.asarray(opened[margin:-margin, margin:-margin])


def _large_parts(mask: Mask, min_px: float) -> Mask:
    """Return the connected parts of a mask that have at least a number of pixels."""
    parts = ndimage.label(mask)[0]
    large = np.bincount(parts.ravel()) >= min_px
    large[0] = False
    return np.asarray(large[parts])
