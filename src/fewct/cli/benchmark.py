"""`fewct benchmark`: every method on the same slices, once."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fewct.cli.options import CONFIG, Json, Out, new_method_name
from fewct.cli.segment import method_options
from fewct.cli.terminal import progress_of_slices, tell
from fewct.errors import UsageError
from fewct.methods import Method, get_method
from fewct.metrics.catalog import METRICS, TruthKind, is_interpretable

if TYPE_CHECKING:
    from fewct.benchmark.results import BenchmarkResult

PRINTED_METRICS = ("mean_best_iou", "ari_foreground", "ari", "matched_dice", "seconds", "peak_memory_mb")


@dataclass(frozen=True)
class Benchmark:
    """Compare methods on the same slices: rows, intervals by patient, figures and a report.

    DIR gets report.html, rows.csv (one row a slice and method), structures.csv, summary.csv, manifest.json
    and figures/. An interrupted run goes on where it stopped. It needs pip install 'fewct[report]'.
    """

    data: tuple[str, ...]
    """NPZ with image and label; a folder of such; images/ and labels/; NAME.png with NAME_labels.png; a scan
    beside labels.nii.gz; a challenge folder; or JSON that lists such. PATH:NAME chooses one of several
    truths."""
    methods: tuple[str, ...] = ("watershed", "felzenszwalb", "mosaic")
    """Methods; the others are compared with the first. Settings follow after a colon: mosaic:level=0.3, or
    unet:weights=DIR,opening_px=1; a method may come twice with other settings."""
    out: Out = Path("benchmark")
    """Folder for the results."""
    truth: TruthKind = "complete"
    """partial: truth holds only some of the structures and 0 means unknown. A JSON file tells its own."""
    step: int = 1
    """Take every n-th slice. A JSON file tells its own."""
    seed: int = 0
    """Seed of the resampling behind the intervals."""
    json: Json = False

    def run(self) -> int:
        """Run all and return 0, or 1 if a method failed on some slices."""
        from fewct.benchmark.run import run_benchmark
        from fewct.data.cases import parse_data
        from fewct.io.tables import json_text

        methods = {text: parse_method(text) for text in self.methods}
        data = [parse_data(text, self.truth, self.step) for text in self.data]
        console = Console(stderr=True, soft_wrap=True)
        with progress_of_slices(console) as progress:
            result = run_benchmark(data, methods, self.out, seed=self.seed, progress=progress)
        for failure in result.failures:
            message = f"{failure.method} on {failure.data}, {failure.case}: {failure.error}"
            tell("failed", message)
        if self.json:
            print(json_text([asdict(row) for row in result.summary]))
        else:
            _print(result)
            Console().print(f"Report: {self.out / 'report.html'}", highlight=False)
        return int(bool(result.failures))


def parse_method(text: str) -> Method:
    """Return a method from its name and settings, such as `mosaic:level=0.3,minima_depth=0.2`.

    Raises:
        SystemExit: If there is no such setting or value (code 2), as on the command line.
        UsageError: If there is no such method, or a setting is out of its range or has no value.
    """
    name, _, settings = text.partition(":")
    words: list[str] = []
    for setting in settings.split(",") if settings else ():
        key, equals, value = setting.partition("=")
        if not equals:
            raise UsageError(
                text,
                expected="settings like level=0.3",
                found=repr(setting),
                fix=f"`fewct segment --method {name} --help` shows them.",
            )
        words.append(f"--{key}={value}")
    kind = get_method(new_method_name(name))
    defaults, words = method_options(kind, words)
    method: Method = tyro.cli(kind, args=words, default=defaults, config=CONFIG)
    return method


def _print(result: "BenchmarkResult") -> None:
    """Print the main metrics of each data set."""
    for data in result.manifest["data"]:
        printed = [name for name in PRINTED_METRICS if is_interpretable(name, data["truth"])]
        title = f"{data['name']}: {data['slices']} slices, {data['groups']} by {data['grouped_by']}"
        table = Table("method", *(METRICS[name].title for name in printed), title=escape(title))
        of = {(row.method, row.metric): row for row in result.summary if row.data == data["name"]}
        for method in dict.fromkeys(row.method for row in result.summary if row.data == data["name"]):
            cells = []
            for name in printed:
                row = of[method, name]
                digits = 0 if name == "peak_memory_mb" else 3
                below = "" if row.low != row.low else f"\n{row.low:.{digits}f} to {row.high:.{digits}f}"
                if row.n_slices < data["slices"]:
                    below += f"\n{row.n_slices} slices"
                cells.append("-" if row.mean != row.mean else f"{row.mean:.{digits}f}{below}")
            table.add_row(escape(method), *cells)
        Console().print(table)
