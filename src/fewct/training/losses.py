"""Losses that look only where something is known.

All take logits, targets in [0, 1] and weights of one shape; a weight of 0 marks what is not annotated.
"""

import torch
from torch import Tensor
from torch.nn import functional


def weighted_bce(logits: Tensor, target: Tensor, weight: Tensor, positive_weight: float = 1.0) -> Tensor:
    """Return the binary cross-entropy, averaged over the weights; 0 where nothing is known.

    Args:
        logits: float (...).
        target: float (...) in [0, 1].
        weight: float (...), 0 or more.
        positive_weight: How many negatives a positive counts for.
    """
    emphasis = weight * (1 + (positive_weight - 1) * target)
    losses = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (losses * emphasis).sum() / emphasis.sum().clamp_min(1.0)


def weighted_focal(logits: Tensor, target: Tensor, weight: Tensor, gamma: float = 2.0) -> Tensor:
    """Return the focal loss (10.1109/ICCV.2017.324), averaged over the weights.

    `FL = (1 - p_t)^gamma * BCE`, with `p_t` the probability of what is true.
    """
    losses = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    focus = (1 - torch.exp(-losses)) ** gamma
    return (focus * losses * weight).sum() / weight.sum().clamp_min(1.0)


def weighted_dice(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Return 1 minus the soft Dice coefficient of each example's known pixels, averaged over the examples.

    Args:
        logits: float (batch, ...).
        target: float (batch, ...) in [0, 1].
        weight: float (batch, ...), 0 or more. An example without known pixels counts as perfect.
    """
    likely = torch.sigmoid(logits) * weight
    true = target * weight
    dims = tuple(range(1, logits.ndim))
    overlap = (likely * target).sum(dims)
    total = likely.sum(dims) + true.sum(dims)
    return (1 - (2 * overlap + 1) / (total + 1)).mean()
