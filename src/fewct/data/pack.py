"""Training data of all regions in one small file: stacks of slices and label maps of anatomy.

It holds the slices for training, those of people held out, and anatomies for training. The file is a ZIP with
a manifest (JSON) and one LZMA stream for each large array. Hounsfield units are kept in steps of 2 from -150
to 250, and more coarsely outside.
"""

import hashlib
import json
import lzma
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewct.data.anatomy import AnatomyMap
from fewct.data.stacks import SliceStack
from fewct.errors import InputError
from fewct.io.atomic import atomic_path

MAX_BYTES = 60_000_000
FORMAT = "fewct training pack 2"
MANIFEST = "manifest.json"
NOT_PACKED = ("btcv_unlabelled", "lidc")
"""Sources without labels, which no training from a pack uses."""
EVERY = {"visible_human_legs": 2, "aorta_kaggle": 2}
"""Of these plentiful sources, alike from slice to slice, only every n-th slice is packed."""
HELD_OUT_EVERY = 3
"""Of the slices held out, which only choose weights, every n-th is packed."""
_HU_AT = ((-1024, 0), (-150, 26), (250, 226), (1000, 246), (3072, 255))  # (HU, its code), linear between
_LZMA: dict[str, int] = {"id": lzma.FILTER_LZMA2, "preset": 6, "lc": 4, "lp": 0, "pb": 0}
_OF_NOISE = {"mf": lzma.MF_BT2, "nice_len": 16, "depth": 4}  # for pixels: a quarter of the time, 1 % larger
_DATE = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, eq=False)
class TrainingData:
    """What networks are trained and chosen on.

    Args:
        training: Slices for training.
        held_out: Slices of people held out of training.
        anatomies: Label maps for synthetic CT.
    """

    training: Sequence[SliceStack]
    held_out: Sequence[SliceStack]
    anatomies: Sequence[AnatomyMap]


def write_pack(data: TrainingData, path: str | Path, max_bytes: int = MAX_BYTES) -> None:
    """Write training data to one file, whole or not at all.

    Sources without labels are left out, and of some others only every n-th slice is written: see
    `NOT_PACKED`, `EVERY` and `HELD_OUT_EVERY`.

    Args:
        data: Training data.
        path: The file.
        max_bytes: Largest size of the file.

    Raises:
        InputError: If there is more than fits, or one of the three is empty.
        OutputError: If the system refuses.
    """
    if not data.training or not data.held_out or not data.anatomies:
        raise InputError(
            "training data",
            expected="stacks of slices for training and of people held out, and label maps of anatomy",
            found=f"{len(data.training)} and {len(data.held_out)} stacks, {len(data.anatomies)} label maps",
            fix="Pack all parts of the training data.",
        )
    manifest: dict[str, Any] = {"format": FORMAT, "stacks": [], "anatomies": [], "parts": {}}
    with atomic_path(path) as temporary:
        with zipfile.ZipFile(temporary, "w") as file:
            for k, (held_out, some) in enumerate(_packed_slices(data)):
                manifest["stacks"].append({"held_out": held_out, **_facts(some)})
                for name, array in _coded(some).items():
                    manifest["parts"][f"stack_{k}_{name}"] = _write_part(file, f"stack_{k}_{name}", array)
            for k, anatomy in enumerate(data.anatomies):
                facts = {key: value for key, value in vars(anatomy).items() if key != "labels"}
                manifest["anatomies"].append({**facts, "shape": anatomy.labels.shape})
                manifest["parts"][f"anatomy_{k}"] = _write_part(file, f"anatomy_{k}", anatomy.labels)
            _add(file, MANIFEST, json.dumps(manifest).encode())
        size = temporary.stat().st_size
        if size > max_bytes:
            raise InputError(
                path,
                expected=f"a pack of at most {max_bytes} bytes",
                found=f"{size}",
                fix="Leave out slices of the largest sources.",
            )


def read_pack(path: str | Path) -> TrainingData:
    """Read what `write_pack` wrote.

    Raises:
        InputError: If the file is absent, no pack, damaged, or lacks a part.
    """
    try:
        with zipfile.ZipFile(path) as file:
            manifest = json.loads(file.read(MANIFEST))
            if manifest.get("format") != FORMAT:
                raise _not_a_pack(path, f"the format {manifest.get('format')!r}")
            training, held_out = (
                [
                    _read_stack(file, k, facts, manifest)
                    for k, facts in enumerate(manifest["stacks"])
                    if facts["held_out"] == wanted
                ]
                for wanted in (False, True)
            )
            anatomies = [
                _read_anatomy(file, k, facts, manifest) for k, facts in enumerate(manifest["anatomies"])
            ]
    except KeyError as error:
        raise _not_a_pack(path, f"no part {error}") from error
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile, lzma.LZMAError) as error:
        raise _not_a_pack(path, str(error)) from error
    return TrainingData(training, held_out, anatomies)


def _packed_slices(data: TrainingData) -> list[tuple[bool, SliceStack]]:
    """Return the slices that are written, and whether they are held out."""
    training = [stack for stack in data.training if stack.source not in NOT_PACKED]
    return [
        *((False, thinned(stack, EVERY.get(stack.source, 1))) for stack in training),
        *((True, thinned(stack, HELD_OUT_EVERY)) for stack in data.held_out),
    ]


