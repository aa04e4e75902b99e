"""The baseline: a threshold on cosines."""

import numpy as np
import torch

from fewct.methods.bam.feature_matching import best_threshold, cosine_map, dice


def test_cosines() -> None:
    features = torch.tensor([[[1.0, 0.0, -2.0]], [[0.0, 3.0, 0.0]]])
    assert cosine_map(features, torch.tensor([1.0, 0.0])).tolist() == [[1.0, 0.0, -1.0]]


def test_threshold_with_the_highest_mean_dice() -> None:
    maps = [np.array([[0.9, 0.7, 0.2]], dtype=np.float32), np.array([[0.8, 0.6, 0.5]], dtype=np.float32)]
    targets = [np.array([[True, True, False]]), np.array([[True, False, False]])]
    # at 0.65: both right; at 0.55: 1 and 2/3; at 0.85: 2/3 and 0
    assert best_threshold(maps, targets, (0.55, 0.65, 0.85)) == 0.65


def test_dice_by_hand() -> None:
    assert dice(np.array([[True, True, False]]), np.array([[True, False, False]])) == 2 / 3
    assert np.isnan(dice(np.zeros((1, 1), bool), np.zeros((1, 1), bool)))
