"""Old names of options and methods, and that every option of fewct 0.1.0 is still taken."""

import re
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import pytest

from fewct.cli import main, parse
from fewct.cli.benchmark import parse_method
from fewct.cli.options import METHODS, OPTIONS, VALUES
from fewct.errors import FewctWarning
from fewct.methods import Everything, Mosaic, UNet

LINES = (Path(__file__).parent / "old_options.txt").read_text().splitlines()[1:]
OLD = {command: options.split() for command, options in (line.split(" |") for line in LINES)}


@pytest.fixture
def options_of(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], dict[str, str]]:
    """A function that returns the options in the help of a command, each with its choices, "" for none."""
    monkeypatch.setenv("COLUMNS", "120")

    def options(command: str) -> dict[str, str]:
        with pytest.raises(SystemExit, match="0"):
            main([*command.split(), "--help"])
        lines = re.findall(r"^[│ ] (-.*?)(?:  | ?│|$)", capsys.readouterr().out, flags=re.MULTILINE)
        found = [re.findall(r"(?:^|, )(--?[a-z][a-z0-9-]*)(?: (\{[^}]*\}))?", line) for line in lines]
        return dict(chain.from_iterable(found))

    return options


def scope_of(command: str) -> str:
    first, last = command.split()[0], command.split()[-1]
    return {"segment": last, "challenge": last, "train": command}.get(first, first)


@pytest.mark.parametrize("command", OLD)
def test_every_old_option_is_still_taken(command: str, options_of: Callable[[str], dict[str, str]]) -> None:
    today = options_of(command)
    renamed = OPTIONS.get(scope_of(command), {})
    assert not {f"--{old}" for old in renamed} & set(today), "an old name shows in the help"
    for option in OLD[command]:
        name, _, choices = option.partition("=")
        prefix, old = re.fullmatch(r"(--?(?:no-(?!flips))?)(.*)", name).groups()
        new = f"{prefix}{renamed.get(old, old)}"
        assert new in today
        values = {VALUES.get(old, {}).get(value, value) for value in choices.strip("{}").split(",")}
        assert values <= set(today[new].strip("{}").split(","))


def test_every_old_name_was_one() -> None:
    for scope, renamed in OPTIONS.items():
        commands = [command for command in OLD if scope_of(command) == scope]
        told = {
            option.partition("=")[0].removeprefix("--") for command in commands for option in OLD[command]
        }
        assert set(renamed) <= told
        assert not set(renamed) & set(renamed.values())


GIVEN = "--maps=gradients --depth 0.2 --pairs=0.3 --structure 0.5 --certainty=0.7"
EXPECTED = Mosaic(
    "gradients", minima_depth=0.2, affinity_weight=0.3, foreground_threshold=0.5, min_foreground=0.7
)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (GIVEN, EXPECTED),
        ("--method unet --weights a --reading merged", UNet("a", instances="single")),
        ("--method unet --weights a --reading=components", UNet("a", instances="components")),
        ("--method=everything --weights a --input_px 512", Everything(weights="a", image_size=512)),
    ],
)
def test_old_options_do_what_the_new_ones_do(words: str, expected: object) -> None:
    with pytest.warns(FewctWarning, match=r"--[a-z-]+ is now --[a-z-]+"):
        command = parse(["segment", "a.png", *words.split()])
    assert command.settings == expected  # type: ignore[attr-defined]


def test_a_warning_of_one_line_names_the_new_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["segment", "nowhere.png", "--depth", "0.2"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "warning: --depth is now --minima-depth; the next release takes only that."
    assert len([line for line in lines if line.startswith("warning")]) == 1


def test_names_that_are_valid_elsewhere_stay() -> None:
    command = parse(["segment", "a.png", "--method", "bam", "--support", "x", "--structures", "2"])
    assert command.settings.structures == (2,)  # type: ignore[attr-defined]


@pytest.mark.parametrize(("old", "new"), [("--upright", "--no-flips"), ("--no-upright", "--no-no-flips")])
def test_a_flag_and_its_negation(old: str, new: str) -> None:
    words = ["train", "unet", "--data", "a"]
    with pytest.warns(FewctWarning, match="--upright is now --no-flips"):
        command = parse([*words, old])
    assert command == parse([*words, new])


def test_old_names_in_the_settings_of_a_benchmark() -> None:
    with pytest.warns(FewctWarning, match="--depth is now --minima-depth"):
        assert parse_method("mosaic:depth=0.2,level=0.3") == Mosaic(minima_depth=0.2, level=0.3)
    with pytest.warns(FewctWarning, match="medsam-boxes is now boxes"):
        assert parse_method("medsam-boxes:weights=a,boxes_from=mosaic").name == METHODS["medsam-boxes"]


def test_an_old_method_name() -> None:
    with pytest.warns(FewctWarning, match="medsam-boxes is now boxes"):
        command = parse(
            ["segment", "a.png", "--method", "medsam-boxes", "--weights", "a", "--boxes-from", "mosaic"]
        )
    assert command.settings.name == "boxes"  # type: ignore[attr-defined]
