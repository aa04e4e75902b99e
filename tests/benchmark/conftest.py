"""Tiny data for benchmarks: phantom slices of 64 pixels with truth."""

from pathlib import Path

import numpy as np
import pytest

from fewct.phantom import phantom_volume

SIDE = 64


def scan(seed: int, slices: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Images, windowed to 8 bits, and labels of a made patient."""
    volume, truth = phantom_volume(seed, slices=slices, size=SIDE, levels=(0.42, 0.5))
    hu = np.stack([plane.pixels for plane in volume])
    return ((hu + 160) / 400 * 255).clip(0, 255).astype(np.uint8), truth.labels


@pytest.fixture(scope="session")
def patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three NPZ files, one a patient; on the middle slice of p0 one structure is labelled."""
    folder = tmp_path_factory.mktemp("patients")
    for seed in range(3):
        image, label = scan(seed)
        if seed == 0:
            label[1] = label[1] == np.bincount(label[1].ravel())[1:].argmax() + 1
        np.savez(folder / f"p{seed}.npz", image=image, label=label.astype(np.uint8))
    return folder
