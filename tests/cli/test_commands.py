"""`fewct evaluate`, `info`, `methods` and `demo` as a user meets them."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fewct.cli import main
from fewct.methods import METHODS


@pytest.fixture
def labels(tmp_path: Path) -> tuple[Path, Path]:
    """A prediction that misses one of two true structures."""
    truth = np.zeros((8, 8), dtype=np.uint8)
    truth[1:4, 1:4], truth[5:7, 5:7] = 1, 2
    prediction = np.where(truth == 1, 9, 0).astype(np.uint8)
    paths = tmp_path / "prediction.png", tmp_path / "truth.png"
    for path, array in zip(paths, (prediction, truth), strict=True):
        Image.fromarray(array).save(path)
    return paths


def test_evaluate_prints_every_metric(labels: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(labels[0]), "--truth", str(labels[1]), "--structures"]) == 0
    text = capsys.readouterr().out
    assert "adjusted Rand index, all pixels" in text
    assert "mean best IoU of true structures" in text
    assert "0.500" in text


def test_evaluate_gives_json_without_nan(
    labels: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(labels[0]), "--truth", str(labels[1]), "--json"]) == 0
    metrics = json.loads(capsys.readouterr().out)
    assert metrics["overall"]["mean_best_iou"] == 0.5
    assert metrics["overall"]["surface_dice"] is None
    assert [row["pred_id"] for row in metrics["structures"]] == [9, 0]


def test_evaluate_tells_when_the_foreground_index_says_nothing(
    labels: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = np.asarray(Image.open(labels[1]))
    one = tmp_path / "one.png"
    Image.fromarray(np.where(truth == 1, truth, 0)).save(one)
    said = []
    for path in (labels[1], one):
        assert main(["evaluate", str(labels[0]), "--truth", str(path)]) == 0
        said.append(" ".join(capsys.readouterr().out.split()))
    assert "fewer than two true structures" not in said[0]
    assert "says nothing with fewer than two true structures" in said[1]
    assert "truth-foreground pixels │ - " in said[1]


def test_evaluate_of_a_scan_tells_how_many_slices_a_mean_is_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = np.zeros((3, 8, 8), np.uint8)
    truth[:, 1:4, 1:4] = 1
    truth[:2, 5:7, 5:7] = 2
    np.save(tmp_path / "truth.npy", truth)
    np.save(tmp_path / "prediction.npy", truth)
    assert main(["evaluate", f"{tmp_path / 'prediction.npy'}", "--truth", f"{tmp_path / 'truth.npy'}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    (line,) = [line for line in lines if "truth-foreground pixels" in line and "adjusted" in line]
    assert line.split("│")[-2].strip() == "1.000 (2 of 3)"


@pytest.mark.parametrize("command", [["evaluate"], ["challenge", "score"]])
def test_two_files_without_truth_are_refused_with_the_right_words(
    labels: tuple[Path, Path], capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*command, *map(str, labels)])
    assert stopped.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    said = " ".join(printed.err.replace("│", " ").split())
    assert "Missing" in said
    assert f"fewct {' '.join(command)} PREDICTION --truth TRUTH" in said


def test_evaluate_of_other_shapes_is_an_error(
    labels: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(np.zeros((4, 8), np.uint8)).save(tmp_path / "small.png")
    assert main(["evaluate", str(tmp_path / "small.png"), "--truth", str(labels[1])]) == 1
    assert "expected arrays of the same shape" in capsys.readouterr().err


def test_info_tells_what_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(
        tmp_path / "scan.npz", image=np.arange(2 * 3 * 4).reshape(2, 3, 4) - 500, spacing_mm=[5, 0.7, 0.7]
    )
    assert main(["info", str(tmp_path / "scan.npz"), "--json"]) == 0
    (facts,) = json.loads(capsys.readouterr().out)
    assert facts["shape"] == [2, 3, 4]
    assert facts["unit"] == "hu"
    assert facts["spacing_mm"] == [5, 0.7, 0.7]
    assert main(["info", str(tmp_path / "scan.npz")]) == 0
    assert "scan" in capsys.readouterr().out


def test_methods_lists_each_with_its_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["methods", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == list(METHODS)
    assert all(row["settings"] for row in rows)
    assert main(["methods"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in METHODS)
    cards = Path(text.split("Cards of the weights that come with fewct: ")[1].strip())
    assert {"bam.md", "mosaic.md", "prompt-small.md"} <= {path.name for path in cards.iterdir()}


def test_demo_makes_pictures_maps_and_scores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--out", str(tmp_path / "demo")]) == 0
    made = {path.name for path in (tmp_path / "demo").iterdir()}
    assert {"phantom_labels.nii.gz", "phantom_truth.nii.gz", "phantom_overlay.png"} <= made
    assert {"CT_small_labels.dcm", "CT_small_overlay.png", "CT_small_structures.csv"} <= made
    assert "mean best IoU of true structures" in capsys.readouterr().out


def test_help_names_every_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fewct", "--help"], capture_output=True, text=True, check=True
    )
    for command in ("segment", "evaluate", "info", "methods", "demo"):
        assert command in done.stdout
    assert "not a medical device" in done.stdout


THEIRS = """
from dataclasses import dataclass
from typing import ClassVar

