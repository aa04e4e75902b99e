"""Draw the pictures of the documents: python docs/make_pictures.py."""

from pathlib import Path

from PIL import Image

import fewct
from fewct.phantom import phantom_slice
from fewct.plot import overlay, side_by_side

IMAGES = Path(__file__).parent / "images"


def demo_picture() -> None:
    """Show a phantom slice, its truth and what fewct finds."""
    ct, truth = phantom_slice(0, level=0.45)
    found = fewct.segment(ct)
    tiles = [
        ("slice", overlay(ct, truth.labels * 0, numbers=False)),
        ("truth", overlay(ct, truth.labels, numbers=False)),
        ("fewct", overlay(ct, found.labels, numbers=False)),
    ]
    Image.fromarray(side_by_side(tiles, tile_side=480)).save(IMAGES / "demo.png", optimize=True)


if __name__ == "__main__":
    demo_picture()
