"""Training examples from packed abdominal CT with organ labels and dense segments (see `load_patients`)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fewct.data.examples import BACKGROUND, STRUCTURE, UNKNOWN, TrainingExample
from fewct.imaging.body import body_mask
from fewct.types import CTSlice, Image, Mask

LOW_HU, HIGH_HU = -125.0, 275.0  # the window of `image`
FAT_HU = (-119.0, -55.0)
BRIGHT_HU = 240.0  # bone and contrast agent
AIR_HU = -124.0
ZOOM = 2.0  # the slices are 256 x 256
LABELS_AHEAD_PX = 0.35  # the packed labels lie up and left of the edges that the images show
NEAR_PX = 2.0  # a border is known this far from a labelled structure
BODY_SHARE = 0.2  # a larger unnamed segment is the rest of the body, no structure
FAT_WEIGHT, AIR_WEIGHT = 0.3, 0.2  # of "no border here", which intensities tell


@dataclass(frozen=True, eq=False)
class LabelledSlice:
    """One slice of a patient: image and labels, each uint8 (rows, columns).

    Args:
        image: Windowed to [-125, 275] HU.
        labels: Structures, 0 for unknown.
        weak: The same slice windowed to its own range, where there is one.
    """

    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    weak: NDArray[np.uint8] | None


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


def load_patients(folder: Path, without: Sequence[str] = ()) -> list[LabelledSlice]:
    """Read all packed patients (*.npz) of a folder, in order of name.

    Each file has `image` and `label` (n, rows, columns) uint8 and `z` (n,), and where there are dense
    segments `dense_z`, `dense_image`, `dense_label` and `dense_segments`, which take the label's place.

    Args:
        folder: Where the files lie.
        without: Names of `ORGANS` that are left unlabelled, as if nobody had annotated them.
    """
    hidden = [ORGANS[name] for name in without]
    slices = []
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files}
        dense = {int(z): k for k, z in enumerate(arrays.get("dense_z", ()))}
        for image, label, z in zip(arrays["image"], arrays["label"], arrays["z"], strict=True):
            k = dense.get(int(z))
            if k is None:
                slices.append(LabelledSlice(image, _hide(label, hidden), None))
            else:
                body = body_mask(CTSlice(image.astype(np.float32), "grey"))
                organs = arrays["dense_label"][k]
                merged = _hide(_merge_segments(arrays["dense_segments"][k], organs, body), hidden)
                slices.append(LabelledSlice(image, merged, arrays["dense_image"][k]))
    return slices


def as_hu(image: NDArray[np.uint8]) -> Image:
    """Return the Hounsfield units of a packed `image`, as far as its window tells them."""
    return (image.astype(np.float32) * ((HIGH_HU - LOW_HU) / 255) + LOW_HU).astype(np.float32)


def _hide(labels: NDArray[np.uint8], hidden: Sequence[int]) -> NDArray[np.uint8]:
    return np.where(np.isin(labels, hidden), np.uint8(0), labels) if hidden else labels


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


def unlabelled_example(image: NDArray[np.uint8], window_hu: tuple[float, float]) -> TrainingExample:
    """Return the example of a slice of which nothing is known but the patient.

    Args:
        image: uint8 (rows, columns).
        window_hu: What its 0 and 255 stand for.
    """
    low, high = window_hu
    hu = (image.astype(np.float32) * ((high - low) / 255) + low).astype(np.float32)
    body = body_mask(CTSlice(hu, "grey"))
    nothing = np.zeros(image.shape, dtype=np.float32)
    return TrainingExample(
        hu, "hu", nothing.astype(np.int32), np.full(image.shape, UNKNOWN, np.uint8), nothing, body, ZOOM
    )


def make_example(item: LabelledSlice, weak: bool) -> TrainingExample:
    """Return the example of a slice, with what its intensities tell where no label does.

    Fat and the air around are no structures and hold no borders; gas and lung inside the body, and whatever
    is as bright as bone, belong to structures.

    Args:
        item: Slice and labels.
        weak: Whether to show it with the weak contrast of `item.weak`, which must then exist.
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
    likely = air | (body & (smooth > BRIGHT_HU))
    structure = np.full(labels.shape, UNKNOWN, dtype=np.uint8)
    structure[~body | fat] = BACKGROUND
    structure[likely | labelled] = STRUCTURE
    weight = np.zeros(labels.shape, dtype=np.float32)
    weight[~ndimage.binary_dilation(body, iterations=3)] = AIR_WEIGHT
    weight[ndimage.binary_erosion(fat, iterations=2)] = FAT_WEIGHT
    weight[ndimage.binary_erosion(air, iterations=3)] = AIR_WEIGHT
    weight[ndimage.distance_transform_edt(~labelled) <= NEAR_PX] = 1.0
    if weak and item.weak is not None:
        pixels = item.weak.astype(np.float32)
        return TrainingExample(pixels, "grey", labels, structure, weight, body, ZOOM, LABELS_AHEAD_PX)
    return TrainingExample(hu, "hu", labels, structure, weight, body, ZOOM, LABELS_AHEAD_PX)