from fewct.methods import Watershed


@dataclass(frozen=True)
class Theirs:
    name: ClassVar[str] = "theirs"
    summary: ClassVar[str] = "watershed by another name"
    strength: {default}

    def load(self):
        return Watershed().load()
"""


def test_methods_of_other_packages_are_listed(
    install_package: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    source = THEIRS.format(default="float = 0.5")
    install_package("good_plugin", "fewct.methods", "theirs = good_plugin:Theirs", source)
    assert main(["methods", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows[-1]["name"] == "theirs"
    assert rows[-1]["settings"] == {"strength": 0.5}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        (THEIRS.format(default="float"), "TypeError: Theirs.__init__() missing 1 required"),
        ("import nowhere", "ModuleNotFoundError: No module named 'nowhere'"),
        ("Theirs = 3", "TypeError: a method is a frozen dataclass with name, summary and load; it lacks"),
    ],
)
def test_faulty_methods_of_other_packages_are_named_and_the_others_listed(
    source: str, found: str, install_package: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    install_package("bad_plugin", "fewct.methods", "theirs = bad_plugin:Theirs", source)
    assert main(["methods", "--json"]) == 1
    printed = capsys.readouterr()
    assert [row["name"] for row in json.loads(printed.out)] == list(METHODS)[:-1]
    assert printed.err.startswith(
        "failed: entry point theirs = bad_plugin:Theirs of bad_plugin 1.5: expected"
    )
    assert found in printed.err
    assert main(["segment", "a.png", "--method", "theirs"]) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("error: entry point theirs = bad_plugin:Theirs of bad_plugin 1.5")
    assert main(["segment", "a.png", "--method", "nobodys"]) == 2
    assert "boxes, theirs, found 'nobodys'" in capsys.readouterr().err


def test_a_method_of_another_package_segments(
    install_package: Callable[..., None], labels: tuple[Path, Path], tmp_path: Path
) -> None:
    source = THEIRS.format(default="float = 0.5")
    install_package("good_plugin", "fewct.methods", "theirs = good_plugin:Theirs", source)
    words = [
        "segment",
        str(labels[1]),
        "--method",
        "theirs",
        "--strength",
        "0.7",
        "-o",
        str(tmp_path / "out"),
    ]
    assert main(words) == 0
    assert (tmp_path / "out" / "truth_labels.png").is_file()


def test_a_command_that_there_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["segmnt", "x.png"]) == 2
    assert "found segmnt. Did you mean segment?" in capsys.readouterr().err
