"""The methods on real slices: abdominal CT of 5 patients, its weak-contrast slices, and one DICOM series.

    python benchmarks/methods_table.py [--methods mosaic watershed] [--tuned mosaic watershed] [--out FOLDER]

Rows of `settings` "default" are means of `fewct benchmark`; the others are the same with settings from a
random search, which `chosen` tells (tuning.py). "tuned": for the slices of each half of a data set those that
were best on the other half, which are other patients of the same source, or in the series other slices of the
same person. "best": those that were best on the judged slices themselves, which flatters every method that
has much to choose. Methods are compared with the first one of the same way of choosing.

Truth of the first two sets is partial: it holds organs only; that of the series is TotalSegmentator's output.
The index on foreground pixels is the mean over slices with at least two true structures, `n_slices` of them.
Watershed's index on all pixels is the metric of the challenge's organisers, who report 0.137 on their slices.
"""

import json
import math
import shlex
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from fewct.adapt.settings_search import SLICE_METRICS
from fewct.benchmark.rows import Row
from fewct.benchmark.run import run_benchmark
from fewct.benchmark.summary import summarise
from fewct.cli.benchmark import parse_method
from fewct.data.cases import DataSet, read_cases, read_description
from fewct.methods import Method
from results_io import RESULTS, machine, save_results
from tuning import SEARCHED, Tuning, aim, best_try, changed, folds_of, in_words

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
DATA_SETS = {
    "btcv_val": {"truth": "partial", "step": 6, "sources": [{"path": f"{DATA}/btcv/val"}]},
    "btcv_val_dense": {"truth": "partial", "sources": [{"path": f"{DATA}/btcv/val:dense"}]},
    "abdomen_series": {"truth": "complete", "sources": [{"path": f"{DATA}/abdomen_series"}]},
}
SEARCH_STEPS = {"btcv_val": 2, "btcv_val_dense": 1, "abdomen_series": 2}
"""The search looks at every n-th of the slices; the results are of all."""
SHOWN = ("ari", "ari_foreground", "mean_best_iou", "foreground_dice", "pq", "n_predicted", "peak_memory_mb")
LEFT_OUT = "seconds"  # a quiet machine's matter, see mosaic_speed.py


@dataclass(frozen=True)
class Options:
    """Compare methods on the real slices beside the repository."""

    methods: tuple[str, ...] = tuple(SEARCHED)
    """Methods at their default settings; the others are compared with the first."""
    tuned: tuple[str, ...] = tuple(SEARCHED)
    """Methods that are tuned as well, the others compared with the first; may be none."""
    tries: int = 50
    """Settings that the search tries for each method, the default ones first; see `tuning.NAMED` for more."""
    out: Path | None = None
    """Folder that keeps all rows and tries, to go on after an interruption; None: all is measured anew."""
    table: Path = RESULTS / "methods_table.csv"
    """Table to write; the tries lie beside it."""


def data_sets(folder: Path) -> dict[str, DataSet]:
    """Return the data sets, by way of descriptions as users write them."""
    sets = {}
    for name, content in DATA_SETS.items():
        file = folder / f"{name}.json"
        file.write_text(json.dumps(content), encoding="utf-8")
        sets[name] = read_description(file)
    return sets


def parsed(text: str) -> Method:
    """Return a method of fewct from its name and settings, or the baseline of thresholds."""
    return changed(text, {}) if text in SEARCHED else parse_method(text)


@dataclass(frozen=True)
class Tuned:
    """Results with settings that were searched.

    Args:
        rows: By name of how settings were chosen: one a slice and method.
        chosen: The settings, by that name, data set and method.
        tries: What each try scored on each fold.
    """

    rows: Mapping[str, list[Row]]
    chosen: Mapping[tuple[str, str, str], str]
    tries: list[dict[str, object]]


