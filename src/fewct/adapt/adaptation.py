"""Adapting `mosaic` to a few labelled slices: tune, fine-tune, cross-validate, choose."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from fewct.adapt.crossvalidation import (
    FEWEST,
    FINE_TUNED,
    TUNED,
    UNCHANGED,
    Candidate,
    choose,
    choose_leave_group_out,
    compare,
    winner,
)
from fewct.adapt.few_slices import FewSlices
from fewct.adapt.settings_search import SLICE_METRICS, SettingsGrid, objective, settings_grid, slice_metrics
from fewct.data.cases import LabelledCase
from fewct.methods import Mosaic
from fewct.metrics.catalog import TruthKind
from fewct.runtime.threads import thread_count

AllMetrics = Annotated[NDArray[np.float64], "slices settings metrics"]
Progress = Callable[[str, int, int], None]

MOST_FOLDS = 3  # of fine-tuning, which costs minutes
TRAINING_SHARE = 0.75  # of the time budget; the rest is for export and for segmenting what was held out
SHORTEST_MINUTES = 1 / 60
GROUPS = {"patient": "patients", "similarity": "groups of similar slices", "slice": "slices"}


@dataclass(frozen=True, eq=False)
class Adaptation:
    """The result of adapting.

    Args:
        candidates: "unchanged" first, then what was tried, each scored by cross-validation.
        winner: The candidate that is kept.
        method: `mosaic` with the settings and weights that are kept.
        tuned: The settings that all slices together choose, kept or not.
        few: The slices it was adapted to.
        seconds: Wall-clock time by step.
    """

    candidates: tuple[Candidate, ...]
    winner: Candidate
    method: Mosaic
    tuned: Mosaic
    few: FewSlices
    seconds: dict[str, float]

    @property
    def verdict(self) -> str:
        """What is proven, in a sentence or two."""
        verdict = _verdict(self.candidates, self.winner, self.few)
        if self.few.grouped_by == "slice" and len(self.few.cases) > 1:
            verdict += (
                " All slices are of one patient, or look alike: this tells of other slices of that patient"
                " and little of others."
            )
        return verdict


def adapt(
    few: FewSlices,
    base: Mosaic,
    scratch: Path,
    *,
    budget_minutes: float = 0.0,
    seed: int = 0,
    progress: Progress | None = None,
) -> Adaptation:
    """Tune settings on a few labelled slices, fine-tune the network, and judge both by cross-validation.

    A slice is never scored with settings or a network that it, or its patient, was used to choose or train.

    Args:
        few: The slices.
        base: Settings and network to begin with.
        scratch: Empty folder for networks while they are trained.
        budget_minutes: Time for fine-tuning, its cross-validation included; 0 for settings only. Below
            `FEWEST` groups no network is trained.
        seed: Of resampling and training.
        progress: Called with (name, slices done, all slices).

    Raises:
        InputError: If the weights are absent, damaged or of another network.
        OutputError: If a file cannot be written.
    """
    start = time.monotonic()
    grid = settings_grid(base)
    metrics = all_metrics(few.cases, grid, progress)
    scores = objective(metrics, few.truth)
    slices = np.arange(len(few.cases))
    held_out = {
        UNCHANGED: metrics[:, 0],
        TUNED: metrics[slices, choose_leave_group_out(scores, grid.steps, few.groups)],
    }
    tuned = grid.settings[choose(scores, grid.steps)]
    seconds = {"settings": time.monotonic() - start}
    scoring_minutes = seconds["settings"] / 60  # scoring the networks on all slices will take as long
    budget = Budget(budget_minutes - scoring_minutes, runs=1 + min(MOST_FOLDS, few.n_groups))
    if budget_minutes > 0 and few.n_groups >= FEWEST:
        metrics = cross_fitted(few, base, grid, budget, scratch, seed)
        scores = objective(metrics, few.truth)
        held_out[FINE_TUNED] = metrics[slices, choose_leave_group_out(scores, grid.steps, few.groups)]
    candidates = compare(held_out, few.groups, few.truth, seed)
    best = winner(candidates, few.n_groups)
    method = tuned if best.name == TUNED else base
    if best.name == FINE_TUNED:
        network = fine_tuned(few.cases, few.truth, base, budget, scratch / "all", seed)
        method = replace(grid.settings[choose(scores, grid.steps)], weights=f"{network}")
    if FINE_TUNED in held_out:
        seconds["fine-tuning"] = budget.elapsed_s
    return Adaptation(tuple(candidates), best, method, tuned, few, seconds)


def cross_fitted(
    few: FewSlices, base: Mosaic, grid: SettingsGrid, budget: "Budget", scratch: Path, seed: int
) -> AllMetrics:
    """Return the metrics of each slice for each setting, with a network trained without the slice's group."""
    folds = few.groups % min(MOST_FOLDS, few.n_groups)
    metrics = np.full((len(few.cases), len(grid.settings), len(SLICE_METRICS)), np.nan)
    for fold in np.unique(folds).tolist():
        others = [case for case, k in zip(few.cases, folds, strict=True) if k != fold]
        network = fine_tuned(others, few.truth, base, budget, scratch / f"{fold}", seed)
        settings = tuple(replace(one, weights=f"{network}") for one in grid.settings)
        held_out = tuple(case for case, k in zip(few.cases, folds, strict=True) if k == fold)
        metrics[folds == fold] = all_metrics(held_out, SettingsGrid(settings, grid.steps))
    return metrics


