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

NEAR_MM = 3.0  # borders are known this far from a structure
BODY_MARGIN_PX = 3
FAT_HU = (-125.0, -55.0)
BRIGHT_HU = 240.0  # bone and contrast agent
GAS_HU = -400.0
LUNG_HOLE_MM2, LUNG_MM2 = 300.0, 2000.0  # vessels in lungs; the least of a lung
JUNCTION_PX = 3  # lungs that touch along a thinner line are two


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
    return Knowledge(truth, structure, border_weight_of(truth, body, np.zeros_like(body), pixel_mm), body)


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
        _add_lungs(labels, gas, body, pixel_mm)
        structure[labels > 0] = STRUCTURE
    weight = border_weight_of(labels, body, fat, pixel_mm)
    weight[touching(labels)] = 0
    inside_gas = ndimage.binary_erosion(gas, iterations=3)
    weight[inside_gas & (weight == 0)] = round(255 * AIR_WEIGHT)
    return Knowledge(labels, structure, weight, body)


def _add_lungs(labels: Bytes, gas: Mask, body: Mask, pixel_mm: float) -> None:
    """Label the large parts of gas as pieces of this slice, in place, parted where they are thin."""
    least = LUNG_MM2 / pixel_mm**2
    lungs = fill_holes(gas, body, LUNG_HOLE_MM2 / pixel_mm**2)
    cores = np.zeros_like(labels)
    add_pieces(cores, ndimage.binary_erosion(lungs, iterations=JUNCTION_PX), least / 2)
    if cores.any():
        away, nearest = ndimage.distance_transform_edt(cores == 0, return_indices=True)
        lungs &= away <= 3 * JUNCTION_PX
        labels[lungs] = cores[tuple(nearest)][lungs]


def touching(labels: Bytes) -> Mask:
    """Return the surroundings of the places where two structures touch: bool (rows, columns)."""
    highest = ndimage.maximum_filter(labels, 3)
    lowest = ndimage.minimum_filter(np.where(labels == 0, np.uint8(255), labels), 3)
    contact = (labels > 0) & (highest > 0) & (lowest < highest)
    near: Mask = ndimage.binary_dilation(contact, iterations=2)
    return near


def fill_holes(part: Mask, allowed: Mask, hole_px: float) -> Mask:
    """Return a part with its holes up to a size filled where that is allowed."""
    holes, _ = ndimage.label(ndimage.binary_fill_holes(part) & ~part)
    small = np.bincount(holes.ravel()) <= hole_px
    small[0] = False
    filled: Mask = part | (small[holes] & allowed)
    return filled


def add_pieces(labels: Bytes, mask: Mask, least_px: float, avoid: Mask | None = None) -> Mask:
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


def border_weight_of(labels: Bytes, body: Mask, fat: Mask, pixel_mm: float) -> Bytes:
    """Return the weight of borders: whole near structures, low in fat and in the air around, 0 elsewhere."""
    weight = np.zeros(labels.shape, dtype=np.uint8)
    weight[~ndimage.binary_dilation(body, iterations=BODY_MARGIN_PX)] = round(255 * AIR_WEIGHT)
    weight[ndimage.binary_erosion(fat, iterations=2)] = round(255 * FAT_WEIGHT)
    if labels.any():
        near_px = max(1.0, NEAR_MM / pixel_mm) if np.isfinite(pixel_mm) else 2.0
        weight[ndimage.distance_transform_edt(labels == 0) <= near_px] = 255
    return weight
