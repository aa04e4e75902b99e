"""`fewct evaluate --definition paper` as a user meets it."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fewct.benchmark.paper_scores import paper_scores
from fewct.cli import main
from fewct.imaging.masks import proposals_from_labels
from fewct.io import write
from fewct.types import LabelMap


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, np.ndarray]:
    """A prediction, which is truth itself, as PNG and as COCO; truth of four bands that touch."""
    truth = np.zeros((12, 12), dtype=np.int32)
    for label in range(1, 5):
        truth[2 * label : 2 * label + 2, 3:9] = label
    Image.fromarray(truth.astype(np.uint8)).save(tmp_path / "truth.png")
    write(LabelMap(truth), tmp_path / "masks.json", "coco")
    return tmp_path / "truth.png", tmp_path / "masks.json", truth


def test_label_map_and_coco_give_the_same(
    files: tuple[Path, Path, np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    png, coco, truth = files
    printed = []
    for prediction in (png, coco):
        assert (
            main(["evaluate", str(prediction), "--truth", str(png), "--definition", "paper", "--json"]) == 0
        )
        printed.append(json.loads(capsys.readouterr().out))
    assert printed[0] == printed[1]
    expected = paper_scores([truth], [proposals_from_labels(truth)])
    assert printed[0]["meant"]["iou"] == expected.meant.iou == 0.25
    assert printed[0]["coded"] == vars(expected.coded)
    assert expected.coded.iou != 0.25
    assert printed[0]["n_pairs"] == 4


def test_table_has_both_variants(
    files: tuple[Path, Path, np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(files[1]), "--truth", str(files[0]), "--definition", "paper"]) == 0
    text = capsys.readouterr().out
    assert "as meant" in text
    assert "as coded" in text
    assert "0.2500" in text
    assert "4 pairs" in text


def test_wrong_use(files: tuple[Path, Path, np.ndarray], capsys: pytest.CaptureFixture[str]) -> None:
    png, coco, _ = files
    assert main(["evaluate", str(png), "--truth", str(png), "--definition", "paper", "--partial"]) == 2
    assert "expected neither --partial nor --structures" in capsys.readouterr().err
    Image.fromarray(np.ones((5, 5), np.uint8)).save(png.with_name("small.png"))
    small = str(png.with_name("small.png"))
    assert main(["evaluate", small, "--truth", str(png), "--definition", "paper"]) == 1
    assert "expected arrays of the same shape" in capsys.readouterr().err
    assert main(["evaluate", str(coco), "--truth", small, "--definition", "paper"]) == 1
    assert "expected arrays of the same shape" in capsys.readouterr().err
