"""Mutation testing (campaigns/): the changes it makes of a source, and its verdicts on a small package."""

import builtins
import csv
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CAMPAIGNS = Path(__file__).resolve().parents[1] / "campaigns"
find_mutants = runpy.run_path(str(CAMPAIGNS / "mutants.py"))["find_mutants"]
probed = runpy.run_path(str(CAMPAIGNS / "forked_tests.py"))["probed"]


def changed(source: str) -> set[str]:
    return {mutant.after for mutant in find_mutants(source)}


@pytest.mark.parametrize(
    ("source", "changes"),
    [
        ("x = a < b", {"x = a <= b", "x = a > b"}),
        ("x = a is not b", {"x = a is b"}),
        ("x = (a) + (b)", {"x = (a) - (b)"}),
        ("x += y", {"x -= y", "pass"}),
        ("x = not y", {"x = (y)"}),
        ("x = a and b", {"x = ((a) or (b))", "x = ((a))", "x = ((b))"}),
        ("x = a if b else c", {"x = a if not (b) else c", "x = (a)", "x = (c)"}),
        ("x = [a for a in b if c]", {"x = [a for a in b if True]"}),
        ("LIMIT = 0.5", {"LIMIT = 1.0", "LIMIT = 0.25"}),
        ("x = y[0]", {"x = y[1]", "x = y[(-1)]"}),
        ("x = f(a, k=b)", {"x = f(a, )"}),
        ("x = np.min(a)", {"x = np.max(a)"}),
        ("import np\nx = np.clip(a, b, c)", {"x = (a)"}),
        ("x = a.clip(b, c)", {"x = (a)"}),
        ("def f():\n    return a", {"return None"}),
        ("def f():\n    return a in b", {"return a not in b", "return not (a in b)"}),
        ("def f(n=3): ...", {"def f(n=4): ...", "def f(n=2): ..."}),
        ("sort(a)", {"pass", "(a)"}),
        ("x = x | y", {"x = x & y", "pass"}),
        ("for x in y: break", {"for x in y: continue"}),
    ],
)
def test_operators(source: str, changes: set[str]) -> None:
    assert changed(source) == changes


@pytest.mark.parametrize(
    "source",
    [
        '"""Adds 1 + 1."""',
        "def f(x: Literal[3]) -> Literal[4]: ...",
        "@dataclass(frozen=True)\nclass A: ...",
        "def __repr__(self):\n    return str(self.x + 1)",
        'x = f"{y + 1}"',
        "x = InputError(y + 1)",
        "if TYPE_CHECKING:\n    x = 3",
        "Image = Annotated[Array, 3]",
        "x = zip(a, b, strict=True)",
    ],
)
def test_what_decides_no_result_is_left_alone(source: str) -> None:
    assert changed(source) == set()


def test_a_raise_is_only_deleted() -> None:
    assert changed("raise ValueError(f(1 + 1))") == {"pass"}


def test_lines_keep_their_numbers_and_names_their_functions() -> None:
    source = 'class A:\n    def f(self):\n        å = "ä", 1 < (\n            2)\n        return å\n'
    mutants = find_mutants(source)
    assert {mutant.source.count("\n") for mutant in mutants} == {5}
    assert {mutant.function for mutant in mutants} == {"A.f"}
    assert {(mutant.first, mutant.after) for mutant in mutants} == {
        (3, 'å = "ä", 1 <= ('),
        (3, 'å = "ä", 1 > ('),
        (3, 'å = "ä", 2 < ('),
        (3, 'å = "ä", 0 < ('),
        (4, "3)"),
        (4, "1)"),
        (5, "return None"),
    }


