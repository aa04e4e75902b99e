"""The counting of masks in benchmarks/everything_modes.py."""

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from fewct.imaging.masks import proposals_from_masks
from fewct.types import MaskProposals

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import everything_modes
    finally:
        sys.path.remove(str(BENCHMARKS))
    return everything_modes


def squares(*sides: int) -> MaskProposals:
    """Return masks of squares in the corner of a slice."""
    masks = np.zeros((len(sides), 12, 12), bool)
    for mask, side in zip(masks, sides, strict=True):
        mask[:side, :side] = True
    return proposals_from_masks(masks, np.ones(len(sides)))


def test_best_overlap_of_each_mask(script: ModuleType) -> None:
    assert script.best_overlaps(squares(10, 2, 4), squares(4, 9)).tolist() == [0.81, 0.25, 1.0]
    assert script.best_overlaps(squares(3), squares()).tolist() == [0.0]
    assert script.best_overlaps(squares(), squares(3)).tolist() == []


def test_share_of_masks_that_are_found(script: ModuleType) -> None:
    shares = script.shares_found(squares(10, 2, 4, 8), squares(4, 9))
    assert shares == {"found_0.98": 0.25, "found_0.75": 0.75}  # 64 / 81 is 0.79
    assert np.isnan(script.shares_found(squares(), squares(4))["found_0.75"])


def test_differences_are_those_from_exact_on_the_same_slices(script: ModuleType) -> None:
    values = [({"masks": 4.0}, {"masks": 3.0}), ({"masks": 8.0}, {"masks": 4.0})]
    exact, fast = script.rows_of("made", values, ["a", "a"])
    assert (exact["mode"], exact["mean"], exact["difference"]) == ("exact", "6.0000", "0.0000")
    assert (fast["mode"], fast["mean"], fast["difference"]) == ("fast", "3.5000", "-2.5000")
    assert (fast["n_slices"], fast["n_groups"], fast["difference_low"]) == (2, 1, "")


def test_slices_are_spread_evenly(script: ModuleType) -> None:
    assert script.spread(list(range(10)), 2) == [2, 7]
    assert script.spread([3, 4], 5) == [3, 4]
