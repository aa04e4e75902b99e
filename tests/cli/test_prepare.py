"""`fewct prepare` as a user meets it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fewct.cli import main
from fewct.io.medsam.reading import read_medsam


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two scans of three slices: one structure of 2500 px, and one of 25."""
    (tmp_path / "data").mkdir()
    for name in ("p1", "p2"):
        label = np.zeros((3, 64, 64), dtype=np.uint8)
        label[:, :50, :50], label[0, 60:, 60:] = 1, 2
        image = np.random.default_rng(0).integers(0, 255, label.shape).astype(np.uint8)
        np.savez(tmp_path / "data" / f"{name}.npz", image=image, label=label)
    return tmp_path / "data"


def test_a_line_for_each_file(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["prepare", "medsam", "--data", str(data), "-o", str(out), "--step", "2"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{out / name}.npz: 2 masks in 2 entries, 1 smaller than the thresholds" for name in ("p1", "p2")
    ]
    file = read_medsam(out / "p1.npz")
    assert (file.gts.shape, file.slice_numbers.tolist()) == ((2, 256, 256), [0, 2])
    with np.load(out / "p1.npz") as arrays:
        assert json.loads(str(arrays["manifest"]))["settings"]["min_original_px"] == 1000


def test_for_machines(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    words = ["prepare", "medsam", "--data", str(data), str(tmp_path / "absent"), "-o", str(out), "--json"]
    assert main([*words, "--multi", "--min-original-px", "0"]) == 1
    captured = capsys.readouterr()
    rows = json.loads(captured.out)
    assert rows[0] == {
        "name": "p1",
        "file": str(out / "p1.npz"),
        "entries": 3,
        "masks": 4,
        "dropped": 0,
        "error": None,
    }
    assert "nothing of that name" in rows[2]["error"]
    assert "failed: " in captured.err
    assert read_medsam(out / "p1.npz").gts.shape == (3, 256, 256, 2)


def test_nothing_left(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["prepare", "medsam", "--data", str(data / "p1.npz"), "-o", str(tmp_path / "out")]
    assert main([*words, "--min-resized-px", "65536"]) == 1
    captured = capsys.readouterr()
    assert captured.out == "p1: nothing to write, 4 smaller than the thresholds\n"
    assert "found 4 masks, all smaller" in captured.err


def test_output_that_exists(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["prepare", "medsam", "--data", str(data), "-o", str(tmp_path / "out")]
    assert main(words) == 0
    assert main(words) == 2
    assert "found 2, such as p1.npz. Name another folder with --out" in capsys.readouterr().err


def test_one_mask(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["prepare", "medsam", "--data", str(data / "p1.npz"), "-o", str(tmp_path / "out")]
    assert main([*words, "--step", "3"]) == 0
    assert ": 1 mask in 1 entry, 1 smaller than the thresholds" in capsys.readouterr().out


def test_another_layout(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["prepare", "nothing", "--data", "x"])
    assert "medsam" in capsys.readouterr().err


def test_torch_is_needed_for_embeddings_alone(data: Path, tmp_path: Path) -> None:
    (tmp_path / "sam.pth").touch()
    script = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
from fewct.cli import main
words = ["prepare", "medsam", "--data", {str(data)!r}, "-o"]
without = main([*words, {str(tmp_path / "a")!r}])
print(without, main([*words, {str(tmp_path / "b")!r}, "--weights", {str(tmp_path / "sam.pth")!r}]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "0 1"
    assert "pip install 'fewct[torch]'" in done.stderr
    assert (tmp_path / "a" / "p2.npz").exists()
    assert not (tmp_path / "b").exists()