def thinned(stack: SliceStack, step: int) -> SliceStack:
    """Return every n-th slice of a stack; neighbours are then as many slices away, if it is known how far."""
    if step == 1:
        return stack
    kept = np.arange(0, len(stack.patient), step)
    place = np.full(len(stack.patient) + 1, -1, dtype=np.int32)
    place[kept] = np.arange(len(kept))
    above, gap = stack.above[kept].copy(), stack.gap_mm[kept].copy()
    for k in range(len(kept)):
        while above[k] >= 0 and place[above[k]] < 0:
            gap[k] += stack.gap_mm[above[k]]
            above[k] = stack.above[above[k]] if np.isfinite(gap[k]) else -1
    gap[above < 0] = np.nan
    return replace(
        stack,
        patient=stack.patient[kept],
        pixels=stack.pixels[kept],
        labels=stack.labels[kept],
        structure=stack.structure[kept],
        border_weight=stack.border_weight[kept],
        body=stack.body[kept],
        pixel_mm=stack.pixel_mm[kept],
        above=place[above],
        gap_mm=gap,
    )


def hu_codes(pixels: NDArray[np.int16]) -> NDArray[np.uint8]:
    """Return Hounsfield units as codes in 8 bits."""
    hu, codes = np.array(_HU_AT).T
    table = np.rint(np.interp(np.arange(-1024, 3073), hu, codes)).astype(np.uint8)
    coded: NDArray[np.uint8] = table[np.clip(pixels, -1024, 3072) + 1024]
    return coded


def hu_of_codes(codes: NDArray[np.uint8]) -> NDArray[np.int16]:
    """Return the Hounsfield units that codes stand for."""
    hu, at = np.array(_HU_AT).T
    table = np.rint(np.interp(np.arange(256), at, hu)).astype(np.int16)
    decoded: NDArray[np.int16] = table[codes]
    return decoded


def _facts(stack: SliceStack) -> dict[str, Any]:
    """Return what is small of a stack, for JSON."""
    weights = [int(one) for one in np.unique(stack.border_weight)]
    return {
        "source": stack.source,
        "unit": stack.unit,
        "label_offset_px": stack.label_offset_px,
        "shape": stack.pixels.shape,
        "border_weights": weights,
        "patient": stack.patient.tolist(),
        "pixel_mm": [float(one) for one in stack.pixel_mm],
        "above": stack.above.tolist(),
        "gap_mm": [float(one) for one in stack.gap_mm],
    }


def _coded(stack: SliceStack) -> dict[str, NDArray[np.uint8]]:
    """Return the large arrays as bytes; one holds structure (2 bits), body (1) and border weight (5)."""
    weights = np.unique(stack.border_weight)
    weight = np.searchsorted(weights, stack.border_weight)
    known = (stack.structure | (stack.body << np.uint8(2)) | (weight << 3)).astype(np.uint8)
    pixels = hu_codes(stack.pixels) if stack.unit == "hu" else stack.pixels.astype(np.uint8)
    return {"pixels": pixels, "labels": stack.labels, "known": known}


def _read_stack(file: zipfile.ZipFile, k: int, facts: dict[str, Any], manifest: dict[str, Any]) -> SliceStack:
    """Read the stack number `k`."""
    shape = tuple(facts["shape"])
    pixels, labels, known = (
        _read_part(file, f"stack_{k}_{name}", shape, manifest) for name in ("pixels", "labels", "known")
    )
    weights = np.array(facts["border_weights"], dtype=np.uint8)
    return SliceStack(
        facts["source"],
        facts["unit"],
        facts["label_offset_px"],
        np.array(facts["patient"], dtype=np.str_),
        hu_of_codes(pixels) if facts["unit"] == "hu" else pixels.astype(np.int16),
        labels,
        (known & 3).astype(np.uint8),
        weights[known >> 3],
        (known & 4) > 0,
        np.array(facts["pixel_mm"], dtype=np.float32),
        np.array(facts["above"], dtype=np.int32),
        np.array(facts["gap_mm"], dtype=np.float32),
    )


def _read_anatomy(
    file: zipfile.ZipFile, k: int, facts: dict[str, Any], manifest: dict[str, Any]
) -> AnatomyMap:
    """Read the label map number `k`."""
    labels = _read_part(file, f"anatomy_{k}", tuple(facts["shape"]), manifest)
    names = {int(key): str(name) for key, name in facts["names"].items()}
    slices, rows, columns = facts["spacing_mm"]
    return AnatomyMap(facts["name"], labels, names, (slices, rows, columns), facts["complete"])


def _write_part(file: zipfile.ZipFile, name: str, array: NDArray[np.uint8]) -> str:
    """Write one compressed array; return its hash."""
    filters = {**_LZMA, **_OF_NOISE} if name.endswith("pixels") else _LZMA
    data = lzma.compress(np.ascontiguousarray(array).tobytes(), filters=[filters])
    _add(file, name, data)
    return hashlib.sha256(data).hexdigest()


def _add(file: zipfile.ZipFile, name: str, data: bytes) -> None:
    """Add a file of constant date, so that equal data make equal packs."""
    file.writestr(zipfile.ZipInfo(name, _DATE), data)


def _read_part(
    file: zipfile.ZipFile, name: str, shape: tuple[int, ...], manifest: dict[str, Any]
) -> NDArray[np.uint8]:
    """Read one array.

    Raises:
        ValueError: If it differs from what was written.
    """
    data = file.read(name)
    if hashlib.sha256(data).hexdigest() != manifest["parts"][name]:
        raise ValueError(f"another hash of {name} than was written")
    return np.frombuffer(lzma.decompress(data), dtype=np.uint8).reshape(shape).copy()


def _not_a_pack(path: str | Path, found: str) -> InputError:
    """Return the error for a file that cannot be used."""
    return InputError(
        path,
        expected="a whole pack of training data",
        found=found,
        fix="Copy the file again, or pack the data anew.",
    )
