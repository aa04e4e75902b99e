"""Stacks of slices for training, with what is known of each pixel."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from fewct.types import Unit

MAX_GAP_MM = 10.0
"""Slices further apart are no neighbours."""
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


def joined(stacks: Sequence[SliceStack]) -> list[SliceStack]:
    """Put stacks of one source, unit, offset of labels and size together, in order of their first."""
    groups: dict[tuple[object, ...], list[SliceStack]] = {}
    for one in stacks:
        key = (one.source, one.unit, one.label_offset_px, one.pixels.shape[1:])
        groups.setdefault(key, []).append(one)
    return [_concatenated(group) for group in groups.values()]


def _concatenated(group: Sequence[SliceStack]) -> SliceStack:
    """Return stacks of one kind as one stack."""
    starts = np.cumsum([0, *(len(one.patient) for one in group)])[:-1]
    above = [
        np.where(one.above >= 0, one.above + start, -1) for one, start in zip(group, starts, strict=True)
    ]
    return replace(
        group[0],
        patient=np.concatenate([one.patient for one in group]),
        pixels=np.concatenate([one.pixels for one in group]),
        labels=np.concatenate([one.labels for one in group]),
        structure=np.concatenate([one.structure for one in group]),
        border_weight=np.concatenate([one.border_weight for one in group]),
        body=np.concatenate([one.body for one in group]),
        pixel_mm=np.concatenate([one.pixel_mm for one in group]),
        above=np.concatenate(above).astype(np.int32),
        gap_mm=np.concatenate([one.gap_mm for one in group]),
    )


def neighbours(
    patient: Annotated[NDArray[np.str_], "slices"],
    height: Annotated[NDArray[np.floating], "slices"],
    max_step: float,
) -> tuple[Annotated[NDArray[np.int32], "slices"], Annotated[NDArray[np.float32], "slices"]]:
    """Find the neighbour of each slice towards the head.

    Args:
        patient: Whose slice it is.
        height: Position along the body, rising towards the head.
        max_step: Largest difference of heights between neighbours.

    Returns:
        Index of the neighbour, -1 for none, and the difference of heights, NaN for none.
    """
    above = np.full(len(patient), -1, dtype=np.int32)
    step = np.full(len(patient), np.nan, dtype=np.float32)
    order = np.lexsort((height, patient))
    for low, high in pairwise(order):
        distance = float(height[high] - height[low])
        if patient[low] == patient[high] and 0 < distance <= max_step:
            above[low], step[low] = high, distance
    return above, step
