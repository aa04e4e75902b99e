"""The methods on real slices: abdominal CT of 5 patients, its weak-contrast slices, and one DICOM series.

    python benchmarks/methods_table.py [--methods watershed felzenszwalb mosaic] [--out FOLDER]

It runs `fewct benchmark` and keeps its summary. Truth of the first two sets is partial: it holds organs only.
Watershed's index on all pixels is the metric of the challenge's organisers, who report 0.137 on their slices.
"""

import csv
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import tyro

from results_io import machine, save_results

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
RESULTS = Path(__file__).parent / "results"
DATA_SETS = {
    "btcv_val": {"truth": "partial", "step": 6, "sources": [{"path": f"{DATA}/btcv/val"}]},
    "btcv_val_dense": {"truth": "partial", "sources": [{"path": f"{DATA}/btcv/val:dense"}]},
    "abdomen_series": {"truth": "complete", "sources": [{"path": f"{DATA}/abdomen_series"}]},
}
NAMES = ("data", "method", "metric")
SHOWN = ("ari", "ari_foreground", "mean_best_iou", "foreground_dice", "pq", "seconds", "peak_memory_mb")


@dataclass(frozen=True)
class Options:
    """Compare methods on the real slices beside the repository."""

    methods: tuple[str, ...] = ("watershed", "felzenszwalb", "mosaic")
    """Methods at their default settings; the others are compared with the first."""
    out: Path | None = None
    """Folder for the report; None: a temporary one, so that every row is measured anew."""


def run(methods: tuple[str, ...], folder: Path) -> None:
    """Run the benchmark into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptions = []
    for name, content in DATA_SETS.items():
        descriptions.append(folder / f"{name}.json")
        descriptions[-1].write_text(json.dumps(content), encoding="utf-8")
    command = ["-m", "fewct", "benchmark", "--data", *descriptions, "--methods", *methods, "--out", folder]
    subprocess.run([sys.executable, *map(str, command)], check=True, stdout=subprocess.DEVNULL)


def main() -> None:
    options = tyro.cli(Options)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.out or Path(temporary)
        run(options.methods, folder)
        with (folder / "summary.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        timing = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["timing"]
    for row in rows:
        row |= {key: f"{float(text):.4f}" for key, text in row.items() if key not in NAMES and "." in text}
    timing["load_average"] = round(os.getloadavg()[0], 1)
    print(machine())
    for data, content in DATA_SETS.items():
        print(f"{data} ({content['truth']} truth)\n{'':40}" + "".join(f"{name:>16}" for name in SHOWN))
        for method in options.methods:
            means = {
                row["metric"]: row["mean"] for row in rows if (row["data"], row["method"]) == (data, method)
            }
            print(f"{method:40}" + "".join(f"{means.get(name, ''):>16}" for name in SHOWN))
    print("harness:", json.dumps(timing))
    command = f"python benchmarks/methods_table.py --methods {' '.join(options.methods)}"
    save_results(RESULTS / "methods_table.csv", rows, command)
    save_results(RESULTS / "methods_table_harness.csv", [timing], command)


if __name__ == "__main__":
    main()
