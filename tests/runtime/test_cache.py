"""The cache folder is where the user or the platform says."""

import sys
from pathlib import Path

import pytest

from fewct.errors import UsageError
from fewct.runtime.cache import cache_folder


def test_the_variable_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    monkeypatch.setenv("FEWCT_CACHE_DIR", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEWCT_CACHE_DIR", "here")
    assert cache_folder() == tmp_path / "here"


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {}, "/home/ann/.cache/fewct"),
        ("linux", {"XDG_CACHE_HOME": "/fast"}, "/fast/fewct"),
        (
            "linux",
            {"XDG_CACHE_HOME": "relative, which the standard says to ignore"},
            "/home/ann/.cache/fewct",
        ),
        ("darwin", {"XDG_CACHE_HOME": "/fast"}, "/home/ann/Library/Caches/fewct"),
        ("win32", {"LOCALAPPDATA": "/home/ann/AppData/Local"}, "/home/ann/AppData/Local/fewct"),
        ("win32", {}, "/home/ann/AppData/Local/fewct"),
    ],
)
def test_the_platforms_place(
    platform: str, variables: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FEWCT_CACHE_DIR", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(Path, "home", lambda: Path("/home/ann"))
    assert cache_folder() == Path(expected)


def test_a_user_without_a_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("FEWCT_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(
        UsageError, match=r"FEWCT_CACHE_DIR: .* no home folder.* Set the environment variable"
    ):
        cache_folder()
