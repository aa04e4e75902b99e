"""Time and memory of reading a full-size label table (500 images of 512 x 512): fewct against pandas.

pandas is no dependency of fewct, so name a Python that has it:

    python -m venv /tmp/pandas && /tmp/pandas/bin/pip install pandas
    python benchmarks/challenge_csv.py --pandas-python /tmp/pandas/bin/python

Each reading is a process of its own; the readers take turns. The seconds are those of the reading call alone:
the median and the best of all rounds, and the median processor time over all threads, which says more where
the machine is shared. The memory is the highest resident memory of the whole process.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from results_io import save_results

RESULTS = Path(__file__).parent / "results" / "challenge_csv.csv"
N_IMAGES, SIDE = 500, 512

MEASURE = """
import json, re, sys, time
from pathlib import Path
{imports}
path = Path(sys.argv[1])
start, cpu_start = time.perf_counter(), time.process_time()
table = {call}
seconds, cpu = time.perf_counter() - start, time.process_time() - cpu_start
peak_kb = int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text()).group(1))
print(json.dumps({{"seconds": seconds, "cpu": cpu, "peak_mb": peak_kb / 1000, "version": {version}}}))
"""
READERS = {
    "fewct": MEASURE.format(
        imports="import fewct\nfrom fewct.io.label_table.table import read_table",
        call="read_table(path)",
        version="fewct.__version__",
    ),
    "pandas, default": MEASURE.format(
        imports="import pandas", call="pandas.read_csv(path)", version="pandas.__version__"
    ),
    "pandas, index_col=0": MEASURE.format(
        imports="import pandas", call="pandas.read_csv(path, index_col=0)", version="pandas.__version__"
    ),
}


def make_labels(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return label maps of 18 discs each, which cover about 19 % of the pixels, as the challenge's do."""
    labels = np.zeros((N_IMAGES, SIDE, SIDE), np.uint8)
    row, column = np.ogrid[:SIDE, :SIDE]
    for image in labels:
        for label in range(1, 19):
            (r, c), radius = rng.uniform(0, SIDE, 2), rng.uniform(8, 52)
            image[(row - r) ** 2 + (column - c) ** 2 < radius**2] = label
    return labels


def measure(reader: str, python: str, path: Path) -> dict[str, float | str]:
    run = subprocess.run(
        [python, "-c", READERS[reader], str(path)], capture_output=True, text=True, check=True
    )
    return json.loads(run.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pandas-python", required=True, help="Python of an environment that has pandas")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    from fewct.io.label_table.table import write_table

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "labels.csv"
        labels = make_labels(np.random.default_rng(0))
        write_table(path, labels)
        size_mb = path.stat().st_size / 1e6
        print(f"{size_mb:.0f} MB, {np.count_nonzero(labels) / labels.size:.1%} of the pixels labelled")
        del labels
        runs = {reader: [] for reader in READERS}
        for _ in range(options.rounds):
            for reader, measured in runs.items():
                python = sys.executable if reader == "fewct" else options.pandas_python
                measured.append(measure(reader, python, path))
    rows = []
    for reader, measured in runs.items():
        seconds = [run["seconds"] for run in measured]
        rows.append(
            {
                "reader": reader,
                "version": measured[0]["version"],
                "file_mb": round(size_mb),
                "median_s": round(statistics.median(seconds), 2),
                "best_s": round(min(seconds), 2),
                "median_cpu_s": round(statistics.median(run["cpu"] for run in measured), 2),
                "peak_mb": round(max(run["peak_mb"] for run in measured)),
            }
        )
    for row in rows[1:]:
        median, best, cpu = (row[key] / rows[0][key] for key in ("median_s", "best_s", "median_cpu_s"))
        print(
            f"fewct against {row['reader']}: {median:.1f} times as fast (median), {best:.1f} (best), "
            f"{cpu:.1f} times less processor time"
        )
    save_results(RESULTS, rows, "python benchmarks/challenge_csv.py --pandas-python PYTHON")
    print(RESULTS.read_text())


if __name__ == "__main__":
    main()
