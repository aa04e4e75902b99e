"""Where each figure of the documents comes from: python benchmarks/figures.py [PAGE...].

It prints every measured number of README, model cards and documents beside its value in `results/` and the
command that measures it. `figures.toml` says which number is which value. It is an error if a number stands
in no entry, if an entry fits no passage or no result, if a number is not its value rounded, or if a value
that misses its goal is printed as if it reached it.

An entry quotes a passage, in which `{}` stands for each number, and says for each where it comes from:

    [["README.md"]]
    text = "from a box with Dice {} (goal {})"
    from = ["prompts.csv | btcv val | box, Dice | value", "goal of 1"]

- `FILE | CELL | ... | COLUMN` is the row of a result file that holds all these cells (or `column=cell`),
  and one of its columns. `mean`, `min` or `max` before it takes several rows; ` * 100` or ` / 1000` behind
  it scales; ` + `, ` - ` and ` / ` between two of them compute.
- `goal 0.85 of 1` is what the first number of the passage should reach at least, `limit 3 of 1` at most.
- `fact 50` is no measurement: a size, a count, a setting, what others report.

A section that begins with "Notes of trials" tells what was tried by hand; its numbers are not looked up.
"""

import csv
import operator
import re
import statistics
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from fewct.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
INDEX, RESULTS = Path(__file__).with_suffix(".toml"), Path(__file__).parent / "results"
NOTES = "Notes of trials"
NUMBER = r"((?:(?<![\w.-])[+-])?\d+(?:\.\d+)?)"
UNITS = "m?s|secs?|seconds?|min|mins|minutes?|h|hours?|days?|%|percent|[kKMGT]?i?B|times|masks|pieces"
FIGURE = re.compile(rf"(?<![\w.])(?:\d*[.,]\d+(?!\.\d)|\d+e-?\d+|\d+[\s-]{{0,2}}(?:{UNITS})(?!\w))")
"""What must stand in an entry: decimals, and whole numbers with a unit."""
STATED = re.compile(r"fact (?P<fact>[\d.]+)|(?P<kind>goal|limit) (?P<bound>[\d.]+) of (?P<of>\d+)")
NOT_PROSE = (r"^```.*?^```", r"`[^`]*`", r"\]\([^)]*\)", r"<https?:[^>]*>")
COMPUTE: Mapping[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "/": operator.truediv,
    "*": operator.mul,
}
OVER_ROWS: Mapping[str, Callable[[Sequence[float]], float]] = {
    "mean": statistics.fmean,
    "min": min,
    "max": max,
}
ROUNDING = 1e-9
CORRECT = "Correct benchmarks/figures.toml."


@dataclass(frozen=True)
class Figure:
    """A number of a page, and where it comes from.

    Args:
        start: Where it begins in the text of the page.
        printed: The number as it stands there.
        source: What the index says of it.
        value: The value of its result; None for goals, limits and facts.
        command: What measures it.
    """

    start: int
    printed: str
    source: str
    value: float | None = None
    command: str = ""

    def is_true(self) -> bool:
        """Return whether the number is what is stated, or the value rounded, to two decimals below 1."""
        stated = STATED.fullmatch(self.source)
        if self.value is None:
            return stated is not None and float(self.printed) == float(stated["fact"] or stated["bound"])
        decimals = len(self.printed.partition(".")[2])
        fine = decimals >= 2 or abs(self.value) >= 1
        return fine and abs(float(self.printed) - self.value) <= 0.5 * 10**-decimals + ROUNDING


@cache
def read_result(path: Path) -> tuple[str, list[dict[str, str]]]:
    """Return the command that wrote a result file, and its rows."""
    if not path.is_file():
        raise InputError(
            path.name,
            expected=f"a result file in {path.parent.name}",
            found="no such file",
            fix="Correct benchmarks/figures.toml, or run the benchmark that writes it.",
        )
    lines = path.read_text("utf-8").splitlines()
    head = [line[1:].strip() for line in lines if line.startswith("#")]
    commands = [line.removeprefix("command:").strip() for line in head if line.startswith("command:")]
    if not commands:
        raise InputError(
            path.name,
            expected="a line '# command: ...' on top",
            found="none",
            fix="Write it with results_io.save_results.",
        )
    return commands[0], list(csv.DictReader(line for line in lines if not line.startswith("#")))


