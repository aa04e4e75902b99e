"""What adapting to a few slices gains on others: python benchmarks/adapt.py.

- btcv/val:dense, slices of weak contrast with partial truth: each patient is the source in turn, of 5 slices
  or all there are, and the other patients' slices tell what that was worth.
- abdomen_series, another scanner with complete truth: 5 of the 20 slices are drawn, 3 times, and the other 15
  tell. They are of the same patient.

Next to what `fewct adapt` keeps stand what it had to choose from: tuned settings, the same without the price
of a step (see `STEP_PRICE`), and the fine-tuned network, whether or not cross-validation believed in it.
"""

import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from fewct.adapt.adaptation import Budget, adapt, all_metrics, fine_tuned
from fewct.adapt.crossvalidation import FINE_TUNED
from fewct.adapt.few_slices import few_of
from fewct.adapt.settings_search import SLICE_METRICS, objective, settings_grid
from fewct.data.cases import LabelledCase, parse_data, read_cases
from fewct.errors import FewctWarning
from fewct.methods import Mosaic
from fewct.metrics.bootstrap import cluster_means
from fewct.metrics.catalog import TruthKind
from fewct.runtime.threads import thread_count
from organs import DATA
from results_io import RESULTS, machine, save_results

COMMAND = "python benchmarks/adapt.py"
RUNS = 4  # of fine-tuning in a budget: three folds and all
DRAWS = 3  # of slices from the series


@dataclass(frozen=True)
class Options:
    """Adapt to a few slices, and measure on others."""

    shots: int = 5
    """Labelled slices of the source; all it has if these are fewer."""
    budget_minutes: float = 5.0
    """Time for fine-tuning; 0 for settings only."""
    out: Path = RESULTS / "adapt.csv"
    """Table to write."""


@dataclass(frozen=True)
class Outcome:
    """Metrics on one slice before and after adapting to others; structures' IoU as a whole is the third."""

    data: str
    arm: str
    source: str
    target: LabelledCase
    before: tuple[float, float, float]
    after: tuple[float, float, float]


@dataclass(frozen=True)
class Task:
    """Slices to adapt to, and others to judge on."""

    data: str
    source: str
    truth: TruthKind
    few: list[LabelledCase]
    others: list[LabelledCase]


def tasks(shots: int) -> Iterator[Task]:
    """Yield what is measured."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FewctWarning)  # two patients have no slices of weak contrast
        cases = list(read_cases(parse_data(f"{DATA}/btcv/val:dense", "partial", 1)))
    for source in sorted({f"{case.patient}" for case in cases}):
        own = [case for case in cases if case.patient == source]
        chosen = np.random.default_rng(0).permutation(len(own))[:shots].tolist()
        others = [case for case in cases if case.patient != source]
        yield Task("btcv/val:dense", source, "partial", [own[k] for k in chosen], others)
    cases = list(read_cases(parse_data(f"{DATA}/abdomen_series", "complete", 1)))
    for draw in range(DRAWS):
        chosen = np.random.default_rng(draw).permutation(len(cases))[:shots].tolist()
        others = [case for k, case in enumerate(cases) if k not in chosen]
        yield Task("abdomen_series", f"draw {draw}", "complete", [cases[k] for k in chosen], others)


def main() -> None:
    options = tyro.cli(Options)
    print(machine(), f"{thread_count()} threads", sep="\n")
    outcomes: list[Outcome] = []
    seconds: list[dict[str, float]] = []
    for task in tasks(options.shots):
        start = time.monotonic()
        for arm, method, took in arms(task, options.budget_minutes):
            seconds.append(took)
            outcomes += judge(arm, method, task)
        print(f"{task.data}, {task.source}: {time.monotonic() - start:.0f} s", flush=True)
        rows = table(outcomes, seconds)
        save_results(options.out, rows, f"{COMMAND} {words(options)}")
    for row in rows:
        print(*row.values(), sep="\t")


def arms(task: Task, budget_minutes: float) -> Iterator[tuple[str, Mosaic, dict[str, float]]]:
    """Yield what adapting keeps, and what it chose from: name, method, seconds by step."""
    base, slices = Mosaic(), few_of(task.few, task.truth)
    grid = settings_grid(base)
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        found = adapt(slices, base, scratch, budget_minutes=budget_minutes)
        print(found.verdict)
        yield "kept", found.method, found.seconds
        yield "tuned settings", found.tuned, {}
        scores = objective(all_metrics(task.few, grid), task.truth)
        yield "tuned settings, steps cost nothing", grid.settings[int(scores.mean(axis=0).argmax())], {}
        if budget_minutes > 0:
            method = found.method
            if found.winner.name != FINE_TUNED:
                budget = Budget(budget_minutes / RUNS, 1)
                network = fine_tuned(task.few, task.truth, base, budget, scratch / "anyway", seed=0)
                method = Mosaic(weights=f"{network}")
            yield "fine-tuned network", method, {}


def judge(arm: str, method: Mosaic, task: Task) -> list[Outcome]:
    """Return what a method is worth on the other slices, next to the shipped one."""
    base = settings_grid(Mosaic())._replace(settings=(Mosaic(),))
    before = all_metrics(task.others, base)[:, 0]
    after = all_metrics(task.others, base._replace(settings=(method,)))[:, 0]
    pairs = zip(task.others, before.tolist(), after.tolist(), strict=True)
    return [Outcome(task.data, arm, task.source, case, tuple(b), tuple(a)) for case, b, a in pairs]


def table(outcomes: Sequence[Outcome], seconds: Sequence[dict[str, float]]) -> list[dict[str, object]]:
    """Return one row for each data set, arm and source, and one for each arm over all sources."""
    rows = []
    for data, arm in dict.fromkeys((one.data, one.arm) for one in outcomes):
        of_arm = [one for one in outcomes if (one.data, one.arm) == (data, arm)]
        sources = dict.fromkeys(one.source for one in of_arm)
        rows += [row_of(data, arm, name, [one for one in of_arm if one.source == name]) for name in sources]
        rows.append(row_of(data, arm, "all", of_arm))
    longest = {step: max(took.get(step, 0.0) for took in seconds) for step in ("settings", "fine-tuning")}
    times = {f"longest_{step}_s": f"{value:.1f}" for step, value in longest.items()}
    return [row | times for row in rows]


def row_of(data: str, arm: str, source: str, outcomes: Sequence[Outcome]) -> dict[str, object]:
    """Return means, and the gain's interval over resampled patients, or slices of the one patient."""
    before, after = (np.array([getattr(one, side) for one in outcomes]) for side in ("before", "after"))
    patients = [f"{one.target.patient}" for one in outcomes]
    groups = patients if len(set(patients)) > 1 else [one.target.name for one in outcomes]
    gains, (lows, highs), _ = cluster_means((after - before)[None], groups)
    row: dict[str, object] = {"data": data, "arm": arm, "source": source, "judged": len(outcomes)}
    for k, name in enumerate(SLICE_METRICS):
        means = (np.nanmean(side[:, k]) for side in (before, after))  # the Rand index needs two structures
        metrics = (*means, gains[0, k], lows[0, k], highs[0, k])
        labels = ("before", "after", "gain", "low", "high")
        row |= {f"{name}_{label}": f"{x:.4f}" for label, x in zip(labels, metrics, strict=True)}
    return row


def words(options: Options) -> str:
    return f"--shots {options.shots} --budget-minutes {options.budget_minutes:g}"


if __name__ == "__main__":
    main()
