"""Planning CT of the head and neck: OpenKBP with seven organs, and some of its people with 21 structures."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fewct.data.held_out import SAME_PERSON, is_held_out
from fewct.data.npz import npz_files, read_npz
from fewct.data.regions.knowledge import Knowledge, stack_slices
from fewct.data.regions.tissue_maps import CANAL, LUNG, LUNG_TWO, SKULL, TissueSlice, from_tissue
from fewct.data.stacks import MAX_GAP_MM, SliceStack, neighbours

_ARRAYS = ("image", "label", "tissue", "patient", "z", "spacing_mm", "annotated")
_DENSE = {"brain": 1, "lung": 2, "other lung": 3, "canal": 4, "cord": 7}
_CORD = 2  # of OpenKBP
SOFT_HU, CUT_SHARE = 20, 0.5


def read_openkbp(more: Path, held_out: bool) -> list[SliceStack]:
    """Read OpenKBP without the people that have dense truth, under whichever number.

    Args:
        more: Folder with `openkbp` and `openkbp_dense`.
        held_out: Whether to read the people held out, in place of all others.
    """
    dense = set()
    for path in npz_files(more / "openkbp_dense"):
        dense |= {_person(str(one)) for one in read_npz(path, _ARRAYS)["patient"]}
    files = [read_npz(path, _ARRAYS) for path in npz_files(more / "openkbp")]
    arrays = {name: np.concatenate([one[name] for one in files]) for name in _ARRAYS}
    keep = [
        _person(str(one)) not in dense and is_held_out("openkbp", str(one)) == held_out
        for one in arrays["patient"]
    ]
    return _stack("openkbp", {name: value[np.array(keep)] for name, value in arrays.items()})


def read_openkbp_dense(folder: Path, held_out: bool) -> list[SliceStack]:
    """Read the slices of OpenKBP with 21 structures of the head and neck, every 2.5 mm.

    Args:
        folder: With `train.npz` and `val.npz`.
        held_out: Whether to read the people held out, in place of all others.
    """
    files = [read_npz(folder / name, _ARRAYS) for name in ("train.npz", "val.npz")]
    arrays = {name: np.concatenate([one[name] for one in files]) for name in _ARRAYS}
    keep = np.array([is_held_out("openkbp_dense", str(one)) == held_out for one in arrays["patient"]])
    return _stack("openkbp_dense", {name: value[keep] for name, value in arrays.items()})


def _person(patient: str) -> str:
    """Return the one number of a person who has several."""
    return SAME_PERSON.get(patient, patient)


def _stack(source: str, arrays: dict[str, NDArray[Any]]) -> list[SliceStack]:
    """Return the slices as a stack, in a list; z rises towards the feet."""
    if len(arrays["z"]) == 0:
        return []
    whole = np.array(
        [not _is_cut(image, tissue) for image, tissue in zip(arrays["image"], arrays["tissue"], strict=True)]
    )
    arrays = {name: value[whole] for name, value in arrays.items()}
    spacing = arrays["spacing_mm"]
    height = -arrays["z"].astype(np.float64) * spacing[:, 2]
    above, gap = neighbours(arrays["patient"], height, MAX_GAP_MM)
    pixel = np.sqrt(spacing[:, 0] * spacing[:, 1])
    known = [
        _knowledge(source, image, label, tissue, float(mm), flags)
        for image, label, tissue, mm, flags in zip(
            arrays["image"], arrays["label"], arrays["tissue"], pixel, arrays["annotated"], strict=True
        )
    ]
    return [stack_slices(source, "hu", arrays["image"], known, arrays["patient"], pixel, above, gap)]


def _is_cut(image: NDArray[np.int16], tissue: NDArray[np.uint8]) -> bool:
    """Tell whether the publishers cut away skin and skull, so that soft tissue lies against air, or all."""
    body = tissue > 0
    rim = body & ~ndimage.binary_erosion(body)
    return bool(np.mean(image[rim] > SOFT_HU) > CUT_SHARE) if rim.any() else True


def _knowledge(
    source: str,
    image: NDArray[np.int16],
    label: NDArray[np.uint8],
    tissue: NDArray[np.uint8],
    pixel_mm: float,
    annotated: NDArray[np.bool_],
) -> Knowledge:
    """Return what is known of a slice; truth replaces tissue where its structure was annotated."""
    present = set(np.unique(label).tolist())
    replaced = set()
    if source == "openkbp_dense":
        if annotated[_DENSE["brain"] - 1]:
            replaced.add(SKULL)
        if annotated[_DENSE["lung"] - 1] and annotated[_DENSE["other lung"] - 1]:
            replaced |= {LUNG, LUNG_TWO}
        if present & {_DENSE["canal"], _DENSE["cord"]}:
            replaced.add(CANAL)
    elif _CORD in present:
        replaced.add(CANAL)
    item = TissueSlice(
        image.astype(np.float32), tissue, label, pixel_mm, airways=True, replaced=frozenset(replaced)
    )
    return from_tissue(item)
