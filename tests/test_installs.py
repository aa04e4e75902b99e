"""The script that installs the wheel on every Python: what it finds, skips, compares and tells."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import installs
from installs import (
    CommandError,
    Job,
    Outcome,
    Python,
    compare,
    do,
    find_pythons,
    lowest_versions,
    report,
    run,
)

VERSIONS = dict.fromkeys(installs.SHOWN, "1.0")
NO_WHEEL = "ERROR: No matching distribution found for numpy==2.0"
BLOCKS = np.repeat(np.repeat(np.arange(4).reshape(2, 2), 50, 0), 50, 1)


@pytest.fixture
def interpreter(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a program which tells that it is some Python, and whose pip finds no wheel."""

    def write(name: str, version: str, code: int = 0) -> Path:
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(
            f"#!/bin/sh\n"
            f'case "$*" in\n'
            f'*"-m venv"*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;\n'
            f'*"-m pip"*) echo "{NO_WHEEL}" >&2; exit 1 ;;\n'
            f"*) echo {version}; exit {code} ;;\n"
            f"esac\n"
        )
        path.chmod(0o755)
        return path

    return write


def python(minor: int) -> Python:
    return Python((3, minor, 1), Path("python3"))


def outcome(minor: int, labels: np.ndarray, **more: str) -> Outcome:
    return Outcome(Job(python(minor)), VERSIONS, {"a": labels}, **more)


def test_the_newest_of_each_minor_version_is_found_whatever_else_lies_there(
    interpreter: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    expected = interpreter("python3", "3 16 4 final cpython")
    interpreter("python3.16", "3 16 2 final cpython")
    interpreter("python3.10", "3 10 13 final cpython")
    interpreter("python3.17", "3 17 0 beta cpython")
    interpreter("python3.18", "3 18 1 final pypy")
    interpreter("python3.19", "none", code=127)
    interpreter("python3.16-config", "3 16 9 final cpython")
    interpreter("python3.20", "3 20 1 final cpython").chmod(0o644)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "none"))
    found = {one.version: one.path for one in find_pythons() if one.version >= (3, 16)}
    assert found == {(3, 16, 4): expected}


def test_the_lowest_versions_are_those_of_the_ranges() -> None:
    pins = lowest_versions()
    assert {"numpy==2.0", "scipy==1.13", "matplotlib==3.9"} <= set(pins)
    assert all(re.fullmatch(r"[\w-]+==[\d.]+", pin) for pin in pins)
    assert len(pins) == len(installs.PROJECT["dependencies"]) + 3


def test_variables_that_change_what_is_installed_are_dropped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    monkeypatch.setenv("PIP_CONSTRAINT", "constraints.txt")
    assert run("sh", "-c", "echo $PYTHONPATH$PIP_CONSTRAINT$MORE", cwd=tmp_path, MORE="x") == "x\n"
    with pytest.raises(CommandError, match=r"(?s)exit code 3.*told"):
        run("sh", "-c", "echo told >&2; exit 3", cwd=tmp_path)


@pytest.mark.parametrize(
    ("minor", "lowest", "is_skipped"),
    [(16, False, True), (12, False, False), (12, True, True), (11, True, False)],
)
def test_without_wheels_a_python_is_skipped_unless_it_is_promised(
    minor: int, lowest: bool, is_skipped: bool, interpreter: Callable[..., Path], tmp_path: Path
) -> None:
    path = interpreter("python3", f"3 {minor} 1 final cpython")
    found = do(Job(Python((3, minor, 1), path), lowest), tmp_path / "a.whl", tmp_path, tmp_path / "job")
    assert found.skipped == (NO_WHEEL.removeprefix("ERROR: ") if is_skipped else "")
    assert (NO_WHEEL in found.failed) is not is_skipped
    assert not (tmp_path / "job").exists()


def test_label_maps_are_compared() -> None:
    reference = outcome(13, BLOCKS)
    assert compare(outcome(11, BLOCKS.copy()), reference) == (True, "1 label maps equal to it")
    near, far = BLOCKS.copy(), BLOCKS.copy()
    near[0, 0] = 3
    far[:40] = 3
    assert compare(outcome(11, near), reference)[0]
    assert "a has ARI 0.99" in compare(outcome(11, near), reference)[1]
    assert not compare(outcome(11, far), reference)[0]
    assert compare(outcome(11, BLOCKS[1:]), reference)[1].startswith("a has ARI 0.0000")
    assert not compare(Outcome(reference.job, {}, {"b": BLOCKS}), reference)[0]


def test_the_report_tells_of_all_jobs(capsys: pytest.CaptureFixture[str]) -> None:
    skipped = Outcome(Job(python(16)), {}, {}, skipped="No matching distribution found for scipy")
    lowest = Outcome(Job(python(11), lowest=True), VERSIONS, {"a": BLOCKS})
    assert report([lowest, outcome(11, BLOCKS), outcome(13, BLOCKS), skipped])
    told = capsys.readouterr().out
    assert "Python 3.11.1, lowest versions: well" in told
    assert "Python 3.13.1, any versions: well\n    numpy 1.0, scipy 1.0" in told
    assert "Python 3.16.1, any versions: skipped, since there are no wheels: No matching dist" in told
    assert "Python 3.12: not tried, since it is not on this machine" in told


@pytest.mark.parametrize(
    "bad", [Outcome(Job(python(12)), {}, {}, failed="exit code 1"), outcome(12, np.zeros_like(BLOCKS))]
)
def test_one_bad_job_is_a_failure(bad: Outcome, capsys: pytest.CaptureFixture[str]) -> None:
    assert not report([bad, outcome(13, BLOCKS)])
    assert "Python 3.12.1, any versions: FAILED" in capsys.readouterr().out


def test_nothing_that_was_used_is_a_failure() -> None:
    assert not report([Outcome(Job(python(16)), {}, {}, skipped="no wheels")])
