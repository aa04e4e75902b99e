"""Progress bars, and messages on stderr."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

COLOURS = {"error": "bold red", "failed": "bold red", "warning": "yellow"}


@contextmanager
def progress_of_slices(console: Console) -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar for each scan while it advances; nothing when `console` is no terminal.

    Yields:
        A function to call with (name, finished slices, all slices).
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("slices"))
    bars = Progress(
        *columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal
    )
    tasks: dict[str, TaskID] = {}

    def advance(name: str, done: int, total: int) -> None:
        if name not in tasks:
            tasks[name] = bars.add_task(escape(name), total=total)
        bars.update(tasks[name], completed=done)

    with bars:
        yield advance


@contextmanager
def progress_of_training(console: Console) -> Iterator[Callable[[str, float], None]]:
    """Show a bar of a training from the first step on; nothing when `console` is no terminal.

    Yields:
        A function to call with (text, share of the training that is done).
    """
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("left"))
    bars = Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal)

    def advance(text: str, done: float) -> None:
        for task in bars.task_ids or [bars.add_task(text, total=1.0)]:
            bars.update(task, completed=done, description=escape(text))

    with bars:
        yield advance


@contextmanager
def progress_of_bytes(console: Console, name: str) -> Iterator[Callable[[int, int | None], None]]:
    """Show a bar while a file comes; nothing when `console` is no terminal.

    Yields:
        A function to call with (bytes so far, all bytes if known).
    """
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    bars = Progress(
        *columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal
    )
    with bars:
        task = bars.add_task(escape(name), total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


def tell(kind: str, message: object, console: Console | None = None) -> None:
    """Print an error, failure or warning, on the console of the progress bar where there is one."""
    console = console or Console(stderr=True, soft_wrap=True)
    console.print(f"[{COLOURS[kind]}]{kind}:[/] {escape(str(message))}", highlight=False)


def tell_all(errors: Collection[object]) -> int:
    """Print what failed; return 1 if anything did, else 0."""
    for error in errors:
        tell("failed", error)
    return int(bool(errors))
