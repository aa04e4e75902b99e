"""Draw the pictures of the documents: python docs/make_pictures.py."""

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

import fewct
from fewct.phantom import STRUCTURES, phantom_slice
from fewct.plot import overlay, side_by_side

IMAGES = Path(__file__).parent / "images"


def demo_picture() -> None:
    """Show a phantom slice, its truth and the result of fewct."""
    ct, truth = phantom_slice(0, level=0.45)
    found = fewct.segment(ct)
    tiles = [
        ("slice", overlay(ct, truth.labels * 0, numbers=False)),
        ("truth", overlay(ct, truth.labels, numbers=False)),
        ("fewct", overlay(ct, found.labels, numbers=False)),
    ]
    Image.fromarray(side_by_side(tiles, tile_side=480)).save(IMAGES / "demo.png", optimize=True)


def named_picture() -> None:
    """Show a phantom slice with a few labels, and what `bam` finds of them on another patient."""
    names = ("liver", "spleen", "kidney_right", "kidney_left", "stomach")
    wanted = [number for number, name in STRUCTURES.items() if name in names]
    with tempfile.TemporaryDirectory() as support:
        for seed in (1, 2):
            shown, truth = phantom_slice(seed)
            labels = np.where(np.isin(truth.labels, wanted), truth.labels, 0)
            np.save(f"{support}/{seed}.npy", shown.pixels)
            np.save(f"{support}/{seed}_labels.npy", labels.astype(np.uint8))
        other, _ = phantom_slice(7)
        found = fewct.segment(other, fewct.BAM(support))
        both = fewct.segment(other, fewct.BAM(support, fill_with="mosaic"))
    tiles = [
        ("one of two labelled slices", overlay(shown, labels.astype(np.int32))),
        ("another patient, bam", overlay(other, found.labels)),
        ("bam over mosaic", overlay(other, both.labels, numbers=False)),
    ]
    Image.fromarray(side_by_side(tiles, tile_side=480)).save(IMAGES / "named.png", optimize=True)


if __name__ == "__main__":
    demo_picture()
    named_picture()
