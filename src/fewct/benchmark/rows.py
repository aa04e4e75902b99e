"""Rows of a benchmark: each is kept as soon as it is measured; tables are written at the end."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Self

from fewct.benchmark.worker import Measured, StructureRow
from fewct.errors import FewctError, output_errors
from fewct.io.tables import write_csv
from fewct.metrics.catalog import METRICS, TruthKind


@dataclass(frozen=True)
class Row:
    """What one method scores on one slice.

    Args:
        data: Name of the data set.
        case: Name of the slice in it.
        group: Its patient, or its group of similar slices.
        key: See `fewct.benchmark.prepare.row_key`.
    """

    data: str
    case: str
    group: str
    truth: TruthKind
    method: str
    key: str
    measured: Measured

    @property
    def metrics(self) -> Mapping[str, float]:
        """By name, see `fewct.metrics.catalog.METRICS`; NaN for what is undefined."""
        return self.measured.metrics


@dataclass(frozen=True)
class Failure:
    """A slice that a method could not segment."""

    data: str
    case: str
    method: str
    error: FewctError


class RowLog:
    """The file that keeps each measurement as soon as it is made, by its key: one line of JSON each.

    A line that is cut off, or of another layout, is passed over and measured again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known: dict[str, Measured] = {}
        self.added: list[Measured] = []
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        for line in text.splitlines():
            try:
                entry = json.loads(line)
                structures = tuple(StructureRow(*values) for values in entry["structures"])
                self.known[entry["key"]] = Measured(entry["metrics"], structures)
            except (ValueError, KeyError, TypeError):
                continue
        self._file = path.open("a", encoding="utf-8")
        if text and not text.endswith("\n"):
            self._file.write("\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, key: str, measured: Measured) -> None:
        """Keep what was measured under a key.

        Raises:
            OutputError: If the disk is full.
        """
        structures = [astuple(row) for row in measured.structures]
        entry = {"key": key, "metrics": measured.metrics, "structures": structures}
        fix = "Free some space; the rows so far are kept."
        with output_errors(self.path, expected="room for one more row", fix=fix):
            self._file.write(json.dumps(entry) + "\n")
            self._file.flush()
        self.known[key] = measured
        self.added.append(measured)


def write_rows(rows: Sequence[Row], folder: Path) -> None:
    """Write `rows.csv`, one row a slice and method, and `structures.csv`, one a true structure and method.

    What is undefined (NaN), or what a kind of truth does not have, stays empty.

    Raises:
        OutputError: If a file cannot be written.
    """
    names = ("data", "case", "group", "truth", "method")
    heads = [[getattr(row, name) for name in names] for row in rows]
    write_csv(
        (*names, *METRICS, "key"),
        (
            [*head, *(row.metrics.get(name, math.nan) for name in METRICS), row.key]
            for head, row in zip(heads, rows, strict=True)
        ),
        folder / "rows.csv",
    )
    write_csv(
        (*names, *(column.name for column in fields(StructureRow))),
        (
            [*head, *astuple(structure)]
            for head, row in zip(heads, rows, strict=True)
            for structure in row.measured.structures
        ),
        folder / "structures.csv",
    )
