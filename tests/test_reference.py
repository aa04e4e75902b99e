"""The reference is what the command line and the public names tell of themselves."""

import re
import runpy
from pathlib import Path

import pytest

import fewct
from fewct.cli import COMMANDS

MAKE = runpy.run_path(str(Path(__file__).resolve().parents[1] / "docs" / "make_reference.py"))


@pytest.mark.parametrize("file", MAKE["PAGES"])
def test_the_pages_are_current(file: str) -> None:
    text = (MAKE["FOLDER"] / file).read_text(encoding="utf-8")
    assert MAKE["PAGES"][file]() == text, "run python docs/make_reference.py"


@pytest.mark.parametrize("command", ["challenge", "models"])
def test_every_action_has_its_help(command: str) -> None:
    usage = MAKE["help_text"](command).splitlines()[0]
    assert re.findall(r"[\w-]+", usage.partition("{")[2]) == MAKE["PARTS"][command]


def test_the_help_of_every_command_is_there() -> None:
    text = (MAKE["FOLDER"] / "cli.md").read_text(encoding="utf-8")
    sections = re.split(r"^#{2,3} fewct (.*)$", text, flags=re.MULTILINE)[1:]
    helps = dict(zip(sections[::2], sections[1::2], strict=True))
    assert {*COMMANDS, "segment --method bam", "train prompt-small", "models export"} <= set(helps)
    for command, page in helps.items():
        words = [word for word in command.split() if word not in ("--method", "bam")]
        assert f"usage: fewct {words[0]}" in page
        assert "--help" in page
    assert "--minima-depth FLOAT" in helps["segment"]
    assert "--fill-with" in helps["segment --method bam"]


def test_every_public_name_is_there() -> None:
    text = (MAKE["FOLDER"] / "api.md").read_text(encoding="utf-8")
    sections = set(re.findall(r"^## fewct\.(\w+)$", text, re.MULTILINE))
    assert sections == set(fewct.__all__) - {"__version__"}
    assert "fewct.write(result: LabelMap, path: str | Path, format: str | None = None) -> Path" in text
    assert "    level: float = 0.45,\n" in text
