"""What is known of the pixels of a slice, from truth, machine-made tissue maps and Hounsfield units."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fewct.data.examples import BACKGROUND, STRUCTURE, UNKNOWN
from fewct.data.packed import AIR_WEIGHT, FAT_WEIGHT
from fewct.data.stacks import SLICE_LABELS, SliceStack
from fewct.types import Image, Mask, Unit

Bytes: TypeAlias = Annotated[NDArray[np.uint8], "rows columns"]

LUNG, LUNG_TWO, BONE, FAT, INNER_FAT, SOFT, GAS, SKULL, CANAL, NOT_COMPUTED = 1, 2, 4, 5, 6, 7, 8, 9, 10, 255
"""Values of `tissue`."""
LUNG_LABEL, LUNG_TWO_LABEL, BRAIN_LABEL, CANAL_LABEL = 101, 102, 109, 110
"""Labels of what only the tissue map tells, the same in neighbouring slices."""
NEAR_MM = 3.0  # borders are known this far from a structure
BODY_MARGIN_PX = 3
FAT_HU = (-125.0, -55.0)
BRIGHT_HU = 240.0  # bone and contrast agent
GAS_HU = -400.0
EDGE_HU = 150.0  # contrast of a sure edge of bone
MARROW_HU = 80.0  # a hole in bone that is darker may be the spinal canal or the brain
LUNG_HOLE_MM2, CRUMB_MM2, LUNG_MM2 = 300.0, 30.0, 2000.0
CRUMB_PX = 6
CANAL_MM2 = (60.0, 700.0)
CANAL_HU = (-30.0, 90.0)


@dataclass(frozen=True, eq=False)
class Knowledge:
    """Annotation of one slice as `SliceStack` holds it; arrays are (rows, columns).

    Args:
        labels: uint8.
        structure: uint8.
        border_weight: uint8.
        body: bool.
    """

    labels: Bytes
    structure: Bytes
    border_weight: Bytes
    body: Mask


def stack_slices(
    source: str,
    unit: Unit,
    pixels: Iterable[NDArray[Any]],
    known: Sequence[Knowledge],
    patient: Sequence[str] | NDArray[np.str_],
    pixel_mm: Annotated[NDArray[np.floating], "slices"],
    above: NDArray[np.int32] | None = None,
    gap_mm: NDArray[np.float32] | None = None,
    label_offset_px: float = 0.0,
) -> SliceStack:
    """Return slices of one size as a stack; without `above` they have no neighbours."""
    count = len(known)
    return SliceStack(
        source,
        unit,
        label_offset_px,
        np.array(patient, dtype=np.str_),
        np.stack([np.rint(one) for one in pixels]).astype(np.int16),
        np.stack([one.labels for one in known]).astype(np.uint8),
        np.stack([one.structure for one in known]),
        np.stack([one.border_weight for one in known]),
        np.stack([one.body for one in known]),
        np.asarray(pixel_mm, dtype=np.float32),
        np.full(count, -1, dtype=np.int32) if above is None else above,
        np.full(count, np.nan, dtype=np.float32) if gap_mm is None else gap_mm,
    )


def from_truth(truth: Bytes, body: Mask, pixel_mm: float) -> Knowledge:
    """Return the knowledge of a slice of which only the labelled structures and the body are known."""
    structure = np.where(body, UNKNOWN, BACKGROUND).astype(np.uint8)
    structure[truth > 0] = STRUCTURE
    return Knowledge(truth, structure, _border_weight(truth, body, truth > truth.max(), pixel_mm), body)


def from_intensities(
    hu: Image, body: Mask, pixel_mm: float, gas_hu: float = GAS_HU, lungs: bool = False
) -> Knowledge:
    """Return what Hounsfield units alone tell: fat, gas in the body, and what is as bright as bone.

    Args:
        hu: Hounsfield units.
        body: The patient.
        pixel_mm: Side of a pixel.
        gas_hu: Gas is below.
        lungs: Whether large parts of gas are lungs, labelled as pieces of this slice.
    """
    smooth: Image = ndimage.gaussian_filter(hu, 1.0)
    fat = body & (smooth > FAT_HU[0]) & (smooth < FAT_HU[1])
    fat = ndimage.binary_opening(fat, np.ones((3, 3)))
    gas = ndimage.binary_erosion(body, iterations=4) & (smooth < gas_hu)
    structure = np.where(body & ~fat, UNKNOWN, BACKGROUND).astype(np.uint8)
    structure[gas | (body & (smooth > BRIGHT_HU))] = STRUCTURE
    labels = np.zeros(hu.shape, dtype=np.uint8)
    if lungs:
        _add_pieces(labels, _filled(gas, body, LUNG_HOLE_MM2 / pixel_mm**2), LUNG_MM2 / pixel_mm**2)
        structure[labels > 0] = STRUCTURE
    weight = _border_weight(labels, body, fat, pixel_mm)
    inside_gas = ndimage.binary_erosion(gas, iterations=3)
    weight[inside_gas & (weight == 0)] = round(255 * AIR_WEIGHT)
    return Knowledge(labels, structure, weight, body)


@dataclass(frozen=True, eq=False)
class TissueSlice:
    """A slice with a machine-made tissue map; arrays are (rows, columns).

    Args:
        hu: float32: Hounsfield units.
        tissue: uint8: see `LUNG` and the others.
        truth: uint8: labelled structures, below `SLICE_LABELS`.
        pixel_mm: Side of a pixel.
        airways: Whether gas outside the lungs lies in airways and sinuses; if not, it may lie in the bowel.
        replaced: Values of `tissue` that `truth` replaces wherever they lie.
    """

    hu: Image
    tissue: Bytes
    truth: Bytes
    pixel_mm: float
    airways: bool
    replaced: frozenset[int] = frozenset()


def from_tissue(item: TissueSlice) -> Knowledge:
    """Return what truth and a tissue map tell of a slice; truth wins."""
    tissue, labels = item.tissue, item.truth.copy()
    body: Mask = tissue > 0
    free = labels == 0
    fat = free & ((tissue == FAT) | (tissue == INNER_FAT))
    structure = np.where(body & ~fat, UNKNOWN, BACKGROUND).astype(np.uint8)
    sure = (labels > 0) | np.isin(tissue, (LUNG, LUNG_TWO, BONE, GAS))
    structure[sure] = STRUCTURE
    per_mm2 = 1 / item.pixel_mm**2
    for value, label in ((LUNG, LUNG_LABEL), (LUNG_TWO, LUNG_TWO_LABEL)):
        if value not in item.replaced:
            lung = _filled(tissue == value, np.isin(tissue, (SOFT, GAS)), LUNG_HOLE_MM2 * per_mm2)
            labels[lung & free] = label
    if SKULL not in item.replaced:
        labels[(tissue == SKULL) & free] = BRAIN_LABEL
    canal = _spinal_canal(item) if CANAL not in item.replaced else np.zeros(tissue.shape, dtype=np.bool_)
    labels[canal & free] = CANAL_LABEL
    bone, doubtful = _bone(item, canal)
    crumb = max(CRUMB_PX, CRUMB_MM2 * per_mm2)
    near_truth = ndimage.distance_transform_edt(free) <= 2 if not free.all() else ~free
    left_over = _add_pieces(labels, bone & free, crumb, avoid=near_truth)
    gas = (tissue == GAS) & free
    if item.airways:
        left_over |= _add_pieces(labels, gas, crumb, avoid=near_truth)
    structure[labels > 0] = STRUCTURE
    weight = _border_weight(labels, body, fat, item.pixel_mm)
    doubtful |= left_over | _blurred_edges(item.hu, labels >= SLICE_LABELS)
    if not item.airways:
        doubtful |= gas
    weight[doubtful & (item.truth == 0)] = 0
    return Knowledge(labels, structure, weight, body)


def _bone(item: TissueSlice, canal: Mask) -> tuple[Mask, Mask]:
    """Return bone with its marrow, and the pixels at holes that may be marrow or not."""
    bone: Mask = item.tissue == BONE
    holes, count = ndimage.label(ndimage.binary_fill_holes(bone) & ~bone & ~canal & (item.tissue != SKULL))
    if count == 0:
        return bone, np.zeros(bone.shape, dtype=np.bool_)
    numbers = np.arange(1, count + 1)
    median = ndimage.median(item.hu, holes, numbers)
    area = np.bincount(holes.ravel())[1:]
    marrow = np.concatenate([[False], (median >= MARROW_HU) | (area * item.pixel_mm**2 < CRUMB_MM2)])[holes]
    doubtful: Mask = ndimage.binary_dilation((holes > 0) & ~marrow, iterations=1)
    return bone | (marrow & (item.truth == 0)), doubtful


def _spinal_canal(item: TissueSlice) -> Mask:
    """Return the part of the closed holes in bone that is most likely the spinal canal, or nothing."""
    parts, count = ndimage.label(item.tissue == CANAL)
    columns = np.flatnonzero((item.tissue > 0).any(axis=0))
    best, off_centre = 0, np.inf
    for number in range(1, count + 1):
        inside = parts == number
        area = np.count_nonzero(inside) * item.pixel_mm**2
        hu = float(np.median(item.hu[inside]))
        offset = abs(float(np.nonzero(inside)[1].mean()) - float(columns.mean())) * item.pixel_mm
        plausible = CANAL_MM2[0] <= area <= CANAL_MM2[1] and CANAL_HU[0] <= hu <= CANAL_HU[1]
        if plausible and offset < min(off_centre, 40.0):
            best, off_centre = number, offset
    chosen: Mask = (parts == best) & (best > 0)
    return chosen


def _filled(part: Mask, allowed: Mask, hole_px: float) -> Mask:
    """Return a part with its holes up to a size filled where that is allowed."""
    holes, _ = ndimage.label(ndimage.binary_fill_holes(part) & ~part)
    small = np.bincount(holes.ravel()) <= hole_px
    small[0] = False
    filled: Mask = part | (small[holes] & allowed)
    return filled


def _add_pieces(labels: Bytes, mask: Mask, least_px: float, avoid: Mask | None = None) -> Mask:
    """Label the connected parts of a mask as pieces of this slice, the largest first, in place.

    Args:
        labels: Gets the pieces.
        mask: Where they lie.
        least_px: Smaller parts get no label.
        avoid: Parts that lie mostly in here get no label.

    Returns:
        bool (rows, columns): parts without a label.
    """
    parts, count = ndimage.label(mask)
    area = np.bincount(parts.ravel(), minlength=count + 1)
    taken = np.zeros(count + 1) if avoid is None else np.bincount(parts[avoid], minlength=count + 1)
    good = (area >= least_px) & (taken <= 0.6 * area)
    good[0] = False
    used = max(int(labels.max(initial=0)), SLICE_LABELS - 1)
    chosen = np.flatnonzero(good)[np.argsort(-area[good], kind="stable")][: 255 - used]
    numbers = np.zeros(count + 1, dtype=np.uint8)
    numbers[chosen] = used + 1 + np.arange(len(chosen))
    labels[mask] = numbers[parts[mask]]
    without: Mask = mask & (numbers[parts] == 0)
    return without


def _blurred_edges(hu: Image, pieces: Mask) -> Mask:
    """Return the pixels at the edges of pieces across which Hounsfield units hardly change."""
    edges = ndimage.binary_dilation(pieces) & ~ndimage.binary_erosion(pieces)
    contrast = ndimage.maximum_filter(hu, 3) - ndimage.minimum_filter(hu, 3)
    blurred: Mask = edges & (contrast < EDGE_HU)
    return blurred


def _border_weight(labels: Bytes, body: Mask, fat: Mask, pixel_mm: float) -> Bytes:
    """Return the weight of borders: whole near structures, low in fat and in the air around, 0 elsewhere."""
    weight = np.zeros(labels.shape, dtype=np.uint8)
    weight[~ndimage.binary_dilation(body, iterations=BODY_MARGIN_PX)] = round(255 * AIR_WEIGHT)
    weight[ndimage.binary_erosion(fat, iterations=2)] = round(255 * FAT_WEIGHT)
    if labels.any():
        near_px = max(1.0, NEAR_MM / pixel_mm) if np.isfinite(pixel_mm) else 2.0
        weight[ndimage.distance_transform_edt(labels == 0) <= near_px] = 255
    return weight
