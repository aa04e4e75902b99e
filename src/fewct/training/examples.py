"""One training example, and what is known about it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8
from numpy.typing import NDArray

from fewct.types import Image, Labels, Mask, Unit

UNKNOWN, BACKGROUND, STRUCTURE = 0, 1, 2


@dataclass(frozen=True, eq=False)
class Example:
    """A slice and what is known about it, before augmentation.

    Args:
        pixels: float32 (rows, columns), finite.
        unit: "hu" or "grey".
        labels: int32 (rows, columns): structures, 0 for the rest.
        structure: uint8 (rows, columns): UNKNOWN, BACKGROUND or STRUCTURE.
        border_weight: float32 (rows, columns) in [0, 1]: how sure it is that `labels` is right about whether
            there is a border; 0 for unknown.
        body: bool (rows, columns): the patient.
        zoom: Pixels of a 512 x 512 slice of ordinary field of view for each pixel of this one.
        labels_ahead_px: How far up and left of the pixels the labels lie, in pixels, both the same.
    """

    pixels: Image
    unit: Unit
    labels: Labels
    structure: UInt8[NDArray[np.uint8], "rows columns"]
    border_weight: Float32[NDArray[np.float32], "rows columns"]
    body: Mask
    zoom: float
    labels_ahead_px: float = 0.0
