"""Mutation testing: which small changes of the code that decides results do a module's own tests notice?

    nice python campaigns/mutation.py --seed 1 --count 600 --jobs 2

Draws lines over all modules of `modules.csv`, each as likely as another, and one change of each line; runs
the module's own file of tests, those that `modules.csv` names beside it, and its doctests on each changed
source until one fails; and writes `results/mutation.csv`. Tests that need the CT data beside the repository
do not count. `explained.csv` says of single changes why they change no result (`equivalent`, left out of the
share) or why no test notices them (`left`). After an edit there, `--explain` renews the notes of a result
without a run.

Why not mutmut or cosmic-ray: mutmut changes functions only, so no constants of a module and no defaults of
settings; cosmic-ray starts an interpreter for every change, which costs more than most tests here. This forks
a process that has imported the libraries once.
"""

import argparse
import csv
import gc
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import suppress
from importlib import import_module
from importlib.util import cache_from_source
from io import StringIO
from pathlib import Path
from typing import Any

from forked_tests import FORK, Watch, probed, run_tests
from mutants import Mutant, find_mutants

ROOT = Path(__file__).resolve().parents[1]
LIBRARIES = """highdicom hypothesis jinja2 nibabel numpy onnxruntime pydicom scipy.ndimage scipy.optimize
skimage.filters skimage.measure skimage.morphology skimage.segmentation sklearn.metrics tifffile torch"""
COLUMNS = ("module", "line", "function", "operator", "before", "after", "outcome", "test", "seconds", "note")


def measure(root: Path, module: str, tests: Sequence[str], mutants: Sequence[Mutant]) -> list[dict[str, Any]]:
    """Run a module's tests on each of some mutants.

    Args:
        root: Folder of the repository.
        module: The module, relative to `root`.
        tests: Files of tests, relative to `root`.
        mutants: Mutants of the module.

    Returns:
        One row of the result for each mutant, with the columns `COLUMNS`.

    Raises:
        RuntimeError: If the tests fail on the module as it is.
    """
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        source = Path(folder) / "src"
        shutil.copytree(root / "src", source)
        path = source / Path(module).relative_to("src")
        targets = [*tests, str(path)]
        whole = path.read_text(encoding="utf-8")
        path.write_text(probed(whole), encoding="utf-8")
        traced = run_tests(root, source, targets, Watch(), 1800, keep_bytecode=True)
        path.write_text(whole, encoding="utf-8")
        Path(cache_from_source(path)).unlink(missing_ok=True)
        order = {test: (True, seconds) for test, seconds in traced.seconds.items()} if traced else {}
        plain = run_tests(root, source, targets, Watch(order), 1800)
        if traced is None or plain is None or traced.failed or plain.failed or not order:
            raise RuntimeError(
                f"{module}: its tests fail as it is: {traced and traced.failed} {plain and plain.failed}"
            )
        limit, rows = 5 * sum(plain.seconds.values()) + 30, []
        for mutant in mutants:
            changed = set(range(mutant.first, mutant.last + 1))
            ranks = {test: (not changed & traced.lines[test], plain.seconds[test]) for test in plain.seconds}
            path.write_text(mutant.source, encoding="utf-8")
            start = time.monotonic()
            seen = run_tests(root, source, targets, Watch(ranks), limit)
            seconds = round(time.monotonic() - start, 1)
            test = "" if seen is None else "".join(seen.failed[:1]).replace(f"{path}::", "doctest ")
            outcome = "timeout" if seen is None else "killed" if seen.failed else "survived"
            values = (module, mutant.first, mutant.function, mutant.operator, mutant.before, mutant.after)
            rows.append(dict(zip(COLUMNS, (*values, outcome, test, seconds, ""), strict=True)))
            path.write_text(whole, encoding="utf-8")
        return rows


def own_tests(root: Path, module: str) -> list[str]:
    """Return the file of tests that mirrors a module, as tests/a/test_b.py does src/fewct/a/b.py, if any."""
    path = Path(module)
    test = Path("tests", *path.parts[2:-1], f"test_{path.name}")
    return [str(test)] if (root / test).exists() else []


def draw(root: Path, modules: Sequence[str], count: int, seed: int) -> dict[str, list[Mutant]]:
    """Draw lines of modules in proportion to how many can be changed, and one change of each line."""
    lines: dict[tuple[str, int], list[Mutant]] = defaultdict(list)
    for module in modules:
        for mutant in find_mutants((root / module).read_text(encoding="utf-8")):
            lines[module, mutant.first].append(mutant)
    rng, drawn = random.Random(seed), defaultdict(list)
    for module, line in sorted(rng.sample(sorted(lines), min(count, len(lines)))):
        drawn[module].append(rng.choice(lines[module, line]))
    return drawn


