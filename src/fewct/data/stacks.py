"""Stacks of slices for training, with what is known of each pixel."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from fewct.types import Unit

SLICE_LABELS = 128
"""Labels from here on number structures within one slice; those below are the same in its neighbours."""


@dataclass(frozen=True, eq=False)
class SliceStack:
    """Slices of one source and one size, with their annotation.

    Args:
        source: Name of the source, such as "btcv".
        unit: "hu" or "grey".
        label_offset_px: How far up, and as far left, of the pixels the labels lie.
        patient: str (slices,): whose slice it is.
        pixels: int16 (slices, rows, columns).
        labels: uint8 (slices, rows, columns): structures, 0 for the rest; see `SLICE_LABELS`.
        structure: uint8 (slices, rows, columns): UNKNOWN, BACKGROUND or STRUCTURE of `fewct.data.examples`.
        border_weight: uint8 (slices, rows, columns): weight of the borders in `labels`, and of their absence,
            from 0 for unknown to 255.
        body: bool (slices, rows, columns): the patient.
        pixel_mm: float32 (slices,): side of a pixel; NaN where unknown.
        above: int32 (slices,): index of the neighbour towards the head; -1 for none.
        gap_mm: float32 (slices,): distance to `above`; NaN where there is none or it is unknown.
    """

    source: str
    unit: Unit
    label_offset_px: float
    patient: Annotated[NDArray[np.str_], "slices"]
    pixels: Annotated[NDArray[np.int16], "slices rows columns"]
    labels: Annotated[NDArray[np.uint8], "slices rows columns"]
    structure: Annotated[NDArray[np.uint8], "slices rows columns"]
    border_weight: Annotated[NDArray[np.uint8], "slices rows columns"]
    body: Annotated[NDArray[np.bool_], "slices rows columns"]
    pixel_mm: Annotated[NDArray[np.float32], "slices"]
    above: Annotated[NDArray[np.int32], "slices"]
    gap_mm: Annotated[NDArray[np.float32], "slices"]
