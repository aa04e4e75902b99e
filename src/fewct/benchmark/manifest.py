"""The manifest of a benchmark: data, methods, versions, machine, failures, and the time it took."""

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fewct.benchmark.prepare import PreparedCase, cases_sha256
from fewct.benchmark.rows import Failure, RowLog
from fewct.data.cases import DataSet
from fewct.methods import Method
from fewct.metrics.bootstrap import RESAMPLES
from fewct.runtime.threads import thread_count


def manifest(
    data: Sequence[DataSet],
    cases: Sequence[PreparedCase],
    methods: Mapping[str, Method],
    hashes: Mapping[str, str | None],
    program: Mapping[str, str],
    failures: Sequence[Failure],
    seed: int,
) -> dict[str, Any]:
    """Return the manifest, all but the timing; `program` is what `program_versions` returned."""
    return {
        "program": dict(program),
        "machine": {
            "processor": processor(),
            "cores": os.cpu_count(),
            "system": f"{platform.system()} {platform.machine()}",
        },
        "seed": seed,
        "resamples": RESAMPLES,
        "data": [_about_data(one, [case for case in cases if case.data == one.name]) for one in data],
        "methods": {
            name: {
                "method": method.name,
                "configuration": asdict(method),
                "weights_sha256": hashes[name],
            }
            for name, method in methods.items()
        },
        "failures": [
            {"data": one.data, "case": one.case, "method": one.method, "error": str(one.error)}
            for one in failures
        ],
    }


def timing(log: RowLog, n_rows: int, wall_seconds: float) -> dict[str, Any]:
    """Return when this run was, how long its rows took, and how much was not the methods' own time.

    It is what differs in the manifests of two equal runs on one machine.

    `overhead` is (wall-clock time x workers - methods' seconds) / methods' seconds: reading, starting
    processes, scoring and waiting. It is None if every row was there already.

    Args:
        log: Its added rows are those of this run.
        n_rows: Number of all rows.
        wall_seconds: Wall-clock time from the first file read to the last row.
    """
    own = sum(measured.metrics["seconds"] for measured in log.added)
    workers = thread_count()
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "workers": workers,
        "rows_measured": len(log.added),
        "rows_kept_from_before": n_rows - len(log.added),
        "wall_seconds": round(wall_seconds, 3),
        "method_seconds": round(own, 3),
        "overhead": round((wall_seconds * workers - own) / own, 4) if own else None,
    }


def processor() -> str:
    """Return the processor's name."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _about_data(data: DataSet, cases: Sequence[PreparedCase]) -> dict[str, Any]:
    """Return what a data set holds."""
    return {
        "name": data.name,
        "truth": data.truth,
        "slices": len(cases),
        "groups": len({case.group for case in cases}),
        "grouped_by": cases[0].grouped_by,
        "sha256": cases_sha256(cases),
        "sources": [
            {"path": str(source.path), "subset": source.subset, "step": source.step}
            for source in data.sources
        ],
    }
