"""A slice judges all settings at once as it would judge each of them alone."""

from dataclasses import replace

import numpy as np
import pytest

from adapt.conftest import make_case
from fewct.adapt.settings_search import SLICE_METRICS, objective, settings_grid, slice_metrics
from fewct.data.cases import LabelledCase
from fewct.errors import UsageError
from fewct.imaging.cleanup import Cleanup
from fewct.methods import Mosaic
from fewct.metrics import score
from fewct.types import CTSlice

BASE = Mosaic(boundary_source="gradients")


def by_hand(case: LabelledCase, method: Mosaic) -> list[float]:
    """Segment, then score: what `slice_metrics` must come to."""
    metrics = score(case.truth, method.load().segment(case.image).labels).as_dict()
    return [metrics[name] for name in SLICE_METRICS]


class TestSettingsToTry:
    def test_what_it_begins_with_comes_first_then_what_changes_least(self) -> None:
        settings, steps = settings_grid(BASE)
        assert settings[0] == BASE
        assert (np.diff(steps) >= 0).all()
        assert len(set(settings)) == len(settings) == len(steps)
        one_off = {k: settings[k] for k in np.flatnonzero(steps == 1)}
        assert replace(BASE, level=0.5) in one_off.values()
        assert replace(BASE, cleanup=replace(BASE.cleanup, max_area="40%")) in one_off.values()

    def test_steps_add_up_over_settings(self) -> None:
        settings, steps = settings_grid(BASE)
        moved = {
            replace(BASE, level=0.5): 1,
            replace(BASE, level=0.55): 2,
            replace(BASE, level=0.4, foreground_threshold=0.8): 2,
            replace(BASE, level=0.55, min_foreground=0.7, cleanup=replace(BASE.cleanup, max_area="20%")): 5,
        }
        assert {one: steps[settings.index(one)] for one in moved} == moved

    def test_values_of_its_own_are_among_them(self) -> None:
        base = Mosaic(level=0.33, cleanup=Cleanup("25px", "30%", body_only=True))
        settings, steps = settings_grid(base)
        assert settings[0] == base
        assert {one.level for one, step in zip(settings, steps, strict=True) if step == 1} == {
            0.3,
            0.33,
            0.35,
        }

    def test_all_else_stays(self) -> None:
        base = Mosaic(boundary_source="gradients", minima_depth=0.2, affinity_weight=0.1, min_region_mm2=5)
        for one in settings_grid(base).settings:
            assert (
                one.minima_depth,
                one.affinity_weight,
                one.min_region_mm2,
                one.boundary_source,
            ) == (0.2, 0.1, 5, "gradients")


class TestSliceMetrics:
    @pytest.mark.parametrize("body_only", [True, False])
    def test_as_segmenting_with_each_setting(self, body_only: bool) -> None:
        case = make_case(3)
        base = replace(BASE, cleanup=Cleanup("0.03%", body_only=body_only))
        settings = settings_grid(base).settings[::211]
        found = slice_metrics(BASE.load(), case.image, case.truth, settings)
        np.testing.assert_allclose(found, [by_hand(case, one) for one in settings], rtol=1e-12)
        assert len(np.unique(found[:, 1])) > 5

    def test_structures_that_reach_out_of_the_body(self) -> None:
        """Truth on air beside the patient counts as missed, and clipped regions by what is left."""
        case = make_case(1)
        truth = case.truth.copy()
        truth[:4] = 99
        settings = settings_grid(BASE).settings[:3]
        beside = replace(case, truth=truth)
        found = slice_metrics(BASE.load(), case.image, truth, settings)
        np.testing.assert_allclose(found, [by_hand(beside, one) for one in settings], rtol=1e-12)

    def test_a_slice_without_any_region(self) -> None:
        truth = np.eye(32, dtype=np.int32)
        found = slice_metrics(BASE.load(), CTSlice(np.full((32, 32), -1000.0), "hu"), truth, (BASE,))
        np.testing.assert_array_equal(found, [[np.nan, 0.0, 0.0]])

    def test_a_known_better_level_wins(self) -> None:
        """Truth is what mosaic finds at another level, so that level is perfect."""
        case = make_case(2)
        better = replace(BASE, level=0.1)
        truth = better.load().segment(case.image).labels
        settings = settings_grid(BASE).settings
        scores = objective(slice_metrics(BASE.load(), case.image, truth, settings), "complete")
        assert scores[settings.index(better)] == pytest.approx(1.0)
        assert scores[0] < 0.99

    def test_areas_in_mm2_need_a_spacing(self) -> None:
        image = CTSlice(make_case(0).image.pixels, "hu")
        method = replace(BASE, cleanup=Cleanup("20mm2"))
        with pytest.raises(UsageError, match="spacing"):
            slice_metrics(BASE.load(), image, make_case(0).truth, (method,))


def test_the_objective_leaves_out_what_partial_truth_cannot_tell() -> None:
    metrics = np.array([[0.3, 0.6, 0.9]])
    assert objective(metrics, "complete") == pytest.approx([0.6])
    assert objective(metrics, "partial") == pytest.approx([0.45])


def test_a_slice_with_one_structure_has_no_foreground_ari_and_the_objective_does_without() -> None:
    case = make_case(0)
    truth = (case.truth == case.truth.max()).astype(np.int32)
    metrics = slice_metrics(BASE.load(), case.image, truth, (BASE,))
    assert np.isnan(metrics).tolist() == [[True, False, False]]
    assert objective(metrics, "partial") == metrics[:, 1]
    assert objective(metrics, "complete") == pytest.approx(metrics[:, 1:].mean(axis=1))
