"""The command line: `fewct COMMAND`. One file a command; each a dataclass with `.run()`.

Only the command that is named is imported; the list of commands needs none of them.
"""

import gc
import shutil
import sys
import textwrap
import warnings
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Annotated, Any, Protocol, Union

DESCRIPTION = """Segment every anatomical structure on a CT slice or scan, without naming organs.

Research use only: fewct is not a medical device."""

COMMANDS = {
    "segment": "Segment every structure on CT slices and scans, without naming organs.",
    "evaluate": "Compare a label map with truth, whatever the formats; grids are brought together in patient "
    "space.",
    "benchmark": "Compare methods on the same slices: rows, intervals by patient, figures and a report.",
    "join": "Join label maps of one slice, such as predictions structure by structure, into one label map.",
    "info": "Tell what an input holds: images, sizes, spacing, place in the patient, intensities.",
    "methods": "List the methods and their default settings.",
    "prepare": "Write labelled data as MedSAM's NPZ, one file a scan or picture: pictures beside binary "
    "masks.",
    "pack": "Pack the data of `fewct train mosaic` into one file of at most 60 MB, to train on another "
    "machine.",
    "train": "Train a network on few labelled slices, then export it for `fewct segment --weights DIR`.",
    "adapt": "Adapt mosaic to 1 to 50 labelled slices, and keep what cross-validation proves to be better.",
    "models": "Weights under names of your own, and networks as ONNX. Nothing is fetched but by `download`.",
    "demo": "Segment a phantom scan, whose truth is known, and a real CT slice; show what comes out.",
    "challenge": "Files, score and submission of the ENS x Raidium data challenge.",
}
"""By name the first line of a command's docstring; command x is the class X of the module fewct.cli.x."""


class Command(Protocol):
    """A parsed command line."""

    def run(self) -> int:
        """Do the work and return the exit code."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: Words of the command line without the program's name; None for those of this process.

    Returns:
        Exit code: 0 all well, 1 some inputs failed (each is named, the others are done), 2 wrong usage.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        print(overview(shutil.get_terminal_size().columns))
        return 0 if words else 2
    try:
        return _run(words, ends_process=argv is None)
    except Exception as error:
        from fewct.runtime.requirements import unmet_requirements

        unmet = unmet_requirements()
        if not unmet:
            raise
        print(f"fewct ended with {type(error).__name__}: {error}", file=sys.stderr)
        for message in unmet:
            print(f"error: {message}", file=sys.stderr)
        return 1


def _run(words: Sequence[str], ends_process: bool) -> int:
    """Run the command of a command line and return the exit code."""
    from fewct.cli.terminal import tell
    from fewct.errors import FewctError, FewctWarning, UsageError
    from fewct.runtime.source_date import check_environment

    if not words[0].startswith("-") and words[0] not in COMMANDS:
        near = get_close_matches(words[0], COMMANDS, 1)
        fix = f"Did you mean {near[0]}?" if near else "`fewct --help` tells what each does."
        tell(
            "error", UsageError("COMMAND", expected=f"one of {', '.join(COMMANDS)}", found=words[0], fix=fix)
        )
        return 2

    gc.set_threshold(5_000, 200, 10)  # what imports make stays: to look for garbage in it costs 0.2 s
    with warnings.catch_warnings():
        warnings.simplefilter("always", FewctWarning)
        warnings.showwarning = lambda message, *_, **__: tell("warning", message)
        try:
            check_environment()
            return parse(words).run()
        except FewctError as error:
            tell("error", error)
            return 2 if isinstance(error, UsageError) else 1
        finally:
            if ends_process:
                gc.freeze()  # the process ends: freeing object by object would cost 0.3 s


def overview(width: int) -> str:
    """Return what fewct is and its commands, for people.

    Args:
        width: Columns of the terminal.
    """
    indent = max(map(len, COMMANDS)) + 4
    commands = [
        textwrap.fill(
            summary,
            width,
            initial_indent=f"  {name}".ljust(indent),
            subsequent_indent=" " * indent,
            break_on_hyphens=False,
        )
        for name, summary in COMMANDS.items()
    ]
    return "\n".join(
        [
            "usage: fewct [-h] COMMAND ...\n",
            f"{DESCRIPTION}\n",
            "commands:",
            *commands,
            "\n`fewct COMMAND --help` shows the options of one.",
        ]
    )


def parse(words: Sequence[str]) -> Command:
    """Return the command that a command line asks for.

    The options of `segment` and `challenge submit` are those of their method, and those of `train` its
    recipe's, so these names are looked up first. Weights that `fewct adapt` wrote bring their settings.

    Raises:
        SystemExit: After --help (code 0) and for words that fit no command (code 2).
        UsageError: If a method of an unknown name is asked for.
        MissingExtraError: If training is asked for and PyTorch is not installed.
    """
    import tyro

    from fewct.cli.options import CONFIG, with_new_names

    kinds: list[Any] = []
    for name in words[:1] if words[0] in COMMANDS else COMMANDS:
        kind: Any = getattr(import_module(f"fewct.cli.{name}"), name.capitalize())
        defaults: Any = tyro.MISSING_NONPROP
        if name in ("segment", "challenge"):
            from fewct.cli.segment import method_options, named_method

            method = named_method(words)
            kind = kind[method]
            settings, words = method_options(method, words)
            if settings is not defaults:
                defaults = kind.starting_from(settings)
        elif name == "train":
            from fewct.cli.train import named_recipe

            recipe = named_recipe(words)
            kind = kind[recipe]
            words = with_new_names(words, f"train {recipe.name}")
        else:
            words = with_new_names(words, name)
        kinds.append(Annotated[kind, tyro.conf.subcommand(name, default=defaults)])
    union: Any = Union[(*kinds, Annotated[None, tyro.conf.Suppress])]  # of two types or more
    command: Command = tyro.cli(union, prog="fewct", args=words, config=CONFIG)
    return command
