"""The work of one process: segment a slice with a method, time it, score it."""

import multiprocessing
import multiprocessing.connection
import os
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fewct.errors import FewctError, output_errors
from fewct.evaluation import evaluate
from fewct.io.atomic import atomic_path
from fewct.io.pixels import narrow
from fewct.methods import Method, Segmenter
from fewct.types import CTSlice, Geometry, LabelMap, Labels, Unit

WARM_UP_SIDE = 64


@dataclass(frozen=True)
class StructureRow:
    """The scores of one true structure; see `fewct.evaluation.StructureScore`."""

    true_id: int
    size_px: int
    best_iou: float
    dice: float


@dataclass(frozen=True)
class Measured:
    """Metrics of one slice, by their names in `fewct.metrics.catalog.METRICS`, and of its true structures."""

    metrics: dict[str, float]
    structures: tuple[StructureRow, ...]


def save_case(image: CTSlice, truth: Labels, path: Path) -> None:
    """Write a slice and its truth for the workers, uncompressed: it is read once for each method.

    Raises:
        OutputError: If it cannot be written.
    """
    affine = np.empty(0) if image.geometry is None else image.geometry.affine
    fix = "Free some space or choose another folder."
    with output_errors(path, expected="room for one more slice", fix=fix), path.open("wb") as file:
        for array in (image.pixels, narrow(truth), np.array(image.unit == "hu"), affine):
            np.save(file, array)


def load_case(path: Path) -> tuple[CTSlice, Labels]:
    """Read what `save_case` wrote."""
    with path.open("rb") as file:
        pixels, truth, is_hu, affine = (np.load(file) for _ in range(4))
    unit: Unit = "hu" if is_hu else "grey"
    return CTSlice(pixels, unit, Geometry(affine) if affine.size else None), truth.astype(np.int32)


def load_labels(path: Path) -> Labels:
    """Read the label map that `measure` wrote."""
    with np.load(path) as arrays:
        return np.asarray(arrays["labels"], dtype=np.int32)


_segmenter: list[Segmenter] = []
"""The one method of this process, open."""


def start_worker(method: Method) -> None:
    """Prepare this process: one thread, it ends with its parent, and its only method has been loaded."""
    os.environ["FEWCT_NUM_THREADS"] = "1"
    threading.Thread(target=_end_with_parent, daemon=True).start()
    rows, columns = np.mgrid[:WARM_UP_SIDE, :WARM_UP_SIDE]
    disk = np.hypot(rows - WARM_UP_SIDE / 2, columns - WARM_UP_SIDE / 2) < WARM_UP_SIDE / 3
    _segmenter[:] = [method.load()]
    try:
        _segmenter[0].segment(CTSlice((100.0 * disk).astype(np.float32), "grey"))
    except FewctError:
        return  # the method refuses this slice; errors of real ones are reported


def measure(case: Path, *, partial: bool, labels_to: Path | None = None) -> Measured:
    """Segment one slice with the method of this process and score the result.

    `seconds` is the wall-clock time of `segment` alone. `peak_memory_mb` is the highest resident
    memory of this process so far, in 10**6 bytes, Python included; NaN on Windows. A process runs one method
    only, on small slices first.

    Args:
        case: File that `save_case` wrote.
        partial: Whether 0 means unknown in truth.
        labels_to: NPZ file for the predicted label map; None to drop it.

    Raises:
        FewctError: If the method cannot segment the slice, or the file cannot be written.
    """
    image, truth = load_case(case)
    start = time.perf_counter()
    labels = _segmenter[0].segment(image).labels
    seconds = time.perf_counter() - start
    scored = evaluate(
        truth=LabelMap(truth, image.geometry), prediction=LabelMap(labels, image.geometry), partial=partial
    )
    metrics = {
        **scored.overall.as_dict(),
        "surface_dice": scored.surface_dice,
        "hausdorff_95_mm": scored.hausdorff_95_mm,
        "seconds": seconds,
        "peak_memory_mb": peak_memory_mb(),
    }
    rows = tuple(StructureRow(row.true_id, row.size_px, row.best_iou, row.dice) for row in scored.structures)
    if labels_to is not None:
        with atomic_path(labels_to) as temporary:
            np.savez_compressed(temporary, labels=narrow(labels))
    return Measured(metrics, rows)


def peak_memory_mb() -> float:
    """Return the highest resident memory of this process so far, in 10**6 bytes; NaN on Windows."""
    if sys.platform == "win32":
        return float("nan")
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def _end_with_parent() -> None:
    """End this process when its parent has ended, even if it was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
