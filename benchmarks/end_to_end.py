"""Time and peak memory of the command line on real CT: python benchmarks/end_to_end.py.

Each number is the median of several runs, each in a process of its own.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from results_io import save_results

ROOT = Path(__file__).resolve().parents[1]
RUNS = 5


def timed(words: list[str]) -> tuple[float, float]:
    """Run a command; return its wall-clock seconds and its peak resident memory in MB."""
    start = time.perf_counter()
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status != 0:
        raise SystemExit(f"failed: {' '.join(words)}")
    return seconds, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    data = parser.parse_args().data
    series = data / "abdomen_series" / "dicom"
    first = min(series.iterdir())
    fewct = [sys.executable, "-m", "fewct"]
    with tempfile.TemporaryDirectory() as folder:
        commands = {
            "fewct --help": ([*fewct, "--help"], 0.7),
            "one 512 x 512 DICOM slice to NIfTI, picture and table": (
                [*fewct, "segment", str(first), "-o", folder, "--format", "nifti"],
                None,
            ),
            "20-slice DICOM series to NIfTI, picture and table": (
                [*fewct, "segment", str(series), "-o", folder, "--format", "nifti"],
                15.0,
            ),
            "20-slice DICOM series to DICOM-SEG, picture and table": (
                [*fewct, "segment", str(series), "-o", folder],
                None,
            ),
        }
        rows = []
        for what, (words, goal_seconds) in commands.items():
            runs = [timed(words) for _ in range(RUNS)]
            rows.append(
                {
                    "what": what,
                    "median_seconds": round(statistics.median(seconds for seconds, _ in runs), 3),
                    "goal_seconds": goal_seconds if goal_seconds is not None else "",
                    "peak_memory_mb": round(max(memory for _, memory in runs)),
                    "goal_memory_mb": 700,
                    "runs": RUNS,
                }
            )
            print(rows[-1])
    results = ROOT / "benchmarks" / "results" / "end_to_end.csv"
    save_results(results, rows, "python benchmarks/end_to_end.py")


if __name__ == "__main__":
    main()
