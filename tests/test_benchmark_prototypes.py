"""The baselines of benchmarks/prototypes.py: a threshold on cosines, and the nearest region."""

import runpy
from pathlib import Path

import numpy as np
import torch

SCRIPT = runpy.run_path(str(Path(__file__).resolve().parents[1] / "benchmarks" / "prototypes.py"))


def test_cosines() -> None:
    features = torch.tensor([[[1.0, 0.0, -2.0]], [[0.0, 3.0, 0.0]]])
    assert SCRIPT["cosine_map"](features, torch.tensor([1.0, 0.0])).tolist() == [[1.0, 0.0, -1.0]]


def test_threshold_with_the_highest_mean_dice() -> None:
    maps = [np.array([[0.9, 0.7, 0.2]], dtype=np.float32), np.array([[0.8, 0.6, 0.5]], dtype=np.float32)]
    targets = [np.array([[True, True, False]]), np.array([[True, False, False]])]
    # at 0.65: both right; at 0.55: 1 and 2/3; at 0.85: 2/3 and 0
    assert SCRIPT["best_threshold"](maps, targets, (0.55, 0.65, 0.85)) == 0.65


def test_dice_by_hand() -> None:
    assert SCRIPT["dice"](np.array([[True, True, False]]), np.array([[True, False, False]])) == 2 / 3
    assert np.isnan(SCRIPT["dice"](np.zeros((1, 1), bool), np.zeros((1, 1), bool)))


def test_nearest_region_by_direction_not_by_length() -> None:
    features = np.array([[[9.0, 1, 0]], [[9.0, 0, 1]]], dtype=np.float32)
    regions = np.array([[4, 2, 7]], dtype=np.int32)
    assert SCRIPT["nearest_region"](features, regions, np.array([0.1, 0.1], dtype=np.float32)) == 4
    assert SCRIPT["nearest_region"](features, regions, np.array([5.0, 0.1], dtype=np.float32)) == 2
    nothing = np.zeros((2, 2), np.int32)
    assert SCRIPT["nearest_region"](np.ones((1, 2, 2), np.float32), nothing, np.ones(1, "f4")) == 0
