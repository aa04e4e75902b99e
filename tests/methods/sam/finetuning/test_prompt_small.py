"""The promptable network that comes with fewct: it is there, small, runs without torch, finds structures."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fewct.methods.sam.backends.base import Backend
from fewct.methods.sam.backends.load import PROMPT_SMALL, load_backend
from fewct.methods.sam.inference import masks_in_boxes
from fewct.methods.sam.predictor import Predictor
from fewct.phantom import phantom_slice


@pytest.fixture(scope="module")
def backend() -> Backend:
    return load_backend("", 0, "auto")


def dice(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    return float(2 * (mask & truth).sum() / (mask.sum() + truth.sum()))


def boxes_of(labels: NDArray[np.integer], least_px: int) -> dict[int, list[int]]:
    found = {}
    for structure in np.unique(labels[labels > 0]).tolist():
        rows, columns = np.nonzero(labels == structure)
        if len(rows) >= least_px:
            found[structure] = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    return found


def test_it_is_small_enough_to_be_shipped() -> None:
    assert sum(file.stat().st_size for file in PROMPT_SMALL.iterdir()) <= 16e6


def test_boxes_of_the_phantom_are_filled(backend: Backend) -> None:
    ct, truth = phantom_slice(3, size=256)
    boxes = boxes_of(truth.labels, 300)
    masks = masks_in_boxes(backend, ct, list(boxes.values()))
    values = [dice(masks.mask(i), truth.labels == structure) for i, structure in enumerate(boxes)]
    assert len(values) >= 8
    assert np.mean(values) > 0.82


def test_a_point_and_a_correction(backend: Backend) -> None:
    ct, truth = phantom_slice(3, size=256)
    liver = truth.labels == np.bincount(truth.labels.ravel())[1:].argmax() + 1
    rows, columns = np.nonzero(liver)
    middle = np.argmin(np.hypot(rows - rows.mean(), columns - columns.mean()))
    predictor = Predictor.from_backend(backend)
    predictor.set_image(ct)
    first = predictor.predict([[columns[middle], rows[middle]]], [1])
    assert max(dice(mask, liver) for mask in first.masks[0]) > 0.92
    best = first.logits[0, int(first.predicted_iou[0].argmax())]
    again = predictor.predict([[columns[middle], rows[middle]]], [1], mask_input=best, multimask_output=False)
    assert again.masks.shape == (1, 1, 256, 256)


def test_everything_finds_structures_without_torch(tmp_path: Path) -> None:
    ct, _ = phantom_slice(3, size=128)
    np.save(tmp_path / "ct.npy", ct.pixels)
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import numpy as np\n"
        "from fewct.methods import Everything\n"
        "from fewct.types import CTSlice\n"
        f"image = CTSlice(np.load({str(tmp_path / 'ct.npy')!r}), 'hu')\n"
        "print(Everything(points_per_side=8).load().segment(image).labels.max())\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(ran.stdout) >= 3
