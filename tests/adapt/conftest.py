"""Few labelled slices, small: phantoms of different people, segmented without the network."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fewct.data.cases import LabelledCase
from fewct.phantom import phantom_slice

SIZE = 96


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEWCT_NUM_THREADS", "1")


def make_case(seed: int, patient: str | None = None, level: float = 0.45, size: int = SIZE) -> LabelledCase:
    image, truth = phantom_slice(seed, level=level, size=size)
    return LabelledCase(f"{seed}-{level}", patient, image, truth.labels.astype(np.int32))


@pytest.fixture(scope="session")
def people() -> tuple[LabelledCase, ...]:
    """Five slices of five people."""
    return tuple(make_case(seed, f"p{seed}") for seed in range(5))


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with images/ and labels/: four people as PNG, three structures of each."""
    folder = tmp_path / "few"
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    for seed in range(4):
        case = make_case(seed)
        grey = ((case.image.pixels + 160) / 400 * 255).clip(0, 255).astype(np.uint8)
        Image.fromarray(grey).save(folder / "images" / f"{seed}.png")
        Image.fromarray(case.truth.astype(np.uint8)).save(folder / "labels" / f"{seed}.png")
    return folder
