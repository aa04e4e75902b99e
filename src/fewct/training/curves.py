"""The curves of a training: losses by step, as a table and for TensorBoard."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, TypeAlias

from fewct.errors import InputError, needs_extra, output_errors
from fewct.io.atomic import write_text

CURVES = "curves.csv"
EVENTS = "tensorboard"
TENSORBOARD_FIX = "Free some space, or train with --no-tensorboard."
"""Folder of TensorBoard's files, in that of the training."""
VALIDATION = "val_"
"""Prefix of the names of validation losses."""

Row: TypeAlias = Mapping[str, float]


@contextmanager
def open_curves(folder: Path, step: int, *, tensorboard: bool) -> Iterator[Callable[[Row], None]]:
    """Go on with the curves of a training.

    Args:
        folder: The training's folder.
        step: Steps taken so far. Points after it, of a run that was killed, are dropped.
        tensorboard: Whether to write the curves for TensorBoard, too.

    Yields:
        A function that adds a point to each curve: it takes "step", "minutes" and the losses by name.

    Raises:
        InputError: If the table in the folder has other columns.
        MissingExtraError: If TensorBoard is wanted and not installed.
        OutputError: If a file cannot be written.
    """
    path = folder / CURVES
    if not tensorboard:
        yield lambda row: write_row(row, path)
        return
    writer = _writer(folder / EVENTS, step)

    def write(row: Row) -> None:
        write_row(row, path)
        _add_points(writer, row, folder / EVENTS)

    yield write  # after an error nothing is waiting to be written: each row was flushed
    writer.close()


def write_row(row: Row, path: Path) -> None:
    """Add a line to the table of curves, in place of those that a run wrote just before it was killed.

    Raises:
        InputError: If the table has other columns.
        OutputError: If the file cannot be written.
    """
    header = ",".join(row)
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else [header]
    if lines[:1] != [header]:
        raise InputError(
            path,
            expected=f"the columns {header}",
            found=lines[0] if lines else "an empty file",
            fix="It belongs to a training with other losses: train into another folder.",
        )
    earlier = [line for line in lines[1:] if float(line.partition(",")[0]) < row["step"]]
    write_text("\n".join([header, *earlier, ",".join(map(str, row.values()))]) + "\n", path)


def _writer(folder: Path, step: int) -> Any:
    """Return what writes TensorBoard's files."""
    with needs_extra("--tensorboard", "tensorboard"):
        module = import_module("torch.utils.tensorboard")
    with output_errors(folder, fix=TENSORBOARD_FIX):
        return module.SummaryWriter(folder, purge_step=step + 1)


def _add_points(writer: Any, row: Row, folder: Path) -> None:
    """Add a point to each of TensorBoard's curves; training and validation of one loss stand together."""
    with output_errors(folder, fix=TENSORBOARD_FIX):
        for name, value in row.items():
            if name not in ("step", "minutes"):
                side = "val" if name.startswith(VALIDATION) else "train"
                writer.add_scalar(f"{name.removeprefix(VALIDATION)}/{side}", value, int(row["step"]))
        writer.flush()