def holds(row: Mapping[str, str], cell: str) -> bool:
    """Return whether a row has a cell, anywhere or, as `column=cell`, in one column."""
    column, _, value = cell.partition("=")
    return row[column] == value if column in row else cell in row.values()


def one_value(selector: str, results: Path) -> tuple[float, str]:
    """Return the value of `[mean|min|max] FILE | CELL | ... | COLUMN`, and the command that measured it."""
    over, _, rest = selector.partition(" ")
    name, *cells, column = (rest if over in OVER_ROWS else selector).split(" | ")
    command, rows = read_result(results / name)
    found = [row for row in rows if all(holds(row, cell) for cell in cells)]
    if not found or column not in found[0] or (len(found) > 1 and over not in OVER_ROWS):
        what = f"{len(found)} rows" if not found or column in found[0] else f"columns {', '.join(found[0])}"
        raise InputError(selector, expected=f"one value in {name}", found=what, fix=CORRECT)
    numbers = [float(row[column]) for row in found]
    return OVER_ROWS.get(over, statistics.fmean)(numbers), command


def value_of(source: str, results: Path) -> tuple[float, str]:
    """Return what a source of the index amounts to, and the command that measured it."""
    scaled = re.fullmatch(r"(.*) ([*/]) (-?[\d.]+)", source)
    if scaled:
        value, command = value_of(scaled[1], results)
        return COMPUTE[scaled[2]](value, float(scaled[3])), command
    first, *others = re.split(r" ([-+/]) (?=(?:\w+ )?\w+\.csv \|)", source)
    value, command = one_value(first, results)
    for sign, other in zip(others[::2], others[1::2], strict=True):
        value = COMPUTE[sign](value, one_value(other, results)[0])
    return value, command


def entry_figures(text: str, entry: Mapping[str, Any], results: Path) -> list[Figure]:
    """Return the figures of the one passage of a page that an entry of the index quotes."""
    quoted, sources = str(entry["text"]), list(map(str, entry["from"]))
    literal = [r"\s+".join(map(re.escape, re.split(r"\s+", part))) for part in quoted.split("{}")]
    found = list(re.finditer(NUMBER.join(literal), text))
    if len(found) != 1:
        raise InputError(
            f"'{quoted}'",
            expected="one such passage on the page",
            found=f"{len(found)}",
            fix=CORRECT,
        )
    if not sources or len(literal) - 1 != len(sources):
        raise InputError(
            f"'{quoted}'",
            expected=f"{len(literal) - 1} sources, one a number",
            found=f"{len(sources)}",
            fix=CORRECT,
        )
    figures = []
    for k, source in enumerate(sources, start=1):
        value, command = (None, "") if STATED.fullmatch(source) else value_of(source, results)
        figures.append(Figure(found[0].start(k), found[0][k], source, value, command))
    return figures


def check_entry(figures: Sequence[Figure]) -> None:
    """Raise InputError unless numbers are their values, rounded, and goals only reached where they are."""
    for figure in figures:
        if not figure.is_true():
            rounded = f"the value of the result, {figure.value}, rounded"
            raise InputError(
                f"{figure.printed}, from {figure.source}",
                expected="as stated" if figure.value is None else rounded,
                found=figure.printed,
                fix=f"Correct the page, or measure again: {figure.command or 'see figures.toml'}",
            )
        stated = STATED.fullmatch(figure.source)
        if stated and stated["kind"]:
            measured, sign = figures[int(stated["of"]) - 1], 1 if stated["kind"] == "goal" else -1
            bound = sign * float(figure.printed)
            if measured.value is None:
                raise InputError(
                    figure.source,
                    expected="the place of a measured number",
                    found=measured.source,
                    fix=CORRECT,
                )
            if sign * measured.value < bound <= sign * float(measured.printed):
                missed = f"{measured.value:.6g} misses the {stated['kind']} {figure.printed}"
                raise InputError(
                    f"{measured.printed}, from {measured.source}",
                    expected=f"more decimals, since {missed}",
                    found=measured.printed,
                    fix="Print as many decimals as tell that the goal is missed.",
                )


