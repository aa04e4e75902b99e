"""Training examples: a slice, its labels, and how far they are to be trusted."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from fewct.errors import InputError
from fewct.imaging.body import body_mask
from fewct.types import CTSlice, Image, Labels, Mask, Unit

UNKNOWN, BACKGROUND, STRUCTURE = 0, 1, 2
AIR_HU = -1024.0


@dataclass(frozen=True, eq=False)
class TrainingExample:
    """A slice and its annotation, before augmentation; arrays are (rows, columns).

    Args:
        pixels: float32, finite.
        unit: "hu" or "grey".
        labels: int32: structures, 0 for the rest.
        structure: uint8: UNKNOWN, BACKGROUND or STRUCTURE.
        border_weight: float32 in [0, 1]: weight of the borders in `labels`, and of their absence; 0 for
            unknown.
        body: bool: the patient.
        zoom: Factor by which the example is enlarged to the scale of training crops.
        label_offset_px: How far up, and as far left, of the pixels the labels lie.
    """

    pixels: Image
    unit: Unit
    labels: Labels
    structure: Annotated[NDArray[np.uint8], "rows columns"]
    border_weight: Annotated[NDArray[np.float32], "rows columns"]
    body: Mask
    zoom: float
    label_offset_px: float = 0.0


def check_labelled(examples: Sequence[TrainingExample]) -> None:
    """Raise unless something is labelled.

    Raises:
        InputError: If no example has a labelled structure.
    """
    if not any((example.labels > 0).any() for example in examples):
        raise InputError(
            "data",
            expected="at least one slice with a labelled structure to train on",
            found=f"{len(examples)} slices, all labels 0",
            fix="Check that the label maps belong to these images and that structures are above 0.",
        )


def labelled_example(image: CTSlice, truth: Labels, *, complete: bool) -> TrainingExample:
    """Return the example of a labelled slice, without borders.

    Args:
        image: NaN marks padding.
        truth: int32 (rows, columns): structures, 0 for the rest.
        complete: Whether the rest is background; if not, it is unknown inside the body.
    """
    body = body_mask(image)
    finite = np.isfinite(image.pixels)
    air = AIR_HU if image.unit == "hu" else float(image.pixels[finite].min(initial=0.0))
    pixels = np.where(finite, image.pixels, np.float32(air))
    structure = np.full(truth.shape, BACKGROUND if complete else UNKNOWN, dtype=np.uint8)
    structure[~body] = BACKGROUND
    structure[truth > 0] = STRUCTURE
    no_borders = np.zeros(truth.shape, dtype=np.float32)
    return TrainingExample(pixels, image.unit, truth, structure, no_borders, body, zoom=1.0)
