"""The report for people: one HTML file that holds its figures. Importing it needs the extra `report`."""

import base64
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from fewct.benchmark.figures import example_picture, png, score_against_size, score_against_time
from fewct.benchmark.results import BenchmarkResult, ReportExample
from fewct.benchmark.summary import SummaryRow
from fewct.io.atomic import atomic_path, write_text
from fewct.metrics.catalog import MAIN_METRIC, METRICS, TruthKind, is_interpretable
from fewct.outputs import make_folder

TEMPLATE = "report.html.jinja"

MAIN_TABLE: Mapping[TruthKind, tuple[str, ...]] = {
    "complete": (
        "ari_foreground",
        "mean_best_iou",
        "matched_dice",
        "pq",
        "surface_dice",
        "ari",
        "seconds",
        "peak_memory_mb",
    ),
    "partial": (
        "mean_best_iou",
        "ari_foreground",
        "matched_dice",
        "matched_recall",
        "foreground_recall",
        "seconds",
        "peak_memory_mb",
    ),
}


@dataclass(frozen=True)
class Cell:
    """One metric of one method as text.

    Args:
        slices: How many slices it is the mean of, where it is not defined on all.
    """

    mean: str
    interval: str
    slices: str
    difference: str
    rank: str
    is_best: bool
    differs: bool


@dataclass(frozen=True)
class ReportSection:
    """One data set in the report."""

    name: str
    about: Mapping[str, Any]
    metrics: tuple[str, ...]
    all_metrics: tuple[str, ...]
    methods: tuple[str, ...]
    cells: Mapping[tuple[str, str], Cell]
    examples: tuple[tuple[str, str], ...]


def write_report(result: BenchmarkResult, examples: Sequence[ReportExample], folder: Path) -> None:
    """Write `report.html`, with its figures inside, and the same figures as `figures/*.png`.

    Raises:
        OutputError: If a file cannot be written.
    """
    pictures = folder / "figures"
    make_folder(pictures)
    time_url = _save(
        png(score_against_time(result.summary, result.rows)), pictures / "score_against_time.png"
    )
    size = score_against_size(result.rows, result.manifest["seed"])
    size_url = _save(png(size), pictures / "score_against_size.png")
    examples_of: dict[str, list[tuple[str, str]]] = {}
    for number, example in enumerate(examples, start=1):
        url = _save(png(example_picture(example)), pictures / f"example_{number}.png")
        examples_of.setdefault(example.data, []).append((example.case, url))
    environment = Environment(
        loader=PackageLoader("fewct.benchmark", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = environment.get_template(TEMPLATE).render(
        sections=[_section(result, about, examples_of) for about in result.manifest["data"]],
        manifest=result.manifest,
        manifest_text=json.dumps(result.manifest, indent=1),
        failures=result.failures,
        time_url=time_url,
        size_url=size_url,
        titles={name: metric.title for name, metric in METRICS.items()},
        worth={name: metric.on_partial_truth for name, metric in METRICS.items()},
        main=MAIN_METRIC,
    )
    write_text(text, folder / "report.html")


def _section(
    result: BenchmarkResult, about: Mapping[str, Any], examples_of: Mapping[str, Sequence[tuple[str, str]]]
) -> ReportSection:
    """Return the section of one data set."""
    rows = [row for row in result.summary if row.data == about["name"]]
    truth: TruthKind = about["truth"]
    defined = {row.metric for row in rows if not math.isnan(row.mean)}
    return ReportSection(
        name=about["name"],
        about=about,
        metrics=tuple(name for name in MAIN_TABLE[truth] if name in defined),
        all_metrics=tuple(name for name in METRICS if name in defined and is_interpretable(name, truth)),
        methods=tuple(dict.fromkeys(row.method for row in rows)),
        cells={(row.method, row.metric): _cell(row, about["slices"]) for row in rows},
        examples=tuple(examples_of.get(about["name"], ())),
    )


def _cell(row: SummaryRow, n_slices: int) -> Cell:
    """Return a row of the summary as text, on a data set of some slices."""
    digits = 0 if row.metric == "peak_memory_mb" else 3
    return Cell(
        mean=_number(row.mean, digits),
        interval=_interval(row.low, row.high, digits),
        slices=f"{row.n_slices} slices" if row.n_slices < n_slices else "",
        difference=f"{_number(row.difference, digits, sign=True)} "
        f"{_interval(row.difference_low, row.difference_high, digits, sign=True)}",
        rank=_number(row.rank, 0),
        is_best=row.rank == 1,
        differs=row.difference_low > 0 or row.difference_high < 0,
    )


def _interval(low: float, high: float, digits: int, *, sign: bool = False) -> str:
    if math.isnan(low):
        return ""
    return f"[{_number(low, digits, sign=sign)}, {_number(high, digits, sign=sign)}]"


def _number(value: float, digits: int, *, sign: bool = False) -> str:
    if math.isnan(value):
        return "\N{EN DASH}"
    return f"{value:{'+' if sign else ''}.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _save(picture: bytes, path: Path) -> str:
    """Write a PNG and return it as a URL that holds it."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(picture)
    return f"data:image/png;base64,{base64.b64encode(picture).decode()}"
