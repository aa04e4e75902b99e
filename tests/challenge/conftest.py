"""A small edition, and label tables written by hand, as text."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fewct.challenge.editions import Edition
from fewct.challenge.example import write_example

TableText = Callable[..., str]
TableWriter = Callable[[str], Path]


def obvious_text(maps: NDArray[np.uint8], names: Sequence[str] | None = None) -> str:
    """Write a label table the slow, obvious way."""
    chosen = [f"{i}.png" for i in range(len(maps))] if names is None else names
    lines = ["," + ",".join(chosen)]
    for pixel in range(maps[0].size):
        cells = [str(labels.reshape(-1)[pixel]) for labels in maps]
        lines.append(f"Pixel {pixel}," + ",".join(cells))
    return "\n".join(lines) + "\n"


@pytest.fixture
def edition() -> Edition:
    """An edition of 2 test images of 4 x 4 pixels."""
    return Edition("2023", side=4, n_train=4, n_labelled=3, n_test=2)


@pytest.fixture
def maps() -> NDArray[np.uint8]:
    """Two label maps of 4 x 4 pixels, flat enough not to look scrambled."""
    return np.array(
        [
            [[0, 1, 1, 1], [0, 1, 1, 1], [0, 1, 1, 1], [0, 0, 0, 0]],
            [[255, 255, 255, 255], [255, 255, 255, 255], [12, 12, 12, 12], [12, 12, 12, 12]],
        ],
        dtype=np.uint8,
    )


@pytest.fixture
def text(maps: NDArray[np.uint8]) -> str:
    """The table of `maps`, valid for `edition`."""
    return obvious_text(maps)


@pytest.fixture
def table_text() -> TableText:
    """Writes label maps, and column names if not 0.png, 1.png, ..., as the text of a table."""
    return obvious_text


@pytest.fixture
def write(tmp_path: Path) -> TableWriter:
    """Write text as a table file."""

    def write_text(content: str) -> Path:
        path = tmp_path / "y.csv"
        path.write_bytes(content.encode())
        return path

    return write_text


@pytest.fixture(scope="session")
def small_edition() -> Edition:
    """An edition of 128 x 128 pixels with as many images as the made one."""
    return Edition("2023", side=128, n_train=6, n_labelled=3, n_test=4)


@pytest.fixture(scope="session")
def example(tmp_path_factory: pytest.TempPathFactory, small_edition: Edition) -> Path:
    """The folder of a made edition; tests must not change it."""
    folder = tmp_path_factory.mktemp("example")
    write_example(folder, small_edition, seed=3)
    return folder
