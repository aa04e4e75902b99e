"""The list of commands, and what starting a command imports."""

import subprocess
import sys
from importlib import import_module

import pytest

from fewct.cli import COMMANDS, main, overview

HEAVY = {"highdicom", "matplotlib", "nibabel", "onnxruntime", "pydicom", "scipy", "skimage", "torch"}


def imported_by(*words: str) -> set[str]:
    """Return the modules that a command line imports in a process of its own."""
    script = f"""
import sys
from fewct.cli import main
try:
    main({list(words)})
finally:
    print(*sys.modules, file=sys.stderr)"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_has_the_first_line_of_each_docstring(name: str) -> None:
    command = getattr(import_module(f"fewct.cli.{name}"), name.capitalize())
    assert COMMANDS[name] == command.__doc__.splitlines()[0]


@pytest.mark.parametrize("width", [50, 100])
def test_the_list_fits_the_terminal(width: int) -> None:
    lines = overview(width).splitlines()
    assert max(map(len, lines[lines.index("commands:") :])) <= width
    told = " ".join(" ".join(lines).split())
    for name, summary in COMMANDS.items():
        assert f"{name} {summary}" in told


@pytest.mark.parametrize(("words", "code"), [(["--help"], 0), (["-h"], 0), ([], 2)])
def test_without_a_command_the_commands_are_listed(
    words: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == code
    assert "research use only" in capsys.readouterr().out.lower()


def test_the_list_of_commands_imports_no_library() -> None:
    modules = imported_by("--help")
    assert not modules & {"numpy", "rich", "tyro", *HEAVY}
    assert {name for name in modules if name.startswith("fewct.")} == {"fewct._version", "fewct.cli"}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_imports_no_heavy_library(name: str) -> None:
    assert not imported_by(name, "--help") & HEAVY


def test_an_unknown_command_is_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["segmnt"]) == 2
    assert "segment, evaluate" in capsys.readouterr().err
