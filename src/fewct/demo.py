"""A first result without any data of one's own: a phantom scan with truth, and a real CT slice."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.data import get_testdata_file

from fewct.batch import Outcome, Progress, segment_files
from fewct.evaluation import Evaluation, evaluate
from fewct.io import read_labels, write
from fewct.io.atomic import atomic_path
from fewct.methods import Method
from fewct.outputs import make_folder
from fewct.phantom import phantom_volume
from fewct.types import CTVolume

REAL_SLICE = "CT_small.dcm"  # a public 128 x 128 slice that pydicom ships


@dataclass(frozen=True)
class DemoResult:
    """What the demonstration made.

    Args:
        outcomes: One for the phantom, one for the real slice.
        scores: How well the phantom's structures were found.
        truth: File of the phantom's true label map.
    """

    outcomes: tuple[Outcome, ...]
    scores: Evaluation
    truth: Path


def run_demo(folder: Path, method: Method, *, seed: int = 0, progress: Progress | None = None) -> DemoResult:
    """Write a phantom scan and segment it, and a real CT slice, as `fewct segment` would.

    Args:
        folder: Where everything goes; made if absent.
        method: A configured method.
        seed: Anatomy of the phantom.
        progress: As in `fewct.batch.segment_files`.

    Raises:
        OutputError: If the folder cannot be written to.
    """
    make_folder(folder)
    volume, truth = phantom_volume(seed)
    scan_path = folder / "phantom.npz"
    _write_scan(volume, scan_path)
    truth_path = write(truth, folder / "phantom_truth.nii.gz", "nifti")
    real_path = Path(str(get_testdata_file(REAL_SLICE, download=False)))
    outcomes = (
        *segment_files([scan_path], method, folder, format="nifti", progress=progress),
        *segment_files([real_path], method, folder),
    )
    for outcome in outcomes:
        if outcome.error is not None:
            raise outcome.error
    scores = evaluate(truth=read_labels(truth_path), prediction=read_labels(outcomes[0].files[0]))
    return DemoResult(outcomes, scores, truth_path)


def _write_scan(volume: CTVolume, path: Path) -> None:
    """Write a scan with its place as NPZ, which `fewct segment` reads."""
    pixels = np.stack([plane.pixels for plane in volume])
    affine = np.eye(4) if volume.geometry is None else volume.geometry.affine
    with atomic_path(path) as partial:
        np.savez_compressed(partial, image=pixels.round().astype(np.int16), affine=affine)
