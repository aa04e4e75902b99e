"""Bad checkpoints and boxes, nothing found, and a slice of one pixel, for SAM on the command line."""

import csv
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from fewct.cli import main
from fewct.io import read_labels
from fewct.phantom import phantom_slice

ANYTHING = ("--points-per-side", 2, "--pred-iou-thresh", 0, "--stability-score-thresh", 0)
ANYWHERE = ("--no-body-only", "--min-area", "0px")


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def weights(tiny_sam: str) -> Path:
    return Path(tiny_sam)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    ct, _ = phantom_slice(1, size=64)
    grey = np.clip((ct.pixels + 160) / 400 * 255, 0, 255).astype(np.uint8)
    Image.fromarray(grey).save(tmp_path / "one.png")
    return tmp_path / "one.png"


def run(picture: Path, method: str, weights: Path, *words: object) -> int:
    out = picture.parent / "out"
    before = ("segment", picture, "-o", out, "--method", method, "--weights", weights)
    return main([str(word) for word in (*before, *words)])


def absent(folder: Path, _: Path) -> Path:
    return folder / "bad.pth"


def cut_short(folder: Path, weights: Path) -> Path:
    content = weights.read_bytes()
    (folder / "bad.pth").write_bytes(content[: len(content) // 2])
    return folder / "bad.pth"


def of_another_model(folder: Path, _: Path) -> Path:
    torch.save({"conv1.weight": torch.zeros(4, 3, 7, 7), "fc.bias": torch.zeros(9)}, folder / "bad.pth")
    return folder / "bad.pth"


class WritesFile:
    """A pickle that writes a file where it is read carelessly."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), "w")


def torch_file_with_code(folder: Path, _: Path) -> Path:
    torch.save({"image_encoder.pos_embed": WritesFile(folder / "ran")}, folder / "bad.pth")
    return folder / "bad.pth"


def pickle_with_code(folder: Path, _: Path) -> Path:
    (folder / "bad.pth").write_bytes(pickle.dumps(WritesFile(folder / "ran"), protocol=2))
    return folder / "bad.pth"


CHECKPOINTS: dict[Callable[[Path, Path], Path], str] = {
    absent: "bad.pth: expected",
    cut_short: "bad.pth: expected a whole file of weights",
    of_another_model: "expected the weights of SAM, MedSAM, MobileSAM or LiteMedSAM, found 2 tensors",
    torch_file_with_code: "expected tensors and nothing else, found a pickle that calls",
    pickle_with_code: "expected tensors and nothing else, found a pickle that calls",
}


@pytest.mark.parametrize("method", ["everything", "boxes"])
@pytest.mark.parametrize(("make", "message"), CHECKPOINTS.items())
def test_bad_checkpoints(
    picture: Path,
    weights: Path,
    method: str,
    make: Callable[[Path, Path], Path],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bad = make(picture.parent, weights)
    assert run(picture, method, bad) == 1
    told = capsys.readouterr().err
    assert message in told
    assert "Traceback" not in told
    assert not (picture.parent / "ran").exists()
    assert not list((picture.parent / "out").glob("one_*"))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("40,5,20,30", "line 2: expected x0 < x1"),
        ("nan,5,20,30", "line 2: expected four finite numbers"),
        ("4,5,20,65", "boxes.csv, one: expected x within 0 .. 64 and y within 0 .. 64"),
        ("4,5,20", "line 2: expected four finite numbers"),
    ],
)
def test_bad_boxes(
    picture: Path, weights: Path, row: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    boxes = picture.parent / "boxes.csv"
    boxes.write_text(f"image,x0,y0,x1,y1\none,{row}\n")
    assert run(picture, "boxes", weights, "--boxes", boxes) == 1
    assert message in capsys.readouterr().err


def test_a_label_map_of_another_size(
    picture: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = picture.parent / "labels.png"
    Image.fromarray(np.ones((32, 64), dtype=np.uint8)).save(labels)
    assert run(picture, "boxes", weights, "--boxes", labels) == 1
    assert "labels.png: expected a label map of the slice's shape (64, 64)" in capsys.readouterr().err


@pytest.mark.parametrize("words", [("everything", "--pred-iou-thresh", 1), ("boxes",)])
def test_nothing_found_is_an_empty_label_map(picture: Path, weights: Path, words: tuple[object, ...]) -> None:
    method, *more = words
    if method == "boxes":
        (picture.parent / "boxes.json").write_text('{"one": []}')
        more = ["--boxes", picture.parent / "boxes.json"]
    assert run(picture, str(method), weights, *more) == 0
    out = picture.parent / "out"
    assert not read_labels(out / "one_labels.png").labels.any()
    with (out / "one_structures.csv").open(newline="") as table:
        assert list(csv.DictReader(table)) == []


def test_a_slice_of_one_pixel(tmp_path: Path, weights: Path) -> None:
    Image.fromarray(np.full((1, 1), 7, dtype=np.uint8)).save(tmp_path / "one.png")
    assert run(tmp_path / "one.png", "everything", weights, *ANYTHING, *ANYWHERE) == 0
    assert read_labels(tmp_path / "out" / "one_labels.png").labels.shape == (1, 1)
