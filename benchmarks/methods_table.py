"""The methods on real slices: abdominal CT of 5 patients, its weak-contrast slices, and one DICOM series.

    python benchmarks/methods_table.py [--methods mosaic watershed] [--tuned mosaic watershed] [--out FOLDER]

Rows of `settings` "default" are means of `fewct benchmark`, "tuned" ones the same with settings that a random
search chose on the other half of the same data set, see tuning.py; `chosen` tells them. That favours all
methods alike: the halves are other patients of the same source, or in the series other slices of the same
person. In each part methods are compared with the first.

Truth of the first two sets is partial: it holds organs only; that of the series is TotalSegmentator's output.
Watershed's index on all pixels is the metric of the challenge's organisers, who report 0.137 on their slices.
"""

import json
import shlex
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from fewct.adapt.settings_search import SLICE_METRICS, objective
from fewct.benchmark.rows import Row
from fewct.benchmark.run import run_benchmark
from fewct.benchmark.summary import summarise
from fewct.cli.benchmark import parse_method
from fewct.data.cases import DataSet, LabelledCase, read_cases, read_description
from fewct.methods import Method
from results_io import RESULTS, machine, save_results
from tuning import SEARCHED, Tuning, best_try, changed, folds_of, in_words

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
DATA_SETS = {
    "btcv_val": {"truth": "partial", "step": 6, "sources": [{"path": f"{DATA}/btcv/val"}]},
    "btcv_val_dense": {"truth": "partial", "sources": [{"path": f"{DATA}/btcv/val:dense"}]},
    "abdomen_series": {"truth": "complete", "sources": [{"path": f"{DATA}/abdomen_series"}]},
}
SEARCH_STEPS = {"btcv_val": 2, "btcv_val_dense": 1, "abdomen_series": 2}
"""The search looks at every n-th of the slices; the results are of all."""
SHOWN = ("ari", "ari_foreground", "mean_best_iou", "foreground_dice", "pq", "seconds", "peak_memory_mb")


@dataclass(frozen=True)
class Options:
    """Compare methods on the real slices beside the repository."""

    methods: tuple[str, ...] = (*SEARCHED, "everything", "boxes:boxes_from=mosaic")
    """Methods at their default settings; the others are compared with the first."""
    tuned: tuple[str, ...] = tuple(SEARCHED)
    """Methods that are tuned as well, the others compared with the first; may be none."""
    tries: int = 50
    """Settings that the search tries for each method, the default ones first."""
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
class TunedRows:
    """Results of tuned methods.

    Args:
        rows: One a slice and method.
        chosen: The settings of both folds by data set and method.
        tries: What each try scored on each fold.
    """

    rows: list[Row]
    chosen: Mapping[tuple[str, str], str]
    tries: list[dict[str, object]]


def tuned_rows(options: Options, sets: Mapping[str, DataSet], folder: Path) -> TunedRows:
    """Search settings on each half of each data set, and measure them on the other half."""
    names = options.tuned
    cases = {data: list(read_cases(one)) for data, one in sets.items()}
    searched = {data: cases[data][:: SEARCH_STEPS[data]] for data in sets}
    tuning = Tuning(searched, folder / "tries.jsonl", options.tries)
    tuning.run(names)
    result = TunedRows([], {}, [])
    chosen: dict[tuple[str, str], str] = {}
    for data, one in sets.items():
        folds, in_search = folds_of(cases[data]), folds_of(searched[data])
        for (judged, slices), (_, others) in zip(folds, in_search[::-1], strict=True):
            methods: dict[str, Method] = {}
            for name in names:
                best = best_try(tuning.values(data, name), others, one.truth)
                settings = tuning.settings(name)[best]
                methods[name] = changed(name, settings)
                text = f"{judged}: {in_words(settings)}"
                chosen[data, name] = f"{chosen[data, name]} | {text}" if (data, name) in chosen else text
            result.rows.extend(measured_on(one, cases[data], slices, methods, folder))
        result.tries.extend(table_of_tries(tuning, names, one, in_search))
    return replace(result, chosen=chosen)


def measured_on(
    data: DataSet,
    cases: Sequence[LabelledCase],
    slices: Sequence[int],
    methods: Mapping[str, Method],
    folder: Path,
) -> list[Row]:
    """Return the rows of `fewct benchmark` on some slices of a data set."""
    fold = replace(data, only=frozenset(cases[k].name for k in slices))
    return list(run_benchmark([fold], methods, folder / f"{data.name}-{slices[0]}").rows)


def table_of_tries(
    tuning: Tuning, names: Sequence[str], data: DataSet, folds: Sequence[tuple[str, list[int]]]
) -> list[dict[str, object]]:
    """Return a row for each try: its settings, and its means over the slices of each fold."""
    rows: list[dict[str, object]] = []
    for name in names:
        values, settings = tuning.values(data.name, name), tuning.settings(name)
        values = np.concatenate([objective(values, data.truth)[..., None], values], axis=-1)
        means = np.stack([np.nanmean(values[:, slices], axis=1) for _, slices in folds], axis=1).round(4)
        for number in range(tuning.tries):
            rows.append({"data": data.name, "method": name, "try": number})
            for fold in range(len(folds)):
                names_of = [f"{metric}_{fold + 1}" for metric in ("objective", *SLICE_METRICS)]
                rows[-1] |= dict(zip(names_of, means[number, fold].tolist(), strict=True))
            rows[-1]["settings"] = in_words(settings[number])
    return rows


def rows_of_table(rows: Sequence[Row], settings: str, chosen: Mapping[tuple[str, str], str]) -> list[Any]:
    """Return the rows of the table for default or tuned settings."""
    table = []
    for row in summarise(rows):
        numbers = {
            key: f"{value:.4f}" if isinstance(value, float) else value for key, value in asdict(row).items()
        }
        about = {"settings": settings, "chosen": chosen.get((row.data, row.method), "")}
        heads = {key: numbers.pop(key) for key in ("data", "method")} | {"settings": settings}
        table.append(heads | {key: "" if text == "nan" else text for key, text in numbers.items()} | about)
    return table


def show(table: Sequence[Mapping[str, Any]]) -> None:
    """Print the main metrics of each data set."""
    for data in dict.fromkeys(row["data"] for row in table):
        print(f"{data}\n{'':60}" + "".join(f"{name:>16}" for name in SHOWN))
        own = [row for row in table if row["data"] == data]
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
        tuned = tuned_rows(options, sets, folder)
    table = [
        *rows_of_table(default.rows, "default", {}),
        *rows_of_table(tuned.rows, "tuned", tuned.chosen),
    ]
    print(machine())
    show(table)
    command = shlex.join(["python", "benchmarks/methods_table.py", *sys.argv[1:]])
    beside = options.table.with_suffix("")
    save_results(options.table, table, command)
    if tuned.tries:
        save_results(f"{beside}_tries.csv", tuned.tries, command)


if __name__ == "__main__":
    main()