def tuned(options: Options, sets: Mapping[str, DataSet], folder: Path) -> Tuned:
    """Search settings, and measure those that were best on the other fold, and those best on all slices."""
    names = options.tuned
    cases = {data: list(read_cases(one)) for data, one in sets.items()}
    searched = {data: cases[data][:: SEARCH_STEPS[data]] for data in sets}
    tuning = Tuning(searched, folder / "tries.jsonl", options.tries)
    tuning.run(names)
    result = Tuned({"tuned": [], "best": []}, {}, [])
    chosen: dict[tuple[str, str, str], str] = {}
    for data, one in sets.items():
        folds, in_search = folds_of(cases[data]), folds_of(searched[data])
        everything = list(range(len(cases[data])))
        parts = [
            ("tuned", folds[0], in_search[1][1]),
            ("tuned", folds[1], in_search[0][1]),
            ("best", ("all", everything), list(range(len(searched[data])))),
        ]
        for kind, (judged, slices), chosen_on in parts:
            best = {name: best_try(tuning.values(data, name), chosen_on) for name in names}
            settings = {name: tuning.settings(name)[number] for name, number in best.items()}
            for name in names:
                before = chosen.get((kind, data, name))
                text = f"{judged}: {in_words(settings[name])}"
                chosen[kind, data, name] = text if before is None else f"{before} | {text}"
            methods = {name: changed(name, settings[name]) for name in names}
            fold = replace(one, only=frozenset(cases[data][k].name for k in slices))
            place = folder / f"{data} {kind} {judged}"
            result.rows[kind].extend(run_benchmark([fold], methods, place).rows if names else ())
        result.tries.extend(table_of_tries(tuning, names, data, in_search))
    return replace(result, chosen=chosen)


def table_of_tries(
    tuning: Tuning, names: Sequence[str], data: str, folds: Sequence[tuple[str, list[int]]]
) -> list[dict[str, object]]:
    """Return a row for each try: its settings, and its means over the slices of each fold."""
    rows: list[dict[str, object]] = []
    for name in names:
        values, settings = tuning.values(data, name), tuning.settings(name)
        values = np.concatenate([aim(values)[..., None], values], axis=-1)
        means = np.stack([np.nanmean(values[:, slices], axis=1) for _, slices in folds], axis=1).round(4)
        for number in range(len(settings)):
            rows.append({"data": data, "method": name, "try": number})
            for fold in range(len(folds)):
                names_of = [f"{metric}_{fold + 1}" for metric in ("aim", *SLICE_METRICS)]
                rows[-1] |= dict(zip(names_of, means[number, fold].tolist(), strict=True))
            rows[-1]["settings"] = in_words(settings[number])
    return rows


def rows_of_table(
    rows: Sequence[Row], settings: str, chosen: Mapping[tuple[str, str, str], str]
) -> list[dict[str, object]]:
    """Return the rows of the table for one way of choosing settings."""
    table: list[dict[str, object]] = []
    for row in summarise(rows):
        if row.metric == LEFT_OUT:
            continue
        numbers = asdict(row)
        heads = {"data": numbers.pop("data"), "method": numbers.pop("method"), "settings": settings}
        for name, value in numbers.items():
            if isinstance(value, float):
                numbers[name] = "" if math.isnan(value) else f"{value:.4f}"
        table.append(heads | numbers | {"chosen": chosen.get((settings, row.data, row.method), "")})
    return table


def show(table: Sequence[Mapping[str, Any]]) -> None:
    """Print the main metrics of each data set."""
    for data in dict.fromkeys(row["data"] for row in table):
        own = [row for row in table if row["data"] == data]
        slices = {row["metric"]: row["n_slices"] for row in own}
        print(f"{data}\n{'':60}" + "".join(f"{name:>16}" for name in SHOWN))
        print(f"{'slices':60}" + "".join(f"{slices.get(name, ''):>16}" for name in SHOWN))
        for line in dict.fromkeys((row["method"], row["settings"]) for row in own):
            means = {row["metric"]: row["mean"] for row in own if (row["method"], row["settings"]) == line}
            print(f"{', '.join(line):60}" + "".join(f"{means.get(name, ''):>16}" for name in SHOWN))


def main() -> None:
    options = tyro.cli(Options)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.out or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        sets = data_sets(folder)
        methods = {text: parsed(text) for text in options.methods}
        default = run_benchmark(list(sets.values()), methods, folder / "default")
        others = tuned(options, sets, folder)
    rows_of = {"default": list(default.rows)} | others.rows
    table = [row for name, rows in rows_of.items() for row in rows_of_table(rows, name, others.chosen)]
    print(machine())
    show(table)
    words = ["--methods", *options.methods, "--tuned", *options.tuned, "--tries", str(options.tries)]
    command = shlex.join(["python", "benchmarks/methods_table.py", *words])
    beside = options.table.with_suffix("")
    save_results(options.table, table, command)
    if others.tries:
        save_results(f"{beside}_tries.csv", others.tries, command)


if __name__ == "__main__":
    main()
