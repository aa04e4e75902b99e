"""What adapting to a few slices of one patient gains on others: python benchmarks/adapt.py.

Each val patient with slices of weak contrast is the source in turn. `fewct adapt` gets 5 of these slices, or
all there are, and the other patients' slices tell what that was worth. Next to what is kept stand what it had
to choose from: tuned settings, the same without the price of a step (see `STEP_PRICE`), and the fine-tuned
network, whether or not cross-validation believed in it.
"""

import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from fewct.adapt.adaptation import Budget, adapt, all_figures, fine_tuned
from fewct.adapt.crossvalidation import FINE_TUNED
from fewct.adapt.settings import FIGURES, objective, settings_to_try
from fewct.adapt.slices import few_of
from fewct.benchmark.data import Case, parse_data, read_cases
from fewct.benchmark.summary import cluster_means, draw_groups
from fewct.errors import FewctWarning
from fewct.methods import Mosaic
from fewct.threads import thread_count
from organs import DATA
from results_io import RESULTS, machine, save_results

COMMAND = "python benchmarks/adapt.py"
RUNS = 4  # of fine-tuning in a budget: three folds and all


@dataclass(frozen=True)
class Options:
    """Adapt to a few slices of one patient, and measure on others."""

    shots: int = 5
    """Labelled slices of the source; all it has if these are fewer."""
    draws: int = 1
    """Draws of slices from each source, each with another seed."""
    budget_minutes: float = 5.0
    """Time for fine-tuning; 0 for settings only."""
    out: Path = RESULTS / "adapt.csv"
    """Table to write."""


@dataclass(frozen=True)
class Outcome:
    """Foreground ARI and mean best IoU on one slice, before and after adapting to another patient."""

    arm: str
    source: str
    draw: int
    target: Case
    before: tuple[float, float]
    after: tuple[float, float]


def main() -> None:
    options = tyro.cli(Options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FewctWarning)  # two patients have no slices of weak contrast
        cases = list(read_cases(parse_data(f"{DATA}/btcv/val:dense", "partial", 1)))
    print(machine(), f"{thread_count()} threads", sep="\n")
    outcomes: list[Outcome] = []
    seconds: list[dict[str, float]] = []
    for source in sorted({f"{case.patient}" for case in cases}):
        own = [case for case in cases if case.patient == source]
        others = [case for case in cases if case.patient != source]
        for draw in range(options.draws):
            chosen = np.random.default_rng(draw).permutation(len(own))[: options.shots]
            start = time.monotonic()
            for arm, method, took in arms([own[k] for k in chosen], options, draw):
                seconds.append(took)
                outcomes += judge(arm, method, source, draw, others)
            print(f"{source}, draw {draw}: {time.monotonic() - start:.0f} s", flush=True)
            rows = table(outcomes, seconds)
            save_results(options.out, rows, f"{COMMAND} {words(options)}")
    for row in rows:
        print(*row.values(), sep="\t")


def arms(few: Sequence[Case], options: Options, seed: int) -> Iterator[tuple[str, Mosaic, dict[str, float]]]:
    """Yield what adapting keeps, and what it chose from: name, method, seconds by step."""
    base, slices = Mosaic(), few_of(few, "partial")
    tried = settings_to_try(base)
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        found = adapt(slices, base, scratch, budget_minutes=options.budget_minutes, seed=seed)
        print(found.verdict)
        yield "kept", found.method, found.seconds
        yield "tuned settings", found.tuned, {}
        scores = objective(all_figures(few, tried), slices.truth)
        yield "tuned settings, steps cost nothing", tried.settings[int(scores.mean(axis=0).argmax())], {}
        if options.budget_minutes > 0:
            method = found.method
            if found.winner.name != FINE_TUNED:
                budget = Budget(options.budget_minutes / RUNS, 1)
                network = fine_tuned(few, slices.truth, base, budget, scratch / "anyway", seed)
                method = Mosaic(weights=f"{network}")
            yield "fine-tuned network", method, {}


def judge(arm: str, method: Mosaic, source: str, draw: int, others: Sequence[Case]) -> list[Outcome]:
    """Return what a method is worth on slices of other patients, next to the shipped one."""
    base = settings_to_try(Mosaic())._replace(settings=(Mosaic(),))
    before = all_figures(others, base)[:, 0]
    after = all_figures(others, base._replace(settings=(method,)))[:, 0]
    pairs = zip(others, before.tolist(), after.tolist(), strict=True)
    return [Outcome(arm, source, draw, case, (b[0], b[1]), (a[0], a[1])) for case, b, a in pairs]


def table(outcomes: Sequence[Outcome], seconds: Sequence[dict[str, float]]) -> list[dict[str, object]]:
    """Return one row for each arm, source and draw, and one for each arm over all."""
    rows = []
    for arm in dict.fromkeys(one.arm for one in outcomes):
        of_arm = [one for one in outcomes if one.arm == arm]
        for source, draw in dict.fromkeys((one.source, one.draw) for one in of_arm):
            of_run = [one for one in of_arm if (one.source, one.draw) == (source, draw)]
            rows.append(row_of(arm, source, f"{draw}", of_run))
        rows.append(row_of(arm, "all", "all", of_arm))
    longest = {step: max(took.get(step, 0.0) for took in seconds) for step in ("settings", "fine-tuning")}
    times = {f"longest_{step}_s": f"{value:.1f}" for step, value in longest.items()}
    return [row | times for row in rows]


def row_of(arm: str, source: str, draw: str, outcomes: Sequence[Outcome]) -> dict[str, object]:
    """Return means, and the gain's interval over resampled patients that were judged on."""
    before, after = (np.array([getattr(one, side) for one in outcomes]) for side in ("before", "after"))
    names, groups = np.unique([f"{one.target.patient}" for one in outcomes], return_inverse=True)
    gains, (lows, highs), _ = cluster_means((after - before)[None], groups, draw_groups(len(names), seed=0))
    row: dict[str, object] = {"arm": arm, "source": source, "draw": draw, "judged": len(outcomes)}
    for k, name in enumerate(FIGURES[:2]):
        figures = (before[:, k].mean(), after[:, k].mean(), gains[0, k], lows[0, k], highs[0, k])
        labels = ("before", "after", "gain", "low", "high")
        row |= {f"{name}_{label}": f"{x:.4f}" for label, x in zip(labels, figures, strict=True)}
    return row


def words(options: Options) -> str:
    return f"--shots {options.shots} --draws {options.draws} --budget-minutes {options.budget_minutes:g}"


if __name__ == "__main__":
    main()
