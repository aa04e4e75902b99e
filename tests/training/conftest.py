"""A small anatomy for tests: a trunk of boxes."""

import json
from pathlib import Path

import numpy as np
import pytest

from fewct.training.synthetic_ct import Anatomy, load_anatomy

NAMES = {1: "liver", 2: "vertebrae_L1", 3: "colon", 4: "lung_upper_lobe_left", 5: "kidney_left"}


@pytest.fixture
def anatomy_file(tmp_path: Path) -> Path:
    """Packed label map of three slices of five structures; the first slice is empty."""
    labels = np.zeros((3, 60, 80), dtype=np.uint8)
    labels[1:, 10:35, 8:35] = 1
    labels[1:, 40:52, 34:48] = 2
    labels[1:, 10:22, 40:60] = 3
    labels[1:, 24:38, 50:70] = 4
    labels[1:, 40:50, 12:24] = 5
    names = np.array(json.dumps({str(key): name for key, name in NAMES.items()}))
    np.savez(tmp_path / "box.npz", label=labels, names=names, spacing_mm=np.full(3, 1.5, dtype=np.float32))
    return tmp_path / "box.npz"


@pytest.fixture
def anatomy(anatomy_file: Path) -> Anatomy:
    """Return the same, read."""
    return load_anatomy(anatomy_file, complete=True)
