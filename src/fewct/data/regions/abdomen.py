"""Abdominal CT of BTCV with organs and dense segments, and slices of BTCV and LIDC-IDRI without labels."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewct.data.examples import TrainingExample
from fewct.data.npz import npz_files, read_npz
from fewct.data.packed import (
    AIR_HU,
    HIGH_HU,
    LABEL_OFFSET_PX,
    LOW_HU,
    ORGANS,
    PackedSlice,
    packed_example,
    read_packed_patient,
)
from fewct.data.regions.knowledge import Knowledge, from_intensities, stack_slices
from fewct.data.stacks import SLICE_LABELS, SliceStack, neighbours
from fewct.imaging.body import body_mask
from fewct.types import CTSlice, Unit

LIDC_HU = (-160.0, 240.0)
PIXEL_MM = 1.5  # about, of BTCV's slices; it is not known exactly


def read_btcv(folder: Path, held_out: bool) -> list[SliceStack]:
    """Read BTCV: "btcv" with all labelled slices, "btcv_dense" again with those that have dense segments.

    "btcv_dense_low" has the latter as grey values of weak contrast, and "btcv_unlabelled" the training
    patients' slices without labels. Pixels are clipped to [-125, 275] HU.

    Args:
        folder: With `train`, `val` and `train_unlabelled.npz`.
        held_out: Whether to read `val`.
    """
    items: list[PackedSlice] = []
    names: list[str] = []
    z: list[int] = []
    for path in npz_files(folder / ("val" if held_out else "train")):
        arrays = read_npz(path, ("image", "label", "z"))
        of_patient = read_packed_patient(arrays)
        items += of_patient
        names += [path.stem] * len(of_patient)
        z += [int(one) for one in arrays["z"]]
    above, _ = neighbours(np.array(names), np.array(z, dtype=np.float64), 1.0)  # z rises towards the head
    stacks = [_labelled("btcv", "hu", items, names, above)]
    dense = [k for k, item in enumerate(items) if item.low_contrast is not None]
    if dense:
        some, their = [items[k] for k in dense], [names[k] for k in dense]
        stacks += [
            _labelled("btcv_dense", "hu", some, their),
            _labelled("btcv_dense_low", "grey", some, their),
        ]
    if not held_out:
        images = read_npz(folder / "train_unlabelled.npz", ("image",))["image"]
        stacks.append(_unlabelled("btcv_unlabelled", images, (LOW_HU, HIGH_HU), [""] * len(images)))
    return stacks


def read_lidc(folder: Path) -> list[SliceStack]:
    """Read two people's chests and upper abdomens without labels; slices run from the feet to the head."""
    stacks = []
    for path in npz_files(folder):
        images = read_npz(path, ("image",))["image"]
        stacks.append(_unlabelled("lidc", images, LIDC_HU, [path.stem] * len(images)))
    return stacks


def _labelled(
    source: str,
    unit: Unit,
    items: list[PackedSlice],
    patients: list[str],
    above: NDArray[np.int32] | None = None,
) -> SliceStack:
    """Return packed slices as a stack."""
    examples = [packed_example(item, low_contrast=unit == "grey") for item in items]
    return stack_slices(
        source,
        unit,
        [one.pixels for one in examples],
        [_knowledge(one) for one in examples],
        patients,
        np.full(len(items), np.nan),
        above,
        label_offset_px=LABEL_OFFSET_PX,
    )


def _knowledge(example: TrainingExample) -> Knowledge:
    """Return an example's annotation; segments that are no organs are pieces of this slice."""
    labels = example.labels
    pieces = labels > max(ORGANS.values())
    labels = np.where(pieces, np.minimum(labels - max(ORGANS.values()) - 1 + SLICE_LABELS, 255), labels)
    weight = np.rint(example.border_weight * 255).astype(np.uint8)
    return Knowledge(labels.astype(np.uint8), example.structure, weight, example.body)


def _unlabelled(
    source: str, images: NDArray[Any], window_hu: tuple[float, float], patients: list[str]
) -> SliceStack:
    """Return slices without labels, of which the body and intensities are known."""
    low, high = window_hu
    hu = [(one.astype(np.float32) * ((high - low) / 255) + low).astype(np.float32) for one in images]
    known = [from_intensities(one, body_mask(CTSlice(one, "grey")), PIXEL_MM, gas_hu=AIR_HU) for one in hu]
    height = np.arange(len(hu), dtype=np.float64)
    above, _ = neighbours(np.array(patients), height, 1.0)
    nothing = None if patients[0] == "" else above
    return stack_slices(source, "hu", hu, known, patients, np.full(len(hu), np.nan), nothing)
