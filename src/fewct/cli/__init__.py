"""The command line: `fewct COMMAND`. One file a command; each a dataclass with `.run()`."""

import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

import tyro
from rich.console import Console
from rich.markup import escape

from fewct.cli.adapt import Adapt
from fewct.cli.benchmark import Benchmark
from fewct.cli.challenge import Challenge
from fewct.cli.demo import Demo
from fewct.cli.evaluate import Evaluate
from fewct.cli.info import Info
from fewct.cli.join import Join
from fewct.cli.methods import Methods
from fewct.cli.models import Models
from fewct.cli.prepare import Prepare
from fewct.cli.segment import Segment, named_method, with_adapted_settings
from fewct.cli.train import Train, named_recipe
from fewct.errors import FewctError, FewctWarning, UsageError

DESCRIPTION = """Delineate every anatomical structure on a CT slice or scan, without naming organs.

Research use only: fewct is not a medical device."""


class Command(Protocol):
    """A parsed command line."""

    def run(self) -> int:
        """Do the work and return the exit code."""


COMMANDS: dict[str, Callable[..., Command]] = {
    "segment": Segment,
    "evaluate": Evaluate,
    "benchmark": Benchmark,
    "join": Join,
    "info": Info,
    "methods": Methods,
    "prepare": Prepare,
    "train": Train,
    "adapt": Adapt,
    "models": Models,
    "demo": Demo,
    "challenge": Challenge,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: Words of the command line without the program's name; None for those of this process.

    Returns:
        Exit code: 0 all well, 1 some inputs failed (each is named, the others are done), 2 wrong usage.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    console = Console(stderr=True, soft_wrap=True)
    with warnings.catch_warnings():
        warnings.simplefilter("always", FewctWarning)
        warnings.showwarning = _printer_of_warnings(console)
        try:
            return parse(words).run()
        except FewctError as error:
            console.print(f"[bold red]error:[/] {escape(str(error))}", highlight=False)
            return 2 if isinstance(error, UsageError) else 1


def parse(words: Sequence[str]) -> Command:
    """Return the command that a command line asks for.

    The options of `segment` and `challenge submit` are those of their method, and those of `train` its
    recipe's, so these names are looked up first. Weights that `fewct adapt` wrote bring their settings.

    Raises:
        SystemExit: After --help (code 0) and for words that fit no command (code 2).
        UsageError: If a method of an unknown name is asked for.
        MissingExtraError: If training is asked for and PyTorch is not installed.
    """
    method = named_method(words)
    with_method = {"segment": cast(Any, Segment)[method], "challenge": cast(Any, Challenge)[method]}
    commands = COMMANDS | with_method | {"train": cast(Any, Train)[named_recipe(words)]}
    command: Command = tyro.extras.subcommand_cli_from_dict(
        commands,
        prog="fewct",
        description=DESCRIPTION,
        args=with_adapted_settings(words),
        config=(tyro.conf.OmitArgPrefixes,),
    )
    return command


def _printer_of_warnings(console: Console) -> Callable[..., None]:
    """Return a stand-in for `warnings.showwarning` that prints the message alone."""

    def show(message: Warning | str, *_: object) -> None:
        console.print(f"[yellow]warning:[/] {escape(str(message))}", highlight=False)

    return show
