"""`everything` and `boxes` on the command line, with a small checkpoint of random weights."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fewct.cli import main
from fewct.imaging.body import body_mask
from fewct.io import read
from fewct.phantom import phantom_slice
from fewct.recipes.labelled import TrainSam

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def weights(tiny_sam: str) -> str:
    return tiny_sam


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A folder of one 8-bit slice with its labels."""
    ct, truth = phantom_slice(1, size=96)
    (tmp_path / "in").mkdir()
    grey = np.clip((ct.pixels + 160) / 400 * 255, 0, 255).astype(np.uint8)
    Image.fromarray(grey).save(tmp_path / "in" / "one.png")
    Image.fromarray(truth.labels.astype(np.uint8)).save(tmp_path / "in" / "one_labels.png")
    return tmp_path / "in" / "one.png"


ANYWHERE = ("--no-body-only", "--min-area", "0px")  # masks of random weights lie anywhere


def run(*words: object) -> int:
    return main([str(word) for word in words])


def areas_in(table: Path) -> list[int]:
    with table.open(newline="") as stream:
        return [int(row["area_px"]) for row in csv.DictReader(stream)]


def test_everything(picture: Path, weights: str, tmp_path: Path) -> None:
    generous = ("--points-per-side", 8, "--pred-iou-thresh", 0.3, "--stability-score-thresh", 0.5)
    words = ("segment", picture, "--method", "everything", "--weights", weights, *generous, *ANYWHERE)
    words = (*words, "--stability-score-offset", 0.1)
    assert run(*words, "-o", tmp_path / "all") == 0
    assert run(*words, "--max-area", "10%", "-o", tmp_path / "small") == 0
    body_px = np.count_nonzero(body_mask(read(picture)))
    assert max(areas_in(tmp_path / "all" / "one_structures.csv")) > 0.1 * body_px
    assert max(areas_in(tmp_path / "small" / "one_structures.csv"), default=0) <= 0.1 * body_px
    manifest = json.loads((tmp_path / "small" / "one_manifest.json").read_text())
    assert manifest["configuration"]["cleanup"]["max_area"] == "10%"
    assert manifest["configuration"]["points_per_side"] == 8


@pytest.mark.parametrize("source", ["mosaic", "watershed"])
def test_boxes_of_a_method(picture: Path, weights: str, tmp_path: Path, source: str) -> None:
    words = ("segment", picture, "--method", "boxes", "--boxes-from", source, "--weights", weights)
    assert run(*words, *ANYWHERE, "-o", tmp_path / "out") == 0
    assert areas_in(tmp_path / "out" / "one_structures.csv")
    manifest = json.loads((tmp_path / "out" / "one_manifest.json").read_text())
    assert manifest["method"] == "boxes"
    assert manifest["configuration"]["boxes_from"] == source


@pytest.mark.parametrize("name", ["boxes.csv", "labels.png"])
def test_boxes_of_a_file(picture: Path, weights: str, tmp_path: Path, name: str) -> None:
    (tmp_path / "boxes.csv").write_text("image,x0,y0,x1,y1\none,20,20,60,50\none,50,40,90,80\n")
    (tmp_path / "labels.png").write_bytes((picture.parent / "one_labels.png").read_bytes())
    words = ("segment", picture, "--method", "boxes", "--boxes", tmp_path / name)
    assert run(*words, "--weights", weights, *ANYWHERE, "-o", tmp_path / "out") == 0
    assert areas_in(tmp_path / "out" / "one_structures.csv")


def test_an_image_without_boxes_does_not_lose_the_others(
    picture: Path, weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (picture.parent / "two.png").write_bytes(picture.read_bytes())
    (tmp_path / "boxes.csv").write_text("image,x0,y0,x1,y1\ntwo.png,20,20,60,50\n")
    words = ("segment", picture.parent, "--method", "boxes", "--boxes", tmp_path / "boxes.csv")
    assert run(*words, "--weights", weights, "-o", tmp_path / "out") == 1
    assert "expected boxes of the image one" in capsys.readouterr().err
    assert (tmp_path / "out" / "two_labels.png").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("everything", "--image-size", "512"), "image_size: expected 256"),
        (("boxes", "--boxes", "b.csv", "--boxes-from", "mosaic"), "found b.csv and mosaic"),
        (("boxes", "--boxes-from", "unet"), "boxes_weights: expected the weights of unet"),
    ],
)
def test_wrong_usage_is_code_2(
    picture: Path,
    tmp_path: Path,
    words: tuple[str, ...],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("segment", picture, "-o", tmp_path / "out", "--method", *words) == 2
    assert message in capsys.readouterr().err


def test_they_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("methods", "--json") == 0
    listed = {row["name"]: row["settings"] for row in json.loads(capsys.readouterr().out)}
    assert listed["everything"]["points_per_side"] == 32
    assert listed["boxes"]["boxes_from"] is None


def test_they_are_compared(
    picture: Path, weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    methods = (
        "watershed",
        f"everything:weights={weights},points_per_side=4,pred_iou_thresh=0.3",
        f"boxes:weights={weights},boxes_from=felzenszwalb",
    )
    words = ("benchmark", "--data", picture.parent, "--methods", *methods, "-o", tmp_path / "out", "--json")
    assert run(*words) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["method"] for row in rows} == set(methods)


def test_fine_tuning(picture: Path, weights: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TrainSam, "export", staticmethod(lambda folder: folder / "model"))  # test_recipe does
    small = (
        "--steps=2",
        "--batch-size=1",
        "--workers=0",
        "--prompts=2",
        "--augmented-views=1",
        "--no-bfloat16",
    )
    words = ("train", "sam", "--data", picture.parent, "--weights", weights, "--validation-share", 0, *small)
    assert run(*words, "-o", tmp_path / "runs") == 0
    kept = {path.name for path in (tmp_path / "runs").iterdir()}
    assert {"checkpoint.pt", "curves.csv", "training.json", "split.json"} <= kept
    assert run(*words, "--trainable", "all", "-o", tmp_path / "runs") == 2  # another training


def test_fine_tuning_needs_a_checkpoint_that_is_there(
    picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("train", "sam", "--data", picture.parent, "--weights", tmp_path / "none.pth")
    assert run(*words, "--validation-share", 0, "-o", tmp_path / "runs") != 0
    assert "none.pth" in capsys.readouterr().err