def test_probes_tell_which_lines_run(monkeypatch: pytest.MonkeyPatch) -> None:
    source = 'def f(x):\n    """Doc."""\n    if x:\n        return [\n            1]\n    return 2\n'
    names: dict[str, Any] = {}
    exec(probed(source), names)
    assert (names["f"](1), names["f"].__doc__) == ([1], "Doc.")
    lines: set[int] = set()
    monkeypatch.setattr(builtins, "mark_lines", lambda a, b: lines.update(range(a, b + 1)), raising=False)
    assert names["f"](1) == [1]
    assert lines == {3, 4, 5}
    assert names["f"](0) == 2
    assert lines == {3, 4, 5, 6}


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def run(root: Path, *options: str) -> list[list[str]]:
    """Run a campaign on a package; return lines, outcomes, tests and notes of its result, and its summary."""
    out = root / "result.csv"
    script = [sys.executable, str(CAMPAIGNS / "mutation.py"), "--root", str(root), "--out", str(out)]
    subprocess.run([*script, *options], check=True, capture_output=True, text=True)
    lines = out.read_text(encoding="utf-8").splitlines()
    rows = csv.DictReader(line for line in lines if not line.startswith("#"))
    told = [[row["line"], row["outcome"], row["test"], row["note"]] for row in rows]
    return [*told, [line for line in lines if line.startswith("# all")]]


def test_verdicts_of_a_campaign(tmp_path: Path) -> None:
    write(tmp_path / "pyproject.toml", "[tool.pytest.ini_options]\nmarkers = ['shared: needs data']\n")
    source = "LIMIT = 7\nUNUSED = 5.0\n\n\ndef area(a, b):\n    return a * b\n"
    write(tmp_path / "src" / "toy.py", source)
    tests = "from toy import area\n\n\ndef test_area():\n    assert area(2, 2) == 4\n"
    write(tmp_path / "tests" / "test_toy.py", tests)
    write(tmp_path / "campaigns" / "modules.csv", "module,also\nsrc/toy.py,\n")
    explained = "module,function,before,after,verdict,reason\n"
    for value in ("10.0", "2.5"):
        explained += f"src/toy.py,,UNUSED = 5.0,UNUSED = {value},equivalent,nobody reads it\n"
    write(tmp_path / "campaigns" / "explained.csv", explained)

    killed = ["6", "killed", "tests/test_toy.py::test_area", ""]
    assert run(tmp_path, "--seed", "3") == [
        ["1", "survived", "", ""],
        ["2", "equivalent", "", "nobody reads it"],
        killed,
        ["# all: 1 of 2 noticed (50.0 %), 1 equivalent"],
    ]
    write(tmp_path / "campaigns" / "explained.csv", explained.replace("equivalent,nobody", "left,nobody"))
    assert run(tmp_path, "--explain") == [
        ["1", "survived", "", ""],
        ["2", "survived", "", "nobody reads it"],
        killed,
        ["# all: 1 of 3 noticed (33.3 %), 0 equivalent"],
    ]


def test_each_module_has_tests() -> None:
    for row in csv.DictReader((CAMPAIGNS / "modules.csv").read_text(encoding="utf-8").splitlines()):
        module = Path(row["module"])
        tests = [CAMPAIGNS.parent / test for test in row["also"].split()]
        own = CAMPAIGNS.parent / "tests" / module.relative_to("src/fewct").with_name(f"test_{module.name}")
        assert (CAMPAIGNS.parent / module).is_file()
        assert tests or own.is_file(), f"{module}: no tests"
        assert all(test.is_file() for test in tests), f"{module}: its tests moved"


def test_tests_that_fail_as_it_is_are_an_error(tmp_path: Path) -> None:
    write(tmp_path / "pyproject.toml", "[tool.pytest.ini_options]\nmarkers = ['shared: needs data']\n")
    write(tmp_path / "src" / "toy.py", "LIMIT = 7\n")
    write(tmp_path / "tests" / "test_toy.py", "def test_limit():\n    assert False\n")
    write(tmp_path / "campaigns" / "modules.csv", "module,also\nsrc/toy.py,\n")
    with pytest.raises(subprocess.CalledProcessError) as error:
        run(tmp_path)
    assert "src/toy.py: its tests fail as it is" in error.value.stderr
    assert not (tmp_path / "result.csv").exists()
