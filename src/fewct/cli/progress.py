"""Progress bars on the terminal."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


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
