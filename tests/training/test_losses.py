"""Losses against values counted by hand, and blind to what is not known."""

import math

import pytest
import torch

from fewct.training.losses import weighted_bce, weighted_dice

LOSSES = [weighted_bce, weighted_dice]


def test_bce_is_the_weighted_mean() -> None:
    logits = torch.tensor([[0.0, 0.0]])
    target = torch.tensor([[1.0, 0.0]])
    assert float(weighted_bce(logits, target, torch.ones(1, 2))) == pytest.approx(math.log(2))
    logits = torch.tensor([[0.0, math.log(3)]])  # costs log 2 and log 4
    expected = (3 * math.log(2) + math.log(4)) / 4
    assert float(weighted_bce(logits, target, torch.ones(1, 2), positive_weight=3)) == pytest.approx(expected)


def test_dice_of_certain_answers() -> None:
    target = torch.tensor([[1.0, 1.0, 0.0, 0.0]])
    certain = 100 * (2 * target - 1)
    assert float(weighted_dice(certain, target, torch.ones(1, 4))) == pytest.approx(0)
    assert float(weighted_dice(-certain, target, torch.ones(1, 4))) == pytest.approx(1 - 1 / 5)


@pytest.mark.parametrize("loss", LOSSES)
def test_what_is_not_known_does_not_count(loss: object) -> None:
    assert callable(loss)
    torch.manual_seed(0)
    logits, target, weight = torch.randn(2, 6, 6), torch.rand(2, 6, 6).round(), torch.rand(2, 6, 6).round()
    changed = torch.where(weight > 0, logits, logits + 9)
    flipped = torch.where(weight > 0, target, 1 - target)
    assert float(loss(logits, target, weight)) == pytest.approx(
        float(loss(changed, flipped, weight)), rel=1e-5
    )
    assert float(loss(logits, target, torch.zeros(2, 6, 6))) == pytest.approx(0, abs=1e-6)
