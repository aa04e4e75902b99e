"""`fewct segment` as a user meets it."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fewct.cli import main
from fewct.phantom import phantom_slice


@pytest.fixture
def slices(tmp_path: Path) -> Path:
    """A folder of two 8-bit slices."""
    folder = tmp_path / "in"
    folder.mkdir()
    for seed in (1, 2):
        ct, _ = phantom_slice(seed, size=96)
        Image.fromarray(np.clip((ct.pixels + 160) / 400 * 255, 0, 255).astype(np.uint8)).save(
            folder / f"{seed}.png"
        )
    return folder


def rows_of(table: Path) -> list[dict[str, str]]:
    with table.open(newline="") as stream:
        return list(csv.DictReader(stream))


def run(*words: object) -> int:
    return main([str(word) for word in words])


def test_each_image_becomes_four_files(
    slices: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run("segment", slices, "-o", out, "--json") == 0
    outcomes = json.loads(capsys.readouterr().out)
    assert [outcome["name"] for outcome in outcomes] == ["1", "2"]
    assert sorted(path.name for path in out.iterdir()) == sorted(
        f"{name}_{part}"
        for name in (1, 2)
        for part in ("labels.png", "overlay.png", "structures.csv", "manifest.json")
    )
    labels = np.asarray(Image.open(out / "1_labels.png"))
    rows = rows_of(out / "1_structures.csv")
    assert outcomes[0]["structures"] == len(rows) == len(np.unique(labels[labels > 0]))
    for row in rows:
        assert int(row["area_px"]) == np.count_nonzero(labels == int(row["id"]))
    manifest = json.loads((out / "1_manifest.json").read_text())
    assert manifest["method"] == "mosaic"
    assert manifest["configuration"]["cleanup"]["body_only"] is True
    assert len(manifest["input_sha256"]) == 64


def test_same_input_gives_the_same_files(slices: Path, tmp_path: Path) -> None:
    for out in ("a", "b"):
        assert run("segment", slices / "1.png", "-o", tmp_path / out) == 0
    for name in ("1_labels.png", "1_overlay.png", "1_structures.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_two_inputs_of_one_name_are_numbered(slices: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "1.png").write_bytes((slices / "2.png").read_bytes())
    assert (
        run("segment", slices / "1.png", other / "1.png", "-o", tmp_path / "out", "--method", "felzenszwalb")
        == 0
    )
    assert (tmp_path / "out" / "1_labels.png").exists()
    assert (tmp_path / "out" / "1_2_labels.png").exists()


def test_a_bad_input_does_not_lose_the_others(
    slices: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (slices / "0.png").write_bytes((slices / "1.png").read_bytes()[:200])
    out = tmp_path / "out"
    assert run("segment", slices, tmp_path / "nowhere.nii", "-o", out, "--method", "felzenszwalb") == 1
    printed = capsys.readouterr().err
    assert "0.png: expected" in printed
    assert "nowhere.nii: expected" in printed
    assert "Traceback" not in printed
    assert {path.name for path in out.glob("*_labels.png")} == {"1_labels.png", "2_labels.png"}
    assert not list(out.glob("0_*"))


def test_options_belong_to_the_method(slices: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ("segment", slices / "1.png", "-o", out, "--method", "felzenszwalb")
    assert run(*words, "--scale", "500", "--min-area", "2%", "--format", "npz") == 0
    manifest = json.loads((out / "1_manifest.json").read_text())
    assert manifest["configuration"]["scale"] == 500.0
    assert manifest["configuration"]["cleanup"]["min_area"] == "2%"
    assert (out / "1_labels.npz").exists()


def test_area_limits_hold(slices: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("segment", slices / "1.png", "-o", out, "--min-area", "40px", "--max-area", "200px") == 0
    areas = [int(row["area_px"]) for row in rows_of(out / "1_structures.csv")]
    assert areas
    assert min(areas) >= 40
    assert max(areas) <= 200


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--method", "mosaik"), "expected one of mosaic, watershed"),
        (("--min-area", "3 acres"), "3 acres"),
        (("--min-area", "50mm2"), "mm2"),
    ],
)
def test_wrong_usage_is_code_2(
    slices: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
) -> None:
    assert run("segment", slices / "1.png", "-o", tmp_path / "out", *words) == 2
    assert message in capsys.readouterr().err


def test_no_input_is_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("segment") == 2
    assert "INPUT: expected at least one, found none" in capsys.readouterr().err


@pytest.mark.parametrize("words", [("--no-such-option",), ("--window", "rainbow"), ("--format", "gif")])
def test_unknown_option_or_choice_is_code_2(slices: Path, words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as stop:
        run("segment", slices, *words)
    assert stop.value.code == 2


def test_output_folder_that_is_a_file(slices: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("segment", slices / "1.png", "-o", slices / "2.png") == 1
    assert "2.png: expected a folder that can be written, found" in capsys.readouterr().err


def test_help_tells_defaults_and_units(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        run("segment", "--method", "watershed", "--help")
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert "--flat-radius-px" in text
    assert "mm2" in text
    assert "(default: out)" in text
