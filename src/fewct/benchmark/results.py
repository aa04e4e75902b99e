"""The result of a benchmark, and its tables as files."""

import json
from collections.abc import Mapping
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from fewct.benchmark.rows import Failure, Row, write_rows
from fewct.benchmark.summary import SummaryRow
from fewct.io.atomic import write_text
from fewct.io.tables import write_csv
from fewct.types import CTSlice, Labels


@dataclass(frozen=True, eq=False)
class ReportExample:
    """One slice that the report shows.

    Args:
        data: Name of its data set.
        case: Its name.
        image: The slice.
        truth: Its true structures.
        predictions: The label map of each method; without those that failed.
    """

    data: str
    case: str
    image: CTSlice
    truth: Labels
    predictions: Mapping[str, Labels]


@dataclass(frozen=True)
class BenchmarkResult:
    """The result of a benchmark, as its files have it.

    Args:
        rows: One a slice and method, by data set, then method, then slice.
        summary: One a data set, method and metric.
        failures: Slices that a method could not segment; methods are compared on the others.
        manifest: Data, methods, program, machine and timing.
    """

    rows: tuple[Row, ...]
    summary: tuple[SummaryRow, ...]
    failures: tuple[Failure, ...]
    manifest: Mapping[str, Any]


def write_tables(result: BenchmarkResult, folder: Path) -> None:
    """Write `rows.csv`, `structures.csv`, `summary.csv` and `manifest.json`.

    Raises:
        OutputError: If a file cannot be written.
    """
    write_rows(result.rows, folder)
    columns = [column.name for column in fields(SummaryRow)]
    write_csv(columns, map(astuple, result.summary), folder / "summary.csv")
    write_text(json.dumps(result.manifest, indent=1, allow_nan=False) + "\n", folder / "manifest.json")
