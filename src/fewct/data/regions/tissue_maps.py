"""What a machine-made tissue map tells of the pixels of a slice, beside its truth."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fewct.data.examples import BACKGROUND, STRUCTURE, UNKNOWN
from fewct.data.regions.knowledge import (
    LUNG_HOLE_MM2,
    Bytes,
    Knowledge,
    add_pieces,
    border_weight_of,
    fill_holes,
    touching,
)
from fewct.data.stacks import SLICE_LABELS
from fewct.types import Image, Mask

LUNG, LUNG_TWO, BONE, FAT, INNER_FAT, SOFT, GAS, SKULL, CANAL, NOT_COMPUTED = 1, 2, 4, 5, 6, 7, 8, 9, 10, 255
"""Values of `tissue`."""
LUNG_LABEL, LUNG_TWO_LABEL, BRAIN_LABEL, CANAL_LABEL = 101, 102, 109, 110
"""Labels of what only the tissue map tells, the same in neighbouring slices."""
CRUMB_PX, CRUMB_MM2 = 6, 30.0  # smaller pieces get no label
EDGE_HU = 150.0  # contrast of a sure edge of bone
MARROW_HU = 80.0  # a hole in bone that is darker may be the spinal canal or the brain
CANAL_MM2 = (60.0, 700.0)
BRAIN_MM2 = (2000.0, 25000.0)
WATERY_HU = (-30.0, 90.0)  # of the spinal canal and the brain
CANAL_OFF_CENTRE_MM = 40.0
SINUS_MM = 10.0  # cavities of the face lie this near to bone
BONY_HU, GASSY_HU = 150.0, -400.0


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
    cavity = _near_face_bones(item)
    free = labels == 0
    fat = free & ((tissue == FAT) | (tissue == INNER_FAT))
    structure = np.where((body & ~fat) | cavity, UNKNOWN, BACKGROUND).astype(np.uint8)
    structure[(labels > 0) | np.isin(tissue, (LUNG, LUNG_TWO, BONE, GAS))] = STRUCTURE
    for value, label in ((LUNG, LUNG_LABEL), (LUNG_TWO, LUNG_TWO_LABEL)):
        if value not in item.replaced:
            allowed = np.isin(tissue, (INNER_FAT, SOFT, GAS))
            lung = fill_holes(tissue == value, allowed, LUNG_HOLE_MM2 / item.pixel_mm**2)
            labels[lung & free] = label
    doubtful = cavity | touching(np.where(np.isin(tissue, (LUNG, LUNG_TWO)), tissue, 0).astype(np.uint8))
    bone, holes = _bone(item, labels)
    doubtful |= holes | _add_bones_and_airways(item, labels, bone)
    structure[labels > 0] = STRUCTURE
    weight = border_weight_of(labels, body, fat, item.pixel_mm)
    doubtful |= _blurred_edges(item.hu, labels >= SLICE_LABELS)
    weight[doubtful & (item.truth == 0)] = 0
    return Knowledge(labels, structure, weight, body)


def _near_face_bones(item: TissueSlice) -> Mask:
    """Return what the map calls outside although it may lie in a cavity of the face: bool (rows, columns)."""
    if not item.airways or np.isin(item.tissue, (LUNG, LUNG_TWO)).any() or not (item.tissue == BONE).any():
        return np.zeros(item.tissue.shape, dtype=np.bool_)
    away = ndimage.distance_transform_edt(item.tissue != BONE) * item.pixel_mm
    cavity: Mask = (item.tissue == 0) & (away < SINUS_MM)
    return cavity


def _bone(item: TissueSlice, labels: Bytes) -> tuple[Mask, Mask]:
    """Return bone with its marrow, and the surroundings of holes that are neither; label canal and brain."""
    bone: Mask = item.tissue == BONE
    soft = np.isin(item.tissue, (FAT, INNER_FAT, SOFT, SKULL, CANAL))
    holes, count = ndimage.label(ndimage.binary_fill_holes(bone) & soft)
    numbers = np.arange(1, count + 1)
    area = np.bincount(holes.ravel(), minlength=count + 1)[1:] * item.pixel_mm**2
    median = np.asarray(ndimage.median(item.hu, holes, numbers)) if count else area
    watery = (median >= WATERY_HU[0]) & (median <= WATERY_HU[1])
    marrow = ((median >= MARROW_HU) & ~(area >= BRAIN_MM2[0])) | (area < CRUMB_MM2)
    free = item.truth == 0
    known = np.concatenate([[False], marrow])[holes]
    bone = bone | (known & free)
    if SKULL not in item.replaced:
        brain = np.isin(holes, numbers[watery & (area >= BRAIN_MM2[0]) & (area <= BRAIN_MM2[1])])
        brain |= item.tissue == SKULL
        labels[brain & free] = BRAIN_LABEL
        known |= brain
    if CANAL not in item.replaced:
        plausible = numbers[watery & ~marrow & (area >= CANAL_MM2[0]) & (area <= CANAL_MM2[1])]
        canal = _most_central(item, holes, [int(one) for one in plausible])
        labels[canal & free] = CANAL_LABEL
        known |= canal
    doubtful: Mask = ndimage.binary_dilation((holes > 0) & ~known)
    return bone, doubtful


def _most_central(item: TissueSlice, parts: NDArray[np.int32], numbers: list[int]) -> Mask:
    """Return the one of some parts that lies nearest to the middle of the body's columns, or nothing."""
    columns = np.flatnonzero((item.tissue > 0).any(axis=0))
    best, offset = 0, CANAL_OFF_CENTRE_MM
    for number in numbers:
        here = abs(float(np.nonzero(parts == number)[1].mean()) - float(columns.mean())) * item.pixel_mm
        if here < offset:
            best, offset = number, here
    return np.asarray(parts == best) if best else np.zeros(parts.shape, dtype=np.bool_)


def _add_bones_and_airways(item: TissueSlice, labels: Bytes, bone: Mask) -> Mask:
    """Label parts of bone, and of gas in airways, as pieces of this slice, in place; return those left over.

    Rims around true bone, such as the mandible, and around true lungs stay without a label.
    """
    crumb = max(CRUMB_PX, CRUMB_MM2 / item.pixel_mm**2)
    numbers = np.unique(item.truth[item.truth > 0])
    median = np.asarray(ndimage.median(item.hu, item.truth, numbers)) if numbers.size else numbers
    free = labels == 0
    bony = ndimage.binary_dilation(np.isin(item.truth, numbers[median > BONY_HU]), iterations=2)
    left_over = add_pieces(labels, bone & free, crumb, avoid=bony)
    gas = (item.tissue == GAS) & free
    if not item.airways:
        return np.asarray(left_over | gas)
    gassy = ndimage.binary_dilation(np.isin(item.truth, numbers[median < GASSY_HU]), iterations=2)
    left: Mask = left_over | add_pieces(labels, gas, crumb, avoid=gassy)
    return left


def _blurred_edges(hu: Image, pieces: Mask) -> Mask:
    """Return the pixels at the edges of pieces across which Hounsfield units hardly change."""
    edges = ndimage.binary_dilation(pieces) & ~ndimage.binary_erosion(pieces)
    contrast = ndimage.maximum_filter(hu, 3) - ndimage.minimum_filter(hu, 3)
    blurred: Mask = edges & (contrast < EDGE_HU)
    return blurred
