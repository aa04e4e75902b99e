"""Runs of pytest in forks of a process that has imported the libraries: half a second each."""

import ast
import builtins
import multiprocessing
import os
import resource
import signal
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field
from io import StringIO
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

MEMORY = 12 << 30  # bytes a run of the tests may take
FORK = multiprocessing.get_context("fork")


@dataclass(eq=False)
class Watch:
    """A pytest plugin: runs first the tests that reach some lines, and keeps what it sees.

    Args:
        order: Rank of each test; those without come last.
        seconds: How long each test took.
        lines: Lines of the probed module that each test reached.
        failed: Tests that failed, the first one first.
    """

    order: dict[str, tuple[bool, float]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    lines: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    failed: list[str] = field(default_factory=list)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Sort the tests by their rank."""
        items.sort(key=lambda item: self.order.get(item.nodeid, (True, float("inf"))))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Keep which lines of a probed module a test reaches."""
        lines = self.lines[item.nodeid]
        vars(builtins)["mark_lines"] = lambda first, last: lines.update(range(first, last + 1))
        return (yield)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep how long a test took and whether it failed."""
        self.seconds[report.nodeid] += report.duration
        if report.failed:
            self.failed.append(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Keep that a file of tests could not be read."""
        if report.failed:
            self.failed.append("import")


def probed(source: str) -> str:
    """Return a module's source with a call of `mark_lines`, where a test has set it, before each statement.

    Statements outside functions, which run once at import, have none.
    """
    tree = ast.parse(source)
    for node in list(ast.walk(tree)):
        for name in ("body", "orelse", "finalbody"):
            block = getattr(node, name, None)
            if isinstance(block, list) and not isinstance(node, ast.Module | ast.ClassDef):
                kept = int(isinstance(node, ast.FunctionDef) and ast.get_docstring(node) is not None)
                marked = [part for statement in block[kept:] for part in (_probe(statement), statement)]
                setattr(node, name, block[:kept] + marked)
    hook = "mark_lines = lambda *lines: getattr(__import__('builtins'), 'mark_lines', max)(*lines)"
    tree.body.insert(int(ast.get_docstring(tree) is not None), ast.parse(hook).body[0])
    return ast.unparse(tree)


def _probe(statement: ast.stmt) -> ast.stmt:
    inner = getattr(statement, "body", None)
    last = inner[0].lineno - 1 if inner else statement.end_lineno
    return ast.parse(f"mark_lines({statement.lineno}, {last})").body[0]


def run_tests(
    root: Path,
    source: Path,
    targets: Sequence[str],
    watch: Watch,
    timeout: float,
    keep_bytecode: bool = False,
) -> Watch | None:
    """Run tests in a fork of this process against the package in the folder `source`.

    Args:
        root: Folder of the repository.
        source: Folder of the package to test.
        targets: What pytest is to collect, relative to `root`.
        watch: Says in which order tests run.
        timeout: Seconds after which the run is ended.
        keep_bytecode: Whether to leave compiled modules for later runs.

    Returns:
        What the plugin saw; None if the time ran out or the process died.
    """
    receiver, sender = FORK.Pipe(duplex=False)
    process = FORK.Process(target=_child, args=(root, source, targets, watch, sender, keep_bytecode))
    process.start()
    sender.close()
    seen = None
    with suppress(EOFError):
        seen = receiver.recv() if receiver.poll(timeout) else None
    with suppress(ProcessLookupError):  # what the tests started goes with them
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.join()
    return seen


def _child(
    root: Path, source: Path, targets: Sequence[str], watch: Watch, sender: Connection, keep_bytecode: bool
) -> None:
    os.setsid()
    os.chdir(root)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    os.environ |= {"PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"}
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    sys.dont_write_bytecode = not keep_bytecode
    sys.path.insert(0, str(source))
    silence = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(silence, stream)
    options = ["-x", "-q", "-m", "not shared", "-p", "no:cacheprovider"]
    folders = ["-c", str(root / "pyproject.toml"), "--basetemp", str(source.parent / "tmp")]
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        code = pytest.main([*options, *folders, *targets], plugins=[watch])
    if code and not watch.failed:
        watch.failed.append(f"pytest ended with {code!r}")
    sender.send(Watch({}, dict(watch.seconds), dict(watch.lines), watch.failed))
    os._exit(0)
