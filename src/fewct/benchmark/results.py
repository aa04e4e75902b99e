"""What a benchmark found, and its files."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fewct.benchmark.rows import Failure, Row, write_csv, write_rows
from fewct.benchmark.summary import SummaryRow
from fewct.io.atomic import write_text


@dataclass(frozen=True)
class Benchmark:
    """What a benchmark found, as its files have it.

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


def write_tables(result: Benchmark, folder: Path) -> None:
    """Write `rows.csv`, `structures.csv`, `summary.csv` and `manifest.json`.

    Raises:
        OutputError: If a file cannot be written.
    """
    write_rows(result.rows, folder)
    write_csv([asdict(row) for row in result.summary], folder / "summary.csv")
    write_text(json.dumps(result.manifest, indent=1, allow_nan=False) + "\n", folder / "manifest.json")
