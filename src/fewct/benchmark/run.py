"""The benchmark: every method on every slice, in parallel, resumed after an interruption."""

import multiprocessing
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from multiprocessing import forkserver
from multiprocessing.context import BaseContext
from pathlib import Path

from fewct.benchmark.manifest import manifest, timing
from fewct.benchmark.prepare import PreparedCase, prepare, program_versions, row_key
from fewct.benchmark.results import BenchmarkResult, ReportExample, write_tables
from fewct.benchmark.rows import Failure, Row, RowLog
from fewct.benchmark.summary import summarise
from fewct.benchmark.worker import load_case, load_labels, measure, start_worker
from fewct.data.cases import DataSet
from fewct.errors import FewctError, InputError, UsageError, needs_extra
from fewct.methods import Method
from fewct.outputs import make_folder, numbered
from fewct.runtime.threads import thread_count
from fewct.segmentation import RESUME_FOLDER

PRELOADED = [
    measure.__module__,
    "fewct.cli",
    "fewct.imaging.merge_tree",
    "skimage.filters.rank",
    "onnxruntime",
    "scipy.optimize",
    "scipy.spatial",
]
"""Modules that are loaded once, before workers are forked: their own, the command line's, the methods' and
the metrics' libraries, so that no worker spends time on them and all methods' memory has the same base."""

Progress = Callable[[str, int, int], None]
Keys = Mapping[tuple[str, PreparedCase], str]