def fine_tuned(
    cases: Sequence[LabelledCase], truth: TruthKind, base: Mosaic, budget: "Budget", folder: Path, seed: int
) -> Path:
    """Train the network of `base` further on some slices, for its share of the time; return the new file."""
    from fewct.adapt.finetune import FineTuning, example_mix, fine_tune

    folder.mkdir()
    settings = FineTuning(budget_minutes=budget.minutes_for_next(), seed=seed)
    segmenter = base.load()
    assert segmenter.network is not None
    sources = [example_mix(cases, segmenter, complete=truth == "complete")]
    return fine_tune(segmenter.network.path, sources, settings, folder)


class Budget:
    """Minutes that a number of trainings, `runs`, share."""

    def __init__(self, minutes: float, runs: int) -> None:
        self._minutes = minutes
        self._runs = runs
        self._start = time.monotonic()

    @property
    def elapsed_s(self) -> float:
        """Seconds since it was made."""
        return time.monotonic() - self._start

    def minutes_for_next(self) -> float:
        """Return how long the next training may take, so that enough is left for the others."""
        left = max(0.0, self._minutes - self.elapsed_s / 60)
        share = TRAINING_SHARE * left / max(1, self._runs)
        self._runs -= 1
        return max(share, SHORTEST_MINUTES)


def all_metrics(
    cases: Sequence[LabelledCase], grid: SettingsGrid, progress: Progress | None = None
) -> AllMetrics:
    """Return the metrics of each slice for each setting; slices are shared among threads."""
    rows, segmenter = [], grid.settings[0].load()
    with ThreadPoolExecutor(thread_count()) as pool:
        work = pool.map(lambda case: slice_metrics(segmenter, case.image, case.truth, grid.settings), cases)
        for number, metrics in enumerate(work, start=1):
            rows.append(metrics)
            if progress is not None:
                progress("settings", number, len(cases))
    return np.stack(rows)


def _verdict(candidates: tuple[Candidate, ...], best: Candidate, few: FewSlices) -> str:
    """Return what the candidates' gains prove, as a sentence."""
    groups = f"{few.n_groups} {GROUPS[few.grouped_by]}"
    if len(few.cases) == 1:
        return "One slice is too little to tell: there is no other to judge on. Kept: unchanged."
    if few.n_groups < FEWEST:
        return f"{groups} are too little to tell, {FEWEST} are the fewest. Kept: unchanged."
    if best is not candidates[0]:
        return f"Kept: {best.name}, a gain of {_gain(best)}, by resampling {groups}."
    most = max(candidates[1:], key=lambda one: one.gain)
    if most.gain <= 0:
        return "Nothing scores higher. Kept: unchanged."
    return f"Too little to tell: {most.name}, a gain of {_gain(most)}, which holds 0. Kept: unchanged."


def _gain(one: Candidate) -> str:
    return f"{one.gain:.3f}, 95 % interval {one.gain_low:.3f} to {one.gain_high:.3f}"