def prose(text: str, ignored: Sequence[str]) -> str:
    """Return the text, as long as before, with blanks for code, links, what is ignored, notes of trials."""
    for pattern in (*NOT_PROSE, *ignored):
        text = re.sub(pattern, lambda match: " " * len(match[0]), text, flags=re.DOTALL | re.MULTILINE)
    headings = [(m.start(), len(m[1])) for m in re.finditer(r"^(#+) ", text, flags=re.MULTILINE)]
    for start, level in headings:
        begins = text[text.index("\n", start) if "\n" in text[start:] else len(text) :].lstrip()
        end = next((other for other, its in headings if other > start and its <= level), len(text))
        if begins.startswith(NOTES):
            text = text[:start] + " " * (end - start) + text[end:]
    return text


def page_figures(
    page: str, text: str, index: Mapping[str, Sequence[Any]], results: Path = RESULTS
) -> list[Figure]:
    """Return the figures of a page in their order, each looked up and checked.

    Args:
        page: Its path below the repository's root, as the index names it.
        text: What it says.
        index: The index, as read from `figures.toml`.
        results: Folder of the result files.

    Raises:
        InputError: As told at the head of this file.
    """
    figures: list[Figure] = []
    for entry in index.get(page, ()):
        try:
            found = entry_figures(text, entry, results)
            check_entry(found)
        except (ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise InputError(
                f"{entry}", expected="a text and where its numbers come from", found=repr(error), fix=CORRECT
            ) from error
        figures += found
    starts = [one.start for one in figures]
    if len(set(starts)) < len(starts):
        twice = next(one for one in figures if starts.count(one.start) > 1)
        raise InputError(f"{twice.printed} of {page}", expected="one entry", found="two", fix=CORRECT)
    covered = {place for one in figures for place in range(one.start, one.start + len(one.printed))}
    for match in FIGURE.finditer(prose(text, list(map(str, index.get("ignore", ()))))):
        if match.start() not in covered:
            line = text.count("\n", 0, match.start()) + 1
            around = " ".join(text[max(0, match.start() - 40) : match.end() + 30].split())
            raise InputError(
                f"{page}, line {line}, '... {around} ...'",
                expected="an entry of benchmarks/figures.toml that says where each number comes from",
                found=f"none for {match[0]}",
                fix="Add one, or mark the section as 'Notes of trials'.",
            )
    return sorted(figures, key=lambda one: one.start)


def pages() -> Iterator[tuple[str, str]]:
    """Yield path below the root and text of each document that tells figures."""
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        if path.parent.name != "reference":  # generated from the code
            yield path.relative_to(ROOT).as_posix(), path.read_text("utf-8")


def main(wanted: Sequence[str]) -> int:
    """List the figures of some pages, or all; return 1 if one of them does not fit, else 0."""
    index, told = tomllib.loads(INDEX.read_text("utf-8")), dict(pages())
    unknown = {*wanted, *index} - {*told, "ignore"}
    for page in sorted(unknown):
        print(f"error: {page}: expected one of {', '.join(told)}, found another", file=sys.stderr)
    failed = bool(unknown)
    for page in wanted or told:
        try:
            figures = page_figures(page, told.get(page, ""), index)
        except InputError as error:
            print(f"error: {page}: {error}", file=sys.stderr)
            failed, figures = True, []
        for figure in figures:
            if figure.value is not None:
                line = told[page].count("\n", 0, figure.start) + 1
                found = f"{figure.printed} is {figure.value:.6g} of {figure.source}"
                print(f"{page}:{line}: {found}: {figure.command}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
