"""The timing in a benchmark's manifest, of hand-made rows."""

from pathlib import Path

import pytest

from fewct.benchmark.manifest import timing
from fewct.benchmark.rows import RowLog
from fewct.benchmark.worker import Measured


@pytest.fixture(autouse=True)
def two_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEWCT_NUM_THREADS", "2")


def test_overhead_is_the_workers_time_that_methods_did_not_use(tmp_path: Path) -> None:
    """Two workers of 3 s have 6 s, of which the methods used 4: half as much again was spent on the rest."""
    with RowLog(tmp_path / "rows.jsonl") as log:
        log.add("a", Measured({"seconds": 1.5}, ()))
        log.add("b", Measured({"seconds": 2.5}, ()))
    found = timing(log, n_rows=5, wall_seconds=3.0)
    found.pop("date")
    assert found == {
        "workers": 2,
        "rows_measured": 2,
        "rows_kept_from_before": 3,
        "wall_seconds": 3.0,
        "method_seconds": 4.0,
        "overhead": 0.5,
    }


def test_without_new_rows_there_is_no_overhead(tmp_path: Path) -> None:
    with RowLog(tmp_path / "rows.jsonl") as log:
        log.add("a", Measured({"seconds": 1.5}, ()))
    with RowLog(tmp_path / "rows.jsonl") as log:
        found = timing(log, n_rows=1, wall_seconds=0.25)
    assert (found["rows_measured"], found["rows_kept_from_before"], found["overhead"]) == (0, 1, None)
