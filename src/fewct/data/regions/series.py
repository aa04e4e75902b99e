"""Hounsfield units of chest, trunk, head and legs, with machine-made tissue maps or without."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fewct.data.held_out import is_held_out
from fewct.data.npz import missing_part, npz_files, read_npz
from fewct.data.regions.knowledge import FAT_HU, LUNG_MM2, Knowledge, from_intensities, stack_slices
from fewct.data.regions.tissue_maps import LUNG, LUNG_TWO, NOT_COMPUTED, TissueSlice, from_tissue
from fewct.data.stacks import MAX_GAP_MM, SLICE_LABELS, SliceStack, neighbours
from fewct.imaging.body import body_mask
from fewct.types import CTSlice, Image, Mask

SERIES = ("acrin_flt_breast", "cmb_crc", "cptac_pda", "lidc_0314", "lung_fused_ct_path", "rider_pilot")
CHEST_SHARE = 0.25  # lungs fill this share of a slice of the chest
LEGS = "female_knee_to_ankle"
LEAST_SEGMENT_PX = 30
LUNG_HU, ENCLOSED_SHARE, WALL_PX = (-975.0, -400.0), 0.8, 8


def read_series(more: Path, held_out: bool) -> list[SliceStack]:
    """Read the series of single patients, slices from head to feet.

    Args:
        more: Folder with a folder for each name of `SERIES`.
        held_out: Whether to read the people held out, in place of all others.
    """
    stacks = []
    for folder in SERIES:
        files = [path for path in npz_files(more / folder) if is_held_out(folder, path.stem) == held_out]
        stacks += [
            _series(folder, path, path.stem.removesuffix("_upper").removesuffix("_lower")) for path in files
        ]
    return stacks


def read_single_slices(folder: Path, held_out: bool) -> list[SliceStack]:
    """Read TCGA-LUAD and TCGA-LUSC: slices of many patients and scanners.

    Args:
        folder: With `slices.npz`.
        held_out: Whether to read the people held out, in place of all others.
    """
    arrays = read_npz(folder / "slices.npz", ("image", "tissue", "patient", "spacing_mm"))
    keep = [k for k, one in enumerate(arrays["patient"]) if is_held_out(folder.name, str(one)) == held_out]
    if not keep:
        return []
    pixel = np.sqrt(arrays["spacing_mm"][:, 0] * arrays["spacing_mm"][:, 1])
    known = []
    for k in keep:
        tissue = arrays["tissue"][k]
        lungs = np.isin(tissue, (LUNG, LUNG_TWO))
        airways = bool(lungs.sum() > CHEST_SHARE * (tissue > 0).sum())
        known.append(_knowledge(arrays["image"][k], tissue, float(pixel[k]), airways))
    images, patients = arrays["image"][keep], arrays["patient"][keep]
    return [stack_slices(folder.name, "hu", images, known, patients, pixel[keep])]


def read_visible_human(folder: Path) -> list[SliceStack]:
    """Read head, neck and legs of the Visible Human woman; the legs have machine-made segments."""
    if not (folder / f"{LEGS}.npz").is_file():
        raise missing_part(folder / f"{LEGS}.npz")
    return [
        _series("visible_human_legs" if path.stem == LEGS else "visible_human", path, "visible_human")
        for path in npz_files(folder)
    ]


def _series(source: str, path: Path, patient: str) -> SliceStack:
    """Return one file's slices as a stack; z is in mm and falls towards the feet."""
    arrays = read_npz(path, ("image", "z", "spacing_mm"))
    images, z = arrays["image"], arrays["z"].astype(np.float64)
    pixel = float(np.sqrt(arrays["spacing_mm"][0] * arrays["spacing_mm"][1]))
    patients = [patient] * len(images)
    above, gap = neighbours(np.array(patients), z, MAX_GAP_MM)
    tissue = arrays.get("tissue", np.full(images.shape, NOT_COMPUTED, dtype=np.uint8))
    airways = _above_diaphragm(tissue, z)
    segments = arrays.get("segments", np.zeros(images.shape, dtype=np.uint8))
    known = [
        _with_segments(_knowledge(image, one, pixel, bool(gas)), image, pieces)
        for image, one, gas, pieces in zip(images, tissue, airways, segments, strict=True)
    ]
    pixel_mm = np.full(len(images), pixel)
    return stack_slices(source, "hu", images, known, patients, pixel_mm, above, gap)


def _above_diaphragm(tissue: NDArray[Any], z: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell which slices lie at or above the one with the largest lungs: bool (slices,)."""
    lungs = np.isin(tissue, (LUNG, LUNG_TWO)).sum(axis=(1, 2))
    above: NDArray[np.bool_] = z >= z[np.argmax(lungs)] if lungs.any() else np.ones(len(z), dtype=np.bool_)
    return above


def _knowledge(
    image: NDArray[np.int16], tissue: NDArray[np.uint8], pixel_mm: float, airways: bool
) -> Knowledge:
    """Return what is known of a slice, from Hounsfield units alone where there is no tissue map."""
    hu = image.astype(np.float32)
    if (tissue == NOT_COMPUTED).any():
        return from_intensities(hu, _body_with_lungs(hu, pixel_mm), pixel_mm, lungs=True)
    truth = np.zeros(tissue.shape, dtype=np.uint8)
    return from_tissue(TissueSlice(hu, tissue, truth, pixel_mm, airways))


def _body_with_lungs(hu: Image, pixel_mm: float) -> Mask:
    """Return the body with lungs that `body_mask` loses: behind a thin chest wall, or cut open by the frame.

    These are as dense as lung, and have body above and below them: mattresses and blankets have not.
    """
    body = body_mask(CTSlice(hu, "hu"))
    smooth = ndimage.gaussian_filter(hu, 1.0)
    sparse = ~body & (smooth > LUNG_HU[0]) & (smooth < LUNG_HU[1])
    parts, count = ndimage.label(ndimage.binary_opening(sparse, iterations=4))
    between = np.logical_or.accumulate(body) & np.logical_or.accumulate(body[::-1])[::-1]
    area = np.bincount(parts.ravel(), minlength=count + 1)
    enclosed = np.bincount(parts[between], minlength=count + 1)
    lung = (area * pixel_mm**2 > LUNG_MM2) & (enclosed > ENCLOSED_SHARE * area)
    lung[0] = False
    if not lung.any():
        return body
    with_wall = ndimage.binary_dilation(lung[parts], iterations=WALL_PX) & (smooth > LUNG_HU[0])
    found: Mask = ndimage.binary_fill_holes(body | with_wall)
    return found


def _with_segments(known: Knowledge, image: NDArray[np.int16], segments: NDArray[np.uint8]) -> Knowledge:
    """Return the knowledge with segments that are neither fat nor outside in place of pieces."""
    if not segments.any():
        return known
    numbers = np.arange(1, 256)
    area = np.bincount(segments.ravel(), minlength=256)[1:]
    median = np.nan_to_num(ndimage.median(image, segments, numbers))
    outside = ndimage.sum(~known.body, segments, numbers) > 0.5 * area
    good = (area >= LEAST_SEGMENT_PX) & (median > FAT_HU[1]) & ~outside
    new = np.zeros(256, dtype=np.uint8)
    new[1:][good] = SLICE_LABELS + np.minimum(np.arange(np.count_nonzero(good)), 255 - SLICE_LABELS)
    labels = new[segments]
    structure = known.structure.copy()
    structure[labels > 0] = 2
    weight = known.border_weight.copy()
    weight[ndimage.distance_transform_edt(labels == 0) <= 2] = 255
    return Knowledge(labels, structure, weight, known.body)
