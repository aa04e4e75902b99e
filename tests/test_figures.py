"""Each measured number of README, model cards and documents is a value of a result file, rounded."""

import csv
import re
import runpy
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fewct.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = runpy.run_path(str(ROOT / "benchmarks" / "figures.py"))
INDEX = tomllib.loads(SCRIPT["INDEX"].read_text("utf-8"))
PAGES = dict(SCRIPT["pages"]())
RESULT = """# command: python benchmarks/one.py
data,method,ari,seconds
"a, b",mosaic,0.9349,0.150
"a, b",watershed,0.764,0.2
c,mosaic,0.5,0.1
zero,none,0,0.3
"""


@pytest.fixture
def results(tmp_path: Path) -> Path:
    (tmp_path / "one.csv").write_text(RESULT)
    (tmp_path / "bare.csv").write_text("ari\n0.5\n")
    return tmp_path


def figures(results: Path, text: str, *entries: tuple[str, list[str]], ignore: tuple[str, ...] = ()) -> Any:
    index: Mapping[str, Any] = {"p.md": [{"text": q, "from": s} for q, s in entries], "ignore": ignore}
    return SCRIPT["page_figures"]("p.md", text, index, results)


@pytest.mark.parametrize("page", sorted(PAGES))
def test_numbers_of_the_documents_are_those_of_the_results(page: str) -> None:
    found = SCRIPT["page_figures"](page, PAGES[page], INDEX)
    commands = {figure.command for figure in found if figure.value is not None}
    for command in commands:
        script = re.match(r"python (benchmarks/\w+\.py)|fewct train ", command)
        assert script, command
        assert not script[1] or (ROOT / script[1]).is_file(), command


def test_pages_of_the_index_exist() -> None:
    assert set(INDEX) - {"ignore"} <= set(PAGES)
    assert len(SCRIPT["page_figures"]("README.md", PAGES["README.md"], INDEX)) > 40


def test_result_files_say_what_made_them_and_where_and_when() -> None:
    files = sorted((ROOT / "benchmarks" / "results").glob("*.csv"))
    assert len(files) > 15
    for path in files:
        lines = path.read_text("utf-8").splitlines()
        head = [line for line in lines if line.startswith("#")]
        assert [line.split(":")[0] for line in head] == ["# command", "# machine", "# date"], path.name
        assert len(list(csv.DictReader(lines[3:]))) > 0, path.name


def test_a_number_is_found_by_the_cells_of_its_row(results: Path) -> None:
    text = "mosaic reaches 0.93\nof 0.95, gains +0.17\nin 150 ms, 0.75 of the time; 0.72 in the mean, 0.10 s"
    found = figures(
        results,
        text,
        ("mosaic reaches {} of {}", ["one.csv | a, b | mosaic | ari", "goal 0.95 of 1"]),
        ("gains {}", ["one.csv | a, b | mosaic | ari - one.csv | a, b | watershed | ari"]),
        ("in {} ms", ["one.csv | a, b | method=mosaic | seconds * 1000"]),
        ("{} of the time", ["one.csv | a, b | mosaic | seconds / one.csv | watershed | seconds"]),
        ("{} in the mean, {} s", ["mean one.csv | mosaic | ari", "min one.csv | seconds"]),
    )
    assert [one.printed for one in found] == ["0.93", "0.95", "+0.17", "150", "0.75", "0.72", "0.10"]
    assert [one.value for one in found] == pytest.approx([0.9349, None, 0.1709, 150, 0.75, 0.71745, 0.1])
    assert {one.command for one in found} == {"python benchmarks/one.py", ""}
    assert [text[one.start :].startswith(one.printed) for one in found] == [True] * 7


@pytest.mark.parametrize("printed", ["0.93", "0.935", "0.9349"])
def test_a_printed_number_is_its_value_rounded(results: Path, printed: str) -> None:
    entry = ("ARI {}", ["one.csv | a, b | mosaic | ari"])
    assert len(figures(results, f"ARI {printed}", entry)) == 1


@pytest.mark.parametrize("printed", ["0.94", "0.92", "0.9", "1", "0.9350"])
def test_another_number_or_a_coarse_one_is_named(results: Path, printed: str) -> None:
    message = rf"{printed}, from .*expected .*0\.9349, rounded.*benchmarks/one\.py"
    with pytest.raises(InputError, match=message):
        figures(results, f"ARI {printed}", ("ARI {}", ["one.csv | a, b | mosaic | ari"]))


def test_goals_and_facts_are_those_of_the_index(results: Path) -> None:
    entry = ("{} slices: ARI {} (goal {})", ["fact 20", "one.csv | a, b | mosaic | ari", "goal 0.95 of 2"])
    assert len(figures(results, "20 slices: ARI 0.93 (goal 0.95)", entry)) == 3
    for text in ("200 slices: ARI 0.93 (goal 0.95)", "20 slices: ARI 0.93 (goal 0.90)"):
        with pytest.raises(InputError, match=r"(200|0\.90), from .*expected as stated"):
            figures(results, text, entry)


