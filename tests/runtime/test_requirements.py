"""Versions outside the ranges are named where a command fails, and only there."""

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

import fewct
from fewct.runtime.requirements import unmet_requirements

ROOT = Path(__file__).resolve().parents[2]
ASKED = ["numpy>=2.0", "tyro>=1.0.2"]
Install = Callable[[str, str, list[str]], None]


@pytest.fixture
def site(tmp_path: Path) -> Path:
    return tmp_path / "site"


@pytest.fixture
def install(site: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """A function that writes the metadata of an installed package, found before any other of its name."""
    monkeypatch.syspath_prepend(site)

    def write(name: str, version: str, asked: list[str]) -> None:
        info = site / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        lines = ["Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}", "Requires-Python: >=3.11"]
        lines += [f"Requires-Dist: {requirement}" for requirement in asked]
        (info / "METADATA").write_text("\n".join(lines) + "\n")

    return write


def test_absent_and_old_packages_are_named_with_the_way_out(install: Install) -> None:
    install("fewct", "9.0", [*ASKED, "absent-package>=3", "ruff>=99; extra == 'dev'"])
    install("numpy", "1.26.4", [])
    install("tyro", "1.0.10", [])
    assert unmet_requirements() == [
        "the package numpy: expected version 2.0 or newer, found 1.26.4. "
        "Install it: pip install 'numpy>=2.0'",
        "the package absent-package: expected version 3 or newer, found none. "
        "Install it: pip install 'absent-package>=3'",
    ]


@pytest.mark.parametrize(
    ("found", "is_met"),
    [
        ("2", True),
        ("2.0.0", True),
        ("2.0.0rc1", True),
        ("2.13.0+cpu", True),
        ("10.1", True),
        ("1.99.9", False),
    ],
)
def test_versions_are_compared_number_by_number(found: str, is_met: bool, install: Install) -> None:
    install("fewct", "9.0", ["numpy>=2.0"])
    install("numpy", found, [])
    assert (unmet_requirements() == []) is is_met


def test_an_extra_counts_where_it_is_installed(install: Install) -> None:
    install("fewct", "9.0", ["torch>=2.6; extra == 'torch'", "absent-package>=1; extra == 'torch'"])
    install("torch", "2.5.1+cpu", [])
    (message,) = unmet_requirements()
    assert message.startswith("the package torch: expected version 2.6 or newer, found 2.5.1+cpu. ")


def test_an_old_python_is_named(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("fewct", "9.0", [])
    monkeypatch.setattr("platform.python_version", lambda: "3.10.13")
    assert unmet_requirements() == [
        "Python: expected 3.11 or newer, found 3.10.13. "
        "Install fewct into an environment of a newer Python: python3.12 -m venv ENV"
    ]


def test_all_ranges_of_this_package_are_understood(install: Install) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    install("fewct", "9.0", project["dependencies"])
    for requirement in project["dependencies"]:
        install(re.split("[>=]", requirement)[0], "0.0.1", [])
    told = unmet_requirements()
    assert [line.split("pip install ")[1].strip("'") for line in told] == project["dependencies"]


def methods_without_tyro(version: str, install: Install, site: Path) -> str:
    """Return what `fewct methods` tells where an empty module stands for tyro of some version."""
    install("fewct", "9.0", ASKED)
    install("tyro", version, [])
    (site / "tyro.py").touch()
    environment = os.environ | {"PYTHONPATH": f"{site}{os.pathsep}{Path(fewct.__file__).parents[1]}"}
    words = [sys.executable, "-m", "fewct", "methods"]
    done = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert done.returncode == 1
    return done.stderr


def test_a_command_names_them_instead_of_a_traceback(install: Install, site: Path) -> None:
    assert methods_without_tyro("0.9.20", install, site) == (
        "fewct ended with AttributeError: module 'tyro' has no attribute 'conf'\n"
        "error: the package tyro: expected version 1.0.2 or newer, found 0.9.20. "
        "Install it: pip install 'tyro>=1.0.2'\n"
    )


def test_other_errors_keep_their_traceback(install: Install, site: Path) -> None:
    told = methods_without_tyro("1.0.2", install, site)
    assert told.startswith("Traceback")
    assert "error: " not in told
