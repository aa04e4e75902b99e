"""Cardiac and chest CT angiographies as grey values, with manual truth of the heart or the aorta."""

from pathlib import Path

import numpy as np

from fewct.data.anatomy import HEART_MM
from fewct.data.held_out import is_held_out
from fewct.data.npz import npz_files, read_npz
from fewct.data.regions.knowledge import from_truth, stack_slices
from fewct.data.stacks import SliceStack
from fewct.imaging.body import body_mask
from fewct.types import CTSlice


def read_hearts(folder: Path, held_out: bool) -> list[SliceStack]:
    """Read CHD68: heart and great vessels complete, the rest unknown; the slices lie far apart.

    Args:
        folder: One file a patient.
        held_out: Whether to read the people held out, in place of all others.
    """
    paths = [path for path in npz_files(folder) if is_held_out("chd68", path.stem) == held_out]
    return _stacks("chd68", paths)


def read_aorta(folder: Path) -> list[SliceStack]:
    """Read slices of a chest of which the aorta is labelled; their distances are unknown."""
    return _stacks("aorta_kaggle", npz_files(folder))


def _stacks(source: str, paths: list[Path]) -> list[SliceStack]:
    """Return the slices of some files as a stack, in a list."""
    images, known, patients = [], [], []
    for path in paths:
        arrays = read_npz(path, ("image", "label"))
        for image, label in zip(arrays["image"], arrays["label"], strict=True):
            images.append(image)
            known.append(from_truth(label, body_mask(CTSlice(image.astype(np.float32), "grey")), HEART_MM))
            patients.append(path.stem)
    if not images:
        return []
    return [stack_slices(source, "grey", images, known, patients, np.full(len(images), np.nan))]
