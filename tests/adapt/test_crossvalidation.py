"""Settings are chosen without what they are judged on, and believed only where a gain is proven."""

import math

import numpy as np
import pytest

from fewct.adapt.crossvalidation import (
    FINE_TUNED,
    TUNED,
    UNCHANGED,
    Candidate,
    choose,
    choose_leave_group_out,
    compare,
    winner,
)
from fewct.adapt.settings_search import SLICE_METRICS

STEPS = np.array([0, 1, 1, 4])


def candidate(name: str, score: float, low: float) -> Candidate:
    return Candidate(name, score, math.nan, math.nan, score, low, 1.0, {})


class TestChoose:
    def test_by_brute_force(self) -> None:
        rng = np.random.default_rng(0)
        for _ in range(20):
            scores = rng.uniform(size=(rng.integers(1, 6), 4))
            worth = [
                sum(row[k] for row in scores) / len(scores) - 0.02 / len(scores) * STEPS[k] for k in range(4)
            ]
            assert choose(scores, STEPS) == worth.index(max(worth))

    def test_of_equals_the_nearest(self) -> None:
        assert choose(np.ones((3, 4)), STEPS) == 0
        assert choose(np.array([[0.0, 0.5, 0.5, 0.5]]), STEPS) == 1


class TestHeldOutChoices:
    def test_no_slice_is_judged_by_what_its_patient_chose(self) -> None:
        """Setting k is perfect for patient k and bad for all others, so nobody may get his own."""
        groups = np.array([0, 0, 1, 2, 2, 2])
        scores = (groups[:, None] == np.arange(3)).astype(float)
        found = choose_leave_group_out(scores, np.zeros(3, dtype=np.int64), groups)
        assert (found != groups).all()
        assert len(set(found[groups == 2])) == 1

    def test_scores_of_a_patient_do_not_change_what_he_gets(self) -> None:
        rng = np.random.default_rng(1)
        groups = np.array([0, 1, 1, 2])
        scores = rng.uniform(size=(4, 4))
        before = choose_leave_group_out(scores, STEPS, groups)
        for group in range(3):
            changed = scores.copy()
            changed[groups == group] = rng.uniform(size=changed[groups == group].shape) * 9
            after = choose_leave_group_out(changed, STEPS, groups)
            np.testing.assert_array_equal(after[groups == group], before[groups == group])

    def test_one_group_leaves_nothing_to_choose_on(self) -> None:
        assert choose_leave_group_out(np.array([[0.0, 1.0, 0.0, 0.0]]), STEPS, np.array([0])).tolist() == [0]


class TestCompare:
    def test_means_and_gains_by_hand(self) -> None:
        shipped = np.array([[0.2, 0.4, 0.6], [0.4, 0.4, 0.4], [0.0, 0.3, 0.0]])
        tuned = shipped + np.array([[0.3, 0.3, 0.3], [0.1, 0.1, 0.1], [0.2, 0.2, 0.2]])
        first, second = compare({UNCHANGED: shipped, TUNED: tuned}, np.arange(3), "complete", seed=0)
        assert first.score == pytest.approx(0.3)
        assert (first.gain, first.gain_low, first.gain_high) == (0, 0, 0)
        assert second.gain == pytest.approx(0.2)
        assert 0.099 < second.gain_low < 0.2 < second.gain_high < 0.301
        assert second.metrics == pytest.approx(dict(zip(SLICE_METRICS, (0.4, 17 / 30, 8 / 15), strict=True)))

    def test_one_group_has_no_interval(self) -> None:
        only = compare({UNCHANGED: np.full((2, 3), 0.5)}, np.zeros(2, dtype=np.int64), "partial", seed=0)[0]
        assert only.score == 0.5
        assert math.isnan(only.low)
        assert math.isnan(only.gain_high)


class TestWinner:
    def test_the_best_of_those_that_are_proven(self) -> None:
        all_three = [
            candidate(UNCHANGED, 0.5, 0),
            candidate(TUNED, 0.6, 0.01),
            candidate(FINE_TUNED, 0.7, -0.1),
        ]
        assert winner(all_three, 5).name == TUNED
        assert winner([*all_three[:2], candidate(FINE_TUNED, 0.7, 0.1)], 5).name == FINE_TUNED

    def test_nothing_is_proven(self) -> None:
        assert winner([candidate(UNCHANGED, 0.5, 0), candidate(TUNED, 0.6, 0.0)], 9).name == UNCHANGED
        assert winner([candidate(UNCHANGED, 0.5, 0), candidate(TUNED, 0.6, math.nan)], 1).name == UNCHANGED

    def test_four_groups_are_too_few(self) -> None:
        both = [candidate(UNCHANGED, 0.5, 0), candidate(TUNED, 0.6, 0.05)]
        assert winner(both, 4).name == UNCHANGED
        assert winner(both, 5).name == TUNED