def test_a_missed_goal_is_not_printed_as_reached(results: Path) -> None:
    mosaic, watershed = "one.csv | a, b | mosaic | ari", "one.csv | a, b | watershed | seconds"
    assert figures(results, "ARI 0.935 (goal 0.94)", ("ARI {} (goal {})", [mosaic, "goal 0.94 of 1"]))
    with pytest.raises(InputError, match=r"more decimals, since 0\.9349 misses the goal 0\.935"):
        figures(results, "ARI 0.935 (goal 0.935)", ("ARI {} (goal {})", [mosaic, "goal 0.935 of 1"]))
    at_most = ("{} s (goal {} s)", [watershed, "limit 0.2 of 1"])
    assert figures(results, "0.20 s (goal 0.2 s)", at_most)
    (results / "one.csv").write_text(RESULT.replace("0.764,0.2", "0.764,0.204"))
    SCRIPT["read_result"].cache_clear()
    with pytest.raises(InputError, match=r"more decimals, since 0\.204 misses the limit 0\.2"):
        figures(results, "0.20 s (goal 0.2 s)", at_most)
    with pytest.raises(InputError, match=r"the place of a measured number, found fact"):
        figures(results, "1 of 2.5", ("{} of {}", ["fact 1", "goal 2.5 of 1"]))


@pytest.mark.parametrize(
    "text",
    """Dice 0.8|it is 0.8.|in 52 s.|12 % more|[0.1, 2]|3 times|takes 4 GB|3 h|.85|0,85|1e-3|0.5s|5 min
9 pieces|12-second|85 percent|-0.1|3-5 %|12 KiB|40\N{NO-BREAK SPACE}s""".replace("\n", "|").split("|"),
)
def test_a_number_without_an_entry_is_named(results: Path, text: str) -> None:
    with pytest.raises(InputError, match=r"p\.md, line 3, .*expected an entry of benchmarks/figures\.toml"):
        figures(results, f"One.\n\nMosaic: {text}")
    assert figures(results, f"## Old\n\nNotes of trials.\n\n### Part\n\n{text}\n\n## New\n") == []
    with pytest.raises(InputError, match="line 9"):
        figures(results, f"## Old\n\nNotes of trials.\n\n### Part\n\n{text}\n\n## New: {text}\n")
    with pytest.raises(InputError, match="line 5"):
        figures(results, f"## Old\n\nThese are no Notes of trials.\n\n{text}")


def test_code_links_and_what_is_ignored_are_no_figures(results: Path) -> None:
    text = "`--level 0.3`, [0.5](https://a.b/0.7), CC BY 4.0\n```\n0.9\n```\n20 slices, version 1.2.3"
    assert figures(results, text, ("[{}]", ["fact 0.5"]), ignore=(r"CC BY 4\.0",))[0].printed == "0.5"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("none.csv | a | ari", "none.csv: expected a result file in .*found no such file.*run the benchmark"),
        ("one.csv | a, b | ari", "expected one value in one.csv, found 2 rows"),
        ("one.csv | d | ari", "expected one value in one.csv, found 0 rows"),
        ("one.csv | c | dice", "found columns data, method, ari, seconds"),
        ("Fact", "not enough values to unpack"),
        ("one.csv", "not enough values to unpack"),
        ("one.csv | c | data", "could not convert string to float"),
        ("one.csv | c | ari / one.csv | zero | ari", "division by zero"),
        ("goal 0.5 of 9", "out of range"),
        ("bare.csv | ari", "bare.csv: expected a line '# command: ...' on top, found none"),
    ],
)
def test_an_index_that_does_not_fit_the_results_says_so(results: Path, source: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        figures(results, "ARI 0.50", ("ARI {}", [source]))


def test_an_index_that_does_not_fit_the_page_says_so(results: Path) -> None:
    with pytest.raises(InputError, match=r"'IoU \{\}': expected one such passage on the page, found 0"):
        figures(results, "ARI 0.50", ("IoU {}", ["one.csv | c | ari"]))
    with pytest.raises(InputError, match="expected one such passage on the page, found 2"):
        figures(results, "ARI 0.50, ARI 0.60", ("ARI {}", ["one.csv | c | ari"]))
    with pytest.raises(InputError, match="expected 1 sources, one a number, found 2"):
        figures(results, "ARI 0.50", ("ARI {}", ["one.csv | c | ari", "fact 1"]))
    with pytest.raises(InputError, match=r"0\.50 of p\.md: expected one entry, found two"):
        figures(results, "ARI 0.50", *[("ARI {}", ["one.csv | c | ari"])] * 2)


def test_the_script_lists_figures_and_names_unknown_pages(capsys: pytest.CaptureFixture[str]) -> None:
    assert SCRIPT["main"](["README.md"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 60
    assert all(
        re.match(r"README\.md:\d+: [-+\d.]+ is [-\d.]+ of .*: python benchmarks/|.*fewct", x) for x in lines
    )
    assert SCRIPT["main"](["READNE.md"]) == 1
    assert "error: READNE.md: expected one of README.md, docs/" in capsys.readouterr().err
