"""A tiny BAM exported once, and supports."""

from pathlib import Path

import numpy as np
import pytest

from fewct.methods.bam.episodes import EpisodeSlice, episode_slice
from fewct.methods.bam.onnx_export import export_network
from methods.bam.tiny import SIZE_PX, body_slice, tiny_network


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of an exported tiny network."""
    folder = tmp_path_factory.mktemp("bam")
    export_network(tiny_network(), SIZE_PX, folder)
    return folder


@pytest.fixture
def slices() -> list[EpisodeSlice]:
    """Six slices of three patients; every second one gives regions, too."""
    found = []
    for seed in range(6):
        image, labels = body_slice(seed)
        found.append(episode_slice(image, labels, "abc"[seed // 2], labels + 1 if seed % 2 else None))
    return found


@pytest.fixture
def support(tmp_path: Path) -> Path:
    """Return a folder of two support slices of different sizes, whose structures are called 3 and 300."""
    for seed, shape in enumerate([(64, 80), (96, 120)]):
        image, labels = body_slice(seed, shape)
        np.save(tmp_path / f"{seed}.npy", image.pixels)
        np.save(tmp_path / f"{seed}_labels.npy", np.array([0, 3, 300])[labels])
    return tmp_path