def run_benchmark(
    data: Sequence[DataSet],
    methods: Mapping[str, Method],
    folder: Path | str,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> BenchmarkResult:
    """Run every method on every slice and write tables, figures, a report and a manifest.

    `runtime.threads.thread_count` processes work on slices, each with one thread and one method. Rows are
    kept at once: after an interruption, the same call goes on from there. A row is used again only if image,
    truth, method, configuration and program are the same.

    Scripts must call it under `if __name__ == "__main__":`, as everything that starts processes.

    Args:
        data: The data sets.
        methods: Configured methods by the name that tables show; the others are compared with the first.
        folder: Where to write; made if absent. It gets `rows.csv`, `structures.csv`, `summary.csv`,
            `manifest.json`, `report.html` and `figures/`.
        seed: Of the resampling behind the intervals.
        progress: Called with (method, finished slices, all slices).

    Returns:
        The content of these files.

    Raises:
        MissingExtraError: If the extra `report` is not installed; nothing is done then.
        InputError: If data cannot be read, weights are absent or damaged, a worker dies, or no method ends
            with any slice.
        OutputError: If a file cannot be written.
        UsageError: If there is no data or no method.
    """
    for what, given in (("data", data), ("methods", methods)):
        if not given:
            raise UsageError(what, expected="at least one", found="none", fix=f"Name some {what}.")
    with needs_extra("report.html", "report"):
        from fewct.benchmark.report import write_report
    start = time.perf_counter()
    _context()
    folder = Path(folder)
    kept = folder / RESUME_FOLDER
    shutil.rmtree(kept / "cases", ignore_errors=True)
    make_folder(kept / "cases")
    make_folder(kept / "labels")
    taken: set[str] = set()
    named = [replace(one, name=numbered(one.name, taken)) for one in data]
    with ThreadPoolExecutor(thread_count()) as threads:
        prepared = threads.map(lambda one: prepare(one, kept / "cases"), named)
        program = program_versions()  # while data is read
        hashes = {name: method.load().weights_sha256 for name, method in methods.items()}
        cases = [case for of_one in prepared for case in of_one]
    keys = {
        (name, case): row_key(case, method, hashes[name], program)
        for name, method in methods.items()
        for case in cases
    }
    with RowLog(kept / "rows.jsonl") as log:
        failures: list[Failure] = []
        for name, method in methods.items():
            tasks = _missing(name, cases, keys, log, kept / "labels")
            advance = _advance(name, len(cases), len(tasks), progress)
            failures += _measure(name, method, tasks, log, kept / "labels", advance)
        rows = _rows(named, methods, cases, keys, log)
        about_time = timing(log, len(rows), time.perf_counter() - start)
    if not rows:
        raise failures[0].error
    about = manifest(named, cases, methods, hashes, program, failures, seed) | {"timing": about_time}
    result = BenchmarkResult(tuple(rows), tuple(summarise(rows, seed)), tuple(failures), about)
    write_tables(result, folder)
    write_report(result, _examples(methods, cases, keys, kept / "labels"), folder)
    shutil.rmtree(kept / "cases")
    return result


def _context() -> BaseContext:
    """Return how workers are started: forked from a server without threads, which starts now."""
    if sys.platform == "win32":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    forkserver.ensure_running()
    return context


def _advance(name: str, total: int, missing: int, progress: Progress | None) -> Callable[[int], None]:
    """Return a function that reports how many of the missing slices are done."""

    def advance(done: int) -> None:
        if progress is not None:
            progress(name, total - missing + done, total)

    return advance


def _missing(
    name: str, cases: Sequence[PreparedCase], keys: Keys, log: RowLog, labels: Path
) -> dict[str, PreparedCase]:
    """Return, by key, the slices on which a method is still to be measured, small first, no two equal."""
    tasks: dict[str, PreparedCase] = {}
    for case in sorted(cases, key=lambda case: case.file.stat().st_size):
        key = keys[name, case]
        if key not in log.known or (case.is_example and not (labels / f"{key}.npz").exists()):
            tasks[key] = tasks[key] if key in tasks and tasks[key].is_example else case
    return tasks


def _measure(
    name: str,
    method: Method,
    tasks: Mapping[str, PreparedCase],
    log: RowLog,
    labels: Path,
    advance: Callable[[int], None],
) -> list[Failure]:
    """Measure a method on slices, keep each row as soon as it is there, and return what failed."""
    if not tasks:
        return []
    errors: dict[str, FewctError] = {}
    workers = min(thread_count(), len(tasks))
    pool = ProcessPoolExecutor(workers, _context(), initializer=start_worker, initargs=(method,))
    try:
        futures = {}
        for key, case in tasks.items():
            labels_to = labels / f"{key}.npz" if case.is_example else None
            partial = case.truth == "partial"
            futures[pool.submit(measure, case.file, partial=partial, labels_to=labels_to)] = key
        for done, future in enumerate(as_completed(futures), start=1):
            try:
                measured = future.result()
            except FewctError as error:
                errors[futures[future]] = error
            else:
                log.add(futures[future], measured)
            advance(done)
    except BrokenProcessPool as error:
        raise InputError(
            name,
            expected="worker processes that live to the end",
            found="one that was killed, perhaps for lack of memory",
            fix="Run it again with FEWCT_NUM_THREADS=1: rows so far are kept, and one slice runs at a time.",
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)
    return [Failure(case.data, case.name, name, errors[key]) for key, case in tasks.items() if key in errors]


def _rows(
    data: Sequence[DataSet],
    methods: Mapping[str, Method],
    cases: Sequence[PreparedCase],
    keys: Keys,
    log: RowLog,
) -> list[Row]:
    """Return the rows of this benchmark by data set, then method, then slice."""
    rows = []
    for one in data:
        for name in methods:
            for case in cases:
                measured = log.known.get(keys[name, case])
                if case.data == one.name and measured is not None:
                    row = Row(case.data, case.name, case.group, case.truth, name, keys[name, case], measured)
                    rows.append(row)
    return rows


def _examples(
    methods: Mapping[str, Method], cases: Sequence[PreparedCase], keys: Keys, labels: Path
) -> list[ReportExample]:
    """Return the slices that the report shows, with the label maps of the methods that did not fail."""
    examples = []
    for case in cases:
        if case.is_example:
            files = {name: labels / f"{keys[name, case]}.npz" for name in methods}
            predictions = {name: load_labels(file) for name, file in files.items() if file.exists()}
            examples.append(ReportExample(case.data, case.name, *load_case(case.file), predictions))
    return examples
