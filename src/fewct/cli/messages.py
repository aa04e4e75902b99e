"""What is told on stderr."""

from collections.abc import Collection

from rich.console import Console
from rich.markup import escape

COLOURS = {"error": "bold red", "failed": "bold red", "warning": "yellow"}


def tell(kind: str, message: object, console: Console | None = None) -> None:
    """Print an error, failure or warning, on the console of the progress bar where there is one."""
    console = console or Console(stderr=True, soft_wrap=True)
    console.print(f"[{COLOURS[kind]}]{kind}:[/] {escape(str(message))}", highlight=False)


def tell_all(errors: Collection[object]) -> int:
    """Print what failed; return 1 if anything did, else 0."""
    for error in errors:
        tell("failed", error)
    return int(bool(errors))
