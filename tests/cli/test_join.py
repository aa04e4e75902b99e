"""`fewct join`: label maps of one slice become one."""

import json
from pathlib import Path

import numpy as np
import pytest

from fewct.cli import main
from fewct.io import read_labels, write
from fewct.types import Geometry, LabelMap

ORGANS = np.array([[1, 1, 1, 4], [1, 1, 1, 4]], dtype=np.int32)
LESION = np.array([[0, 9, 0, 0], [0, 9, 9, 0]], dtype=np.int32)


def run(*words: object) -> int:
    return main([str(word) for word in words])


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return (
        write(LabelMap(ORGANS), tmp_path / "organs.png"),
        write(LabelMap(LESION), tmp_path / "lesion.npz"),
    )


def test_the_smaller_lies_on_top(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    out = files[0].parent / "joined.png"
    assert run("join", *files, "-o", out, "--json") == 0
    rows = json.loads(capsys.readouterr().out)
    labels = read_labels(out).labels
    of = {(Path(row["file"]).name, row["id_in_file"]): labels == row["id"] for row in rows}
    np.testing.assert_array_equal(of["lesion.npz", 9], LESION == 9)
    np.testing.assert_array_equal(of["organs.png", 4], ORGANS == 4)
    np.testing.assert_array_equal(of["organs.png", 1], (ORGANS == 1) & (LESION == 0))


def test_the_first_lies_on_top(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    out = files[0].parent / "joined.npz"
    assert run("join", *files, "-o", out, "--on-top", "first", "--min-px", 1) == 0
    np.testing.assert_array_equal(read_labels(out).labels == 0, ORGANS == 0)
    assert "2 structures in" in capsys.readouterr().out


def test_structures_left_with_little_go(files: tuple[Path, Path]) -> None:
    out = files[0].parent / "joined.png"
    assert run("join", *files, "-o", out, "--min-px", 3) == 0
    assert len(np.unique(read_labels(out).labels)) == 3  # the lesion, what it leaves of organ 1, and the rest


def test_places_in_the_patient_are_brought_together(tmp_path: Path) -> None:
    geometry = Geometry.from_spacing((5.0, 0.8, 0.8))
    shifted = geometry.affine.copy()
    shifted[:3, 3] -= geometry.affine[:3, 1] + 2 * geometry.affine[:3, 2]
    first = write(LabelMap(ORGANS, geometry), tmp_path / "a.nii.gz")
    wider = np.pad(LESION, ((1, 0), (2, 3)))
    second = write(LabelMap(wider, Geometry(shifted)), tmp_path / "b.nii.gz")
    assert run("join", first, second, "-o", tmp_path / "joined.nii.gz") == 0
    joined = read_labels(tmp_path / "joined.nii.gz")
    grid = read_labels(first)
    assert joined.geometry is not None
    assert grid.geometry is not None
    np.testing.assert_allclose(joined.geometry.affine, grid.geometry.affine)
    np.testing.assert_array_equal(joined.labels == 2, LESION == 9)  # by size: 4 of ORGANS, 9, 1 of ORGANS


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("organs.png", "small.png"), 1, "small.png and organs.png: expected arrays of the same shape"),
        (("scan.npz",), 1, "scan.npz: expected a label map (rows, columns)"),
        (("absent.png",), 1, "absent.png"),
        ((), 2, "LABELS: expected at least one, found none"),
    ],
)
def test_what_cannot_be_joined(
    files: tuple[Path, Path],
    words: tuple[str, ...],
    code: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(files[0].parent)
    write(LabelMap(np.eye(3, dtype=np.int32)), "small.png")
    write(LabelMap(np.ones((2, 2, 4), dtype=np.int32)), "scan.npz")
    assert run("join", *words, "-o", "joined.png") == code
    assert message in capsys.readouterr().err
    assert not Path("joined.png").exists()
