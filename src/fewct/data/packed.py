"""Training examples from packed abdominal CT with organ labels and dense segments."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fewct.data.examples import BACKGROUND, STRUCTURE, UNKNOWN, TrainingExample
from fewct.data.splits import hide_structures
from fewct.imaging.body import body_mask
from fewct.types import CTSlice, Image, Mask

LOW_HU, HIGH_HU = -125.0, 275.0  # the window of `image`
FAT_HU = (-119.0, -55.0)
BRIGHT_HU = 240.0  # bone and contrast agent
AIR_HU = -124.0
ZOOM = 2.0  # the slices are 256 x 256
LABEL_OFFSET_PX = 0.35  # the packed labels lie up and left of the edges in the images
NEAR_PX = 2.0  # borders are annotated this far from a labelled structure
BODY_SHARE = 0.2  # a larger segment outside the organs is the rest of the body, no structure
FAT_WEIGHT, AIR_WEIGHT = 0.3, 0.2  # border weights in fat and air, where intensities rule borders out


@dataclass(frozen=True, eq=False)
class PackedSlice:
    """One slice of a patient as the NPZ files hold it, arrays of uint8 (rows, columns).

    Args:
        image: Windowed to [-125, 275] HU.
        labels: 0 for unknown.
        low_contrast: The same slice windowed to its own range, where there is one.
    """

    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    low_contrast: NDArray[np.uint8] | None


ORGANS = {
    "spleen": 1,
    "right kidney": 2,
    "left kidney": 3,
    "gallbladder": 4,
    "oesophagus": 5,
    "liver": 6,
    "stomach": 7,
    "aorta": 8,
    "inferior vena cava": 9,
    "portal and splenic vein": 10,
    "pancreas": 11,
    "right adrenal": 12,
    "left adrenal": 13,
}
"""Labels of `label` and `dense_label`."""


def load_packed_slices(folder: Path, without: Sequence[str] = ()) -> list[PackedSlice]:
    """Read all packed patients (*.npz) of a folder, in order of name.

    Each file has `image` and `label` (n, rows, columns) uint8 and `z` (n,), and where there are dense
    segments `dense_z`, `dense_image`, `dense_label` and `dense_segments`, which take the label's place.

    Args:
        folder: Where the files lie.
        without: Names of `ORGANS` whose labels are dropped.
    """
    slices = []
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files}
        slices += read_packed_patient(arrays, without)
    return slices


def read_packed_patient(arrays: Mapping[str, NDArray[Any]], without: Sequence[str] = ()) -> list[PackedSlice]:
    """Return the slices of one patient's arrays; see `load_packed_slices`."""
    hidden = [ORGANS[name] for name in without]
    slices = []
    dense = {int(z): k for k, z in enumerate(arrays.get("dense_z", ()))}
    for image, label, z in zip(arrays["image"], arrays["label"], arrays["z"], strict=True):
        k = dense.get(int(z))
        if k is None:
            slices.append(PackedSlice(image, hide_structures(label, hidden).astype(np.uint8), None))
        else:
            body = body_mask(CTSlice(image.astype(np.float32), "grey"))
            merged = _merge_segments(arrays["dense_segments"][k], arrays["dense_label"][k], body)
            labels = hide_structures(merged, hidden).astype(np.uint8)
            slices.append(PackedSlice(image, labels, arrays["dense_image"][k]))
    return slices


def as_hu(image: NDArray[np.uint8]) -> Image:
    """Return the Hounsfield units of a packed `image`, clipped to its window."""
    return (image.astype(np.float32) * ((HIGH_HU - LOW_HU) / 255) + LOW_HU).astype(np.float32)


def _merge_segments(segments: NDArray[np.uint8], organs: NDArray[np.uint8], body: Mask) -> NDArray[np.uint8]:
    """Return organs, and around them the segments in the body that are not the rest of it."""
    area = np.bincount(segments.ravel(), minlength=256)
    inside = np.bincount(segments[body], minlength=256)
    of_organs = np.bincount(segments[organs > 0], minlength=256)
    is_structure = (inside > 0.7 * area) & (area < BODY_SHARE * np.count_nonzero(body)) & (area >= 12)
    is_structure &= of_organs < 0.5 * area
    is_structure[0] = False
    numbers = np.where(is_structure, 13 + np.cumsum(is_structure), 0)
    return np.where(organs > 0, organs, numbers[segments]).astype(np.uint8)


def unlabelled_packed_example(image: NDArray[np.uint8], window_hu: tuple[float, float]) -> TrainingExample:
    """Return the example of an unlabelled slice, of which only the body mask is known.

    Args:
        image: uint8 (rows, columns).
        window_hu: Hounsfield units of 0 and 255.
    """
    low, high = window_hu
    hu = (image.astype(np.float32) * ((high - low) / 255) + low).astype(np.float32)
    body = body_mask(CTSlice(hu, "grey"))
    nothing = np.zeros(image.shape, dtype=np.float32)
    return TrainingExample(
        hu, "hu", nothing.astype(np.int32), np.full(image.shape, UNKNOWN, np.uint8), nothing, body, ZOOM
    )


def packed_example(item: PackedSlice, low_contrast: bool) -> TrainingExample:
    """Return the example of a slice, with weak labels from intensities where there is no annotation.

    Fat and the air around are background without borders; gas and lung inside the body, and whatever is as
    bright as bone, are foreground.

    Args:
        item: Slice and labels.
        low_contrast: Whether its pixels are `item.low_contrast`, if there are such, in place of `item.image`.
    """
    hu = as_hu(item.image)
    labels = item.labels.astype(np.int32)
    body = body_mask(CTSlice(hu, "grey"))
    smooth = ndimage.gaussian_filter(hu, 1.0)
    labelled = labels > 0
    fat = ndimage.binary_opening(
        body & (smooth > FAT_HU[0]) & (smooth < FAT_HU[1]) & ~labelled, np.ones((3, 3))
    )
    inner = ndimage.binary_erosion(body, iterations=4)
    air = inner & (smooth < AIR_HU)
    gas_or_bright = air | (body & (smooth > BRIGHT_HU))
    structure = np.full(labels.shape, UNKNOWN, dtype=np.uint8)
    structure[~body | fat] = BACKGROUND
    structure[gas_or_bright | labelled] = STRUCTURE
    weight = np.zeros(labels.shape, dtype=np.float32)
    weight[~ndimage.binary_dilation(body, iterations=3)] = AIR_WEIGHT
    weight[ndimage.binary_erosion(fat, iterations=2)] = FAT_WEIGHT
    weight[ndimage.binary_erosion(air, iterations=3)] = AIR_WEIGHT
    weight[ndimage.distance_transform_edt(~labelled) <= NEAR_PX] = 1.0
    if low_contrast and item.low_contrast is not None:
        pixels = item.low_contrast.astype(np.float32)
        return TrainingExample(pixels, "grey", labels, structure, weight, body, ZOOM, LABEL_OFFSET_PX)
    return TrainingExample(hu, "hu", labels, structure, weight, body, ZOOM, LABEL_OFFSET_PX)
