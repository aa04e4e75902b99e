"""Labelled slices of every region of the body, of people held out of training or of the others."""

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fewct.data.cases import parse_data, read_cases
from fewct.data.held_out import is_held_out
from fewct.errors import FewctWarning
from fewct.imaging.resample import resize
from fewct.types import CTSlice, Geometry, Labels

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
TISSUES = {"lungs": (1, 2), "bone": (4,), "skull": (9,), "airways": (8,)}
"""Classes of `tissue`; gas is called airways on slices of the head, the neck and the chest."""
TISSUE_SOURCES = {"openkbp": 5, "tcga_luad_lusc": 1, "acrin_flt_breast": 2, "lung_fused_ct_path": 2}
"""Folders with tissue maps, and every how many-th of the slices of held-out people is taken."""
NOT_COMPUTED = 255  # in tissue maps
MIN_INSTANCE_PX = 30
CHEST_SHARE = 0.25  # of the body that lungs cover where gas outside of them is taken for airways
JUDGE = "abdomen_series"
SETS = (
    "btcv_val",
    "btcv_val_dense",
    JUDGE,
    "hearts",
    "openkbp_dense",
    *(f"tissue_{name}" for name in TISSUES),
)
COMPLETE = (JUDGE,)
"""Sets whose truth holds all structures; in the others 0 means unknown."""
QUICK = {"btcv_val": 2, "openkbp_dense": 2, "tissue": 4}
"""Every how many-th slice a quick run takes of the larger sets."""


@dataclass(frozen=True, eq=False)
class RegionCase:
    """A slice, and its truth in one set or several.

    Args:
        patient: Who it is.
        truths: By name of the set: int32 (rows, columns), 0 for what is not labelled.
    """

    patient: str
    image: CTSlice
    truths: Mapping[str, Labels]


def region_cases(
    sets: tuple[str, ...], every: int = 1, *, quick: bool = False, held_out: bool = True
) -> Iterator[RegionCase]:
    """Give the slices of some sets, always in the same order.

    Args:
        sets: Names among `SETS`.
        every: Takes every n-th slice of each set.
        quick: Takes fewer of the larger sets, on top; see `QUICK`.
        held_out: Of the people held out of training; False for those that networks learn from, of whom
            `JUDGE` has none.
    """
    part = "val" if held_out else "train"
    readers = {
        "btcv_val": lambda: _packed("btcv_val", f"btcv/{part}", 6),
        "btcv_val_dense": lambda: _packed("btcv_val_dense", f"btcv/{part}:dense", 1),
        JUDGE: lambda: _packed(JUDGE, JUDGE, 1),
        "hearts": lambda: _hearts(held_out=held_out),
        "openkbp_dense": lambda: _openkbp_dense(part),
    }
    for name, read in readers.items():
        if name in sets:
            yield from islice(read(), 0, None, every * (QUICK.get(name, 1) if quick else 1))
    tissues = [name for name in sets if name.startswith("tissue_")]
    if tissues:
        step = every * (QUICK["tissue"] if quick else 1)
        for case in islice(_tissues(held_out=held_out), 0, None, step):
            truths = {name: case.truths[name] for name in tissues if name in case.truths}
            if truths:
                yield RegionCase(case.patient, case.image, truths)


def instances(tissue: NDArray[np.uint8], classes: tuple[int, ...]) -> Labels:
    """Number the connected parts of at least `MIN_INSTANCE_PX` pixels of each of some classes.

    Returns:
        int32 (rows, columns), 0 for the rest; parts are connected along rows and columns.
    """
    labels = np.zeros(tissue.shape, dtype=np.int32)
    for number in classes:
        parts, _ = ndimage.label(tissue == number)
        areas = np.bincount(parts.ravel())
        large = np.flatnonzero(areas[1:] >= MIN_INSTANCE_PX) + 1
        new_ids = np.zeros(len(areas), dtype=np.int32)
        new_ids[large] = labels.max() + 1 + np.arange(len(large))
        labels += new_ids[parts]
    return labels


