"""What is tried, what wins, and that no slice judges what it had a part in."""

import math
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fewct.adapt import adaptation
from fewct.adapt.adaptation import Budget, adapt, cross_fitted
from fewct.adapt.crossvalidation import FINE_TUNED, TUNED, UNCHANGED
from fewct.adapt.few_slices import few_of
from fewct.adapt.settings_search import SLICE_METRICS, SettingsGrid, settings_grid
from fewct.data.cases import LabelledCase
from fewct.methods import Mosaic
from fewct.methods.mosaic.network_maps import WEIGHTS

BASE = Mosaic(boundary_source="gradients")


@pytest.fixture
def few_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try two levels besides the first, so that tests are quick."""

    def grid(base: Mosaic) -> SettingsGrid:
        return SettingsGrid((base, replace(base, level=0.15), replace(base, level=0.8)), np.array([0, 1, 1]))

    monkeypatch.setattr(adaptation, "settings_grid", grid)


def as_level_finds(level: float, cases: Sequence[LabelledCase]) -> list[LabelledCase]:
    """Return cases whose truth is what mosaic finds at a level."""
    method = replace(BASE, level=level)
    return [replace(case, truth=method.load().segment(case.image).labels) for case in cases]


@pytest.mark.usefixtures("few_settings")
class TestSettings:
    def test_a_better_level_is_found_and_proven(
        self, people: tuple[LabelledCase, ...], tmp_path: Path
    ) -> None:
        found = adapt(few_of(as_level_finds(0.15, people), "complete"), BASE, tmp_path)
        assert found.winner.name == TUNED
        assert found.method == found.tuned == replace(BASE, level=0.15)
        assert found.winner.score == pytest.approx(1.0)
        assert found.winner.gain_low > 0
        assert found.verdict.startswith("Kept: tuned settings, a gain of")
        assert found.verdict.endswith("by resampling 5 patients.")

    def test_what_is_best_already_stays(self, people: tuple[LabelledCase, ...], tmp_path: Path) -> None:
        found = adapt(few_of(as_level_finds(BASE.level, people), "complete"), BASE, tmp_path)
        assert found.winner.name == UNCHANGED
        assert found.method == BASE
        assert found.verdict == "Nothing scores higher. Kept: unchanged."

    def test_one_slice_proves_nothing(self, people: tuple[LabelledCase, ...], tmp_path: Path) -> None:
        found = adapt(few_of(as_level_finds(0.15, people[:1]), "complete"), BASE, tmp_path, budget_minutes=1)
        assert found.method == BASE
        assert found.tuned.level == 0.15  # told, not kept
        assert math.isnan(found.winner.low)
        assert found.verdict.startswith("One slice is too little to tell")
        assert [one.name for one in found.candidates] == [UNCHANGED, TUNED]

    def test_four_patients_are_too_few(self, people: tuple[LabelledCase, ...], tmp_path: Path) -> None:
        few = few_of(as_level_finds(0.15, people[:4]), "complete")
        found = adapt(few, BASE, tmp_path, budget_minutes=1)
        assert not list(tmp_path.iterdir())  # nothing was trained
        assert found.method == BASE
        assert found.verdict == "4 patients are too little to tell, 5 are the fewest. Kept: unchanged."

    def test_one_patient_tells_of_itself(self, people: tuple[LabelledCase, ...], tmp_path: Path) -> None:
        cases = [replace(case, patient="same") for case in as_level_finds(0.15, people)]
        found = adapt(few_of(cases, "complete"), BASE, tmp_path)
        assert found.winner.name == TUNED
        assert "All slices are of one patient" in found.verdict

    def test_the_same_twice(self, people: tuple[LabelledCase, ...], tmp_path: Path) -> None:
        few = few_of(people, "partial")
        first, second = (adapt(few, BASE, tmp_path, seed=1) for _ in range(2))
        assert first.candidates == second.candidates

    def test_progress(self, people: tuple[LabelledCase, ...], tmp_path: Path) -> None:
        calls: list[tuple[str, int, int]] = []
        adapt(few_of(people[:2], "partial"), BASE, tmp_path, progress=lambda *words: calls.append(words))
        assert calls == [("settings", 1, 2), ("settings", 2, 2)]


def test_a_gain_that_may_be_chance_is_not_believed(
    people: tuple[LabelledCase, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another setting is better on most slices and worse on one."""
    gains = np.array([0.3, 0.3, 0.3, 0.3, -0.4])
    metrics = np.stack([np.full((5, 3), 0.5), np.repeat(0.5 + gains[:, None], 3, axis=1)], axis=1)
    monkeypatch.setattr(adaptation, "all_metrics", lambda *_: metrics)
    monkeypatch.setattr(
        adaptation,
        "settings_grid",
        lambda base: SettingsGrid((base, replace(base, level=0.8)), np.array([0, 1])),
    )
    found = adapt(few_of(people, "complete"), BASE, tmp_path)
    assert found.winner.name == UNCHANGED
    # one draw in 3125 is five times the worst slice, 20 more four times it: (0.3 - 4 * 0.4) / 5
    assert "tuned settings, a gain of 0.160, 95 % interval -0.260 to 0.300, which holds 0" in found.verdict


