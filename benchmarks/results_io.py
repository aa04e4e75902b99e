"""How benchmark scripts keep their results: CSV with command, machine and date on top."""

import csv
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from io import StringIO
from pathlib import Path

from fewct.benchmark.manifest import processor

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("numpy", "scipy", "scikit-image", "onnxruntime")


def machine() -> str:
    """Return this machine in words: processor, cores, Python and the packages that do the work."""
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return f"{processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, {packages}"


def save_results(path: Path | str, rows: Sequence[Mapping[str, object]], command: str) -> None:
    """Write the rows as CSV under three comment lines: command, machine and date.

    Read it back with `pandas.read_csv(path, comment="#")` or by skipping the lines that start with "#".

    Args:
        path: File to write; an older one is replaced.
        rows: One mapping a row, all with the same keys in the same order.
        command: The command line that makes the file again.
    """
    text = StringIO()
    text.write(f"# command: {command}\n# machine: {machine()}\n# date: {datetime.now(UTC):%Y-%m-%d}\n")
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    Path(path).write_text(text.getvalue(), encoding="utf-8")
