"""What `fewct benchmark` itself costs: on the slices of the methods' table, and on all slices of that data.

    python benchmarks/harness.py [--methods watershed felzenszwalb mosaic]

`overhead` is (wall-clock time x workers - methods' seconds) / methods' seconds, from the first file read to
the last row: reading, starting processes, scoring, waiting (see `fewct.benchmark.manifest.timing`). Part of
it is paid once and part for each row, so it is the larger the faster the methods and the fewer the slices.
Rows of other methods stay in the result file.
"""

import csv
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import tyro

from fewct.benchmark.run import run_benchmark
from fewct.cli.benchmark import parse_method
from fewct.data.cases import read_description
from methods_table import DATA_SETS
from results_io import RESULTS, save_results

TABLE = RESULTS / "harness.csv"


@dataclass(frozen=True)
class Options:
    """Measure the benchmark's own cost."""

    methods: tuple[str, ...] = ("watershed", "felzenszwalb", "mosaic")
    """Methods, as `fewct benchmark --methods` takes them; the default is its own default."""


def measure(methods: tuple[str, ...], step: int | None, folder: Path) -> dict[str, object]:
    """Return the timing of one run; `step` is that of all data sets, None for those of the methods' table."""
    sets = []
    for name, content in DATA_SETS.items():
        description = folder / f"{name}.json"
        description.write_text(json.dumps(content if step is None else content | {"step": step}))
        sets.append(read_description(description))
    result = run_benchmark(sets, {text: parse_method(text) for text in methods}, folder / "out")
    timing = dict(result.manifest["timing"])
    return {
        "methods": " ".join(methods),
        "slices": "of the table" if step is None else "all",
        **{key: timing[key] for key in ("workers", "rows_measured", "wall_seconds", "method_seconds")},
        "overhead": timing["overhead"],
        "load_average": round(os.getloadavg()[0], 1),
    }


def others(methods: tuple[str, ...]) -> list[dict[str, str]]:
    """Return the rows of other methods in the result file."""
    if not TABLE.exists():
        return []
    lines = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return [row for row in csv.DictReader(lines) if row["methods"] != " ".join(methods)]


def main() -> None:
    methods = tyro.cli(Options).methods
    rows = others(methods)
    for step in (None, 1):
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measure(methods, step, Path(folder)))
            print(rows[-1], flush=True)
    save_results(TABLE, rows, f"python benchmarks/harness.py --methods {' '.join(methods)}")


if __name__ == "__main__":
    main()