class TestFineTuning:
    @pytest.fixture
    def learnt(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
        """Stand in for training: tell who learnt from whom, and copy the network."""
        names: dict[str, list[str]] = {}

        def fine_tuned(cases: Sequence[LabelledCase], *args: object) -> Path:
            folder = args[3]
            assert isinstance(folder, Path)
            names[folder.name] = [case.name for case in cases]
            folder.mkdir()
            for suffix in ("", ".sha256"):
                shutil.copy(f"{WEIGHTS}{suffix}", folder / f"{WEIGHTS.name}{suffix}")
            return folder / WEIGHTS.name

        monkeypatch.setattr(adaptation, "fine_tuned", fine_tuned)
        return names

    def test_no_network_judges_what_it_or_its_patient_taught(
        self,
        people: tuple[LabelledCase, ...],
        learnt: dict[str, list[str]],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        first, second, third, fourth, _ = people
        few = few_of([first, second, third, replace(fourth, patient=first.patient)], "partial")
        judged: dict[str, list[str]] = {}

        def all_metrics(cases: Sequence[LabelledCase], grid: SettingsGrid) -> np.ndarray:
            judged[Path(grid.settings[0].weights).parent.name] = [case.name for case in cases]
            return np.zeros((len(cases), len(grid.settings), len(SLICE_METRICS)))

        monkeypatch.setattr(adaptation, "all_metrics", all_metrics)
        cross_fitted(few, Mosaic(), settings_grid(Mosaic()), Budget(1, 4), tmp_path, 0)
        patient_of = {case.name: case.patient for case in few.cases}
        assert sorted(name for names in judged.values() for name in names) == sorted(patient_of)
        assert len(learnt) == 3
        for fold, names in judged.items():
            assert not {patient_of[n] for n in names} & {patient_of[n] for n in learnt[fold]}
            assert sorted(names + learnt[fold]) == sorted(patient_of)

    def test_the_best_network_is_trained_on_all(
        self,
        people: tuple[LabelledCase, ...],
        learnt: dict[str, list[str]],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def all_metrics(cases: Sequence[LabelledCase], grid: SettingsGrid, *_: object) -> np.ndarray:
            value = 0.9 if grid.settings[0].weights else 0.5
            return np.full((len(cases), len(grid.settings), len(SLICE_METRICS)), value)

        monkeypatch.setattr(adaptation, "all_metrics", all_metrics)
        found = adapt(few_of(people, "partial"), Mosaic(), tmp_path, budget_minutes=1)
        assert found.winner.name == FINE_TUNED
        assert found.winner.gain == pytest.approx(0.4)
        assert learnt["all"] == [case.name for case in people]
        assert found.method == Mosaic(weights=f"{tmp_path / 'all' / WEIGHTS.name}")
        assert "fine-tuning" in found.seconds


class TestBudget:
    def test_all_runs_together_fit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        now = 100.0
        monkeypatch.setattr("time.monotonic", lambda: now)
        budget = Budget(8.0, runs=4)
        spent = []
        for _ in range(4):
            spent.append(budget.minutes_for_next())
            now += 60 * spent[-1] / 0.75  # training, and a third of that for the rest
        assert spent == pytest.approx([1.5] * 4)
        assert budget.elapsed_s == pytest.approx(8 * 60)

    def test_a_slow_run_takes_from_the_others(self, monkeypatch: pytest.MonkeyPatch) -> None:
        now = 0.0
        monkeypatch.setattr("time.monotonic", lambda: now)
        budget = Budget(4.0, runs=2)
        budget.minutes_for_next()
        now = 180.0
        assert budget.minutes_for_next() == pytest.approx(0.75)
        now = 999.0
        assert 0 < budget.minutes_for_next() < 0.02