def _packed(name: str, place: str, step: int) -> Iterator[RegionCase]:
    """Give the slices of data that fewct reads itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FewctWarning)  # two patients have no slices of weak contrast
        for case in read_cases(parse_data(f"{DATA}/{place}", "partial", step)):
            yield RegionCase(f"{case.patient}", case.image, {name: case.truth})


def _hearts(*, held_out: bool) -> Iterator[RegionCase]:
    for path in sorted((DATA / "more" / "chd68").glob("*.npz")):
        if is_held_out("chd68", path.stem) == held_out:
            with np.load(path) as pack:
                for pixels, truth in zip(pack["image"], pack["label"], strict=True):
                    yield RegionCase(path.stem, CTSlice(pixels, "grey"), {"hearts": truth.astype(np.int32)})


def _openkbp_dense(part: str) -> Iterator[RegionCase]:
    """Give every 6th slice with at least two structures, enlarged to 256 x 256."""
    with np.load(DATA / "more" / "openkbp_dense" / f"{part}.npz") as pack:
        labels = pack["label"]
        chosen = [k for k in range(len(labels)) if len(np.unique(labels[k][labels[k] > 0])) > 1][::6]
        arrays = [pack[name][chosen] for name in ("image", "label", "patient", "spacing_mm")]
    for pixels, truth, patient, spacing_mm in zip(*arrays, strict=True):
        image, enlarged = _enlarged(pixels, truth, spacing_mm)
        yield RegionCase(f"{patient}", image, {"openkbp_dense": enlarged.astype(np.int32)})


def _tissues(*, held_out: bool) -> Iterator[RegionCase]:
    """Give slices of people with tissue maps, each with the classes that it holds."""
    for folder, step in TISSUE_SOURCES.items():
        for path in sorted((DATA / "more" / folder).glob("*.npz")):
            with np.load(path) as pack:
                n = len(pack["image"])
                patients = pack["patient"] if "patient" in pack else np.full(n, path.stem)
                spacings = np.broadcast_to(pack["spacing_mm"], (n, 3))
                known = {name: is_held_out(folder, name) for name in np.unique(patients).tolist()}
                chosen = np.flatnonzero([known[name] == held_out for name in patients.tolist()])[::step]
                if not chosen.size:
                    continue
                images, tissues = pack["image"][chosen], pack["tissue"][chosen]
            for k, place in enumerate(chosen.tolist()):
                image, tissue = _enlarged(images[k], tissues[k], spacings[place])
                truths = _tissue_truths(
                    tissue, whole_slices_are_airways=folder in ("openkbp", "lung_fused_ct_path")
                )
                if truths:
                    yield RegionCase(f"{patients[place]}", image, truths)


def _tissue_truths(tissue: NDArray[np.uint8], *, whole_slices_are_airways: bool) -> dict[str, Labels]:
    """Return the truth of each class that a slice holds.

    Args:
        tissue: uint8 (rows, columns): tissue map.
        whole_slices_are_airways: Whether the source shows no bowel, so that all gas outside of the lungs lies
            in airways; else slices with enough lung do.
    """
    if (tissue == NOT_COMPUTED).any():
        return {}
    lungs, body = np.isin(tissue, TISSUES["lungs"]), tissue > 0
    is_chest = np.count_nonzero(lungs) >= CHEST_SHARE * np.count_nonzero(body)
    truths = {}
    for name, classes in TISSUES.items():
        if name != "airways" or whole_slices_are_airways or is_chest:
            labels = instances(tissue, classes)
            if labels.any():
                truths[f"tissue_{name}"] = labels
    return truths


def _enlarged(
    pixels: NDArray[np.int16], labels: NDArray[np.uint8], spacing_mm: NDArray[np.floating]
) -> tuple[CTSlice, NDArray[np.uint8]]:
    """Return a slice in Hounsfield units and its labels, 128 x 128 enlarged to 256 x 256.

    Args:
        spacing_mm: float (3,): of rows, columns and slices.
    """
    values, factor = pixels.astype(np.float32), 2 if len(pixels) == 128 else 1
    row_mm, column_mm, slice_mm = np.asarray(spacing_mm, dtype=np.float64).tolist()
    geometry = Geometry.from_spacing((slice_mm, row_mm / factor, column_mm / factor))
    image = CTSlice(resize(values, [factor * side for side in values.shape]), "hu", geometry)
    return image, labels.repeat(factor, axis=0).repeat(factor, axis=1)
