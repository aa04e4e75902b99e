"""A tiny synthetic edition of the challenge, in the layout of the real one, to try all without an account."""

import json
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from fewct.challenge.editions import Edition
from fewct.imaging.intensity import Window, apply_window
from fewct.imaging.labelmap import relabel_sequential
from fewct.io.atomic import write_text
from fewct.io.images import write_picture
from fewct.io.label_table.table import write_table
from fewct.outputs import make_folder
from fewct.phantom import phantom_slice

N_TRAIN, N_LABELLED, N_TEST = 6, 3, 4
LEVELS = (0.15, 0.9)
WINDOW_LEVELS_HU, WINDOW_WIDTHS_HU = (0.0, 120.0), (250.0, 900.0)
ANNOTATED_SHARE = 0.7

Picture = Annotated[NDArray[np.uint8], "rows columns"]


def write_example(folder: Path, edition: Edition, seed: int = 0) -> None:
    """Write a synthetic edition: 6 training images, of which 3 are labelled, and 4 test images.

    The folder gets `train/` and `test/` with PNG images, `Y_train.csv`, `Y_test.csv` (which the real
    challenge does not publish) and, where the edition has classes, `annotated_labels.json`. Each image is a
    slice of another phantom, windowed to 8 bits with a random window.

    Args:
        folder: Where to write; made if absent.
        edition: With classes, truth holds the first of the phantom's structures as classes, images are
            rotated by 90 degrees, and training truth is partially annotated.
        seed: Another seed gives other phantoms.

    Raises:
        OutputError: If a file cannot be written.
    """
    rng = np.random.default_rng(seed)
    annotated: list[list[int]] = []
    for split, n_images in (("train", N_TRAIN), ("test", N_TEST)):
        make_folder(folder / split)
        maps = np.zeros((n_images, edition.side, edition.side), np.uint8)
        for number in range(n_images):
            picture, labels = _make_pair(rng, edition)
            write_picture(picture, folder / split / f"{number}.png")
            if split == "test":
                maps[number] = labels
            elif number < N_LABELLED:
                classes = np.unique(labels[labels > 0])
                kept = classes[rng.random(len(classes)) < ANNOTATED_SHARE] if edition.n_classes else classes
                maps[number] = np.where(np.isin(labels, kept), labels, 0)
                annotated.append(kept.tolist())
            else:
                annotated.append([])
        write_table(folder / f"Y_{split}.csv", maps)
    if edition.n_classes is not None:
        write_text(json.dumps(annotated), folder / "annotated_labels.json")


def _make_pair(rng: np.random.Generator, edition: Edition) -> tuple[Picture, Picture]:
    """Return an image and its complete truth."""
    ct, truth = phantom_slice(int(rng.integers(2**31)), level=rng.uniform(*LEVELS), size=edition.side)
    window = Window(rng.uniform(*WINDOW_LEVELS_HU), rng.uniform(*WINDOW_WIDTHS_HU))
    picture = apply_window(ct.pixels, window)
    if edition.n_classes is None:
        return picture, relabel_sequential(truth.labels)[0].astype(np.uint8)
    classes = np.where(truth.labels > edition.n_classes, 0, truth.labels).astype(np.uint8)
    return np.rot90(picture), np.rot90(classes)