def explain(root: Path, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows of a result with the notes of `explained.csv`; equivalent survivors are marked so."""
    keys = ("module", "function", "before", "after")
    known = {tuple(row[key] for key in keys): row for row in _read(root / "campaigns" / "explained.csv")}
    explained = []
    for row in rows:
        note = known.get(tuple(row[key] for key in keys))
        outcome = "survived" if row["outcome"] == "equivalent" else row["outcome"]
        if outcome == "survived" and note is not None:
            outcome = "equivalent" if note["verdict"] == "equivalent" else outcome
        reason = note["reason"] if note is not None and outcome in ("survived", "equivalent") else ""
        explained.append(dict(row) | {"outcome": outcome, "note": reason})
    return explained


def summary(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return a line for each module and one for all: mutants that tests noticed, of those not equivalent."""
    groups = {"all": list(rows)}
    for row in rows:
        groups.setdefault(row["module"], []).append(row)
    lines = []
    for name, group in sorted(groups.items()):
        outcomes = [row["outcome"] for row in group]
        equivalent, survived = outcomes.count("equivalent"), outcomes.count("survived")
        judged = len(group) - equivalent
        share = f"{100 * (judged - survived) / judged:.1f} %" if judged else "-"
        lines.append(f"{name}: {judged - survived} of {judged} noticed ({share}), {equivalent} equivalent")
    return lines


def save(path: Path, rows: Sequence[dict[str, Any]], head: Sequence[str]) -> None:
    """Write a result under its head and its summary, as lines that start with "#"."""
    text = StringIO()
    text.writelines(f"# {line}\n" for line in (*head, *summary(rows)))
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(sorted(rows, key=lambda row: (row["module"], int(row["line"]))))
    path.parent.mkdir(exist_ok=True)
    path.write_text(text.getvalue(), encoding="utf-8")


def _read(path: Path) -> list[dict[str, Any]]:
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    return list(csv.DictReader(line for line in lines if not line.startswith("#")))


def _head(root: Path, seed: int) -> list[str]:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    machine = import_module("results_io").machine()
    git = ["git", "-C", str(root), "log", "-1", "--format=%h of %cs"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    command = " ".join(["python", "campaigns/mutation.py", *sys.argv[1:]])
    date = time.strftime("%Y-%m-%d", time.gmtime())
    return [
        f"command: {command}",
        f"machine: {machine}",
        f"date: {date}",
        f"seed: {seed}",
        f"commit: {commit}",
    ]


def main() -> None:
    """Run a campaign, or renew the notes of one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=600)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--only", default="", help="part of the modules' paths")
    parser.add_argument("--root", type=Path, default=ROOT)
    parser.add_argument("--out", type=Path, default=ROOT / "campaigns" / "results" / "mutation.csv")
    parser.add_argument("--explain", action="store_true", help="renew the notes of the result")
    options = parser.parse_args()
    if options.explain:
        text = options.out.read_text(encoding="utf-8").splitlines()
        head = [line[2:] for line in text if line.startswith("# ")][:5]
        save(options.out, explain(options.root, _read(options.out)), head)
        return
    rows = _read(options.root / "campaigns" / "modules.csv")
    tests = {row["module"]: own_tests(options.root, row["module"]) + row["also"].split() for row in rows}
    drawn = draw(options.root, sorted(tests), options.count, options.seed)
    drawn = {module: mutants for module, mutants in drawn.items() if options.only in module}
    for library in LIBRARIES.split():
        with suppress(ImportError):
            import_module(library)
    gc.freeze()  # pytest collects garbage at its end
    rows, failed = [], []
    with ProcessPoolExecutor(options.jobs, FORK) as pool:
        parts = [pool.submit(measure, options.root, m, tests[m], mutants) for m, mutants in drawn.items()]
        head = _head(options.root, options.seed)  # imports fewct, after the processes that must not have it
        for part in as_completed(parts):
            if part.exception():
                failed.append(str(part.exception()))
                continue
            rows += part.result()
            print(summary(part.result())[-1], flush=True)
            save(options.out, explain(options.root, rows), head)
    if failed:
        sys.exit("\n".join(failed))


if __name__ == "__main__":
    main()
