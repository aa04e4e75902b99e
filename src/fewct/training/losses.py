"""Losses over the annotated pixels of partial labels.

All take logits, targets in [0, 1] and weights of one shape; a weight of 0 marks a pixel without annotation.
"""

import torch
from torch import Tensor
from torch.nn import functional


def weighted_bce(logits: Tensor, target: Tensor, weight: Tensor, positive_weight: float = 1.0) -> Tensor:
    """Return the binary cross-entropy, averaged over the weights; 0 where they are all 0.

    Args:
        logits: float (...).
        target: float (...) in [0, 1].
        weight: float (...), 0 or more.
        positive_weight: Factor of the weight of positive pixels.
    """
    emphasis = weight * (1 + (positive_weight - 1) * target)
    losses = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (losses * emphasis).sum() / emphasis.sum().clamp_min(1.0)


def weighted_dice(logits: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Return 1 minus the soft Dice coefficient of each example's annotated pixels, averaged over examples.

    Args:
        logits: float (batch, ...).
        target: float (batch, ...) in [0, 1].
        weight: float (batch, ...), 0 or more. The loss of an example of weight 0 is 0.
    """
    probability = torch.sigmoid(logits) * weight
    true = target * weight
    dims = tuple(range(1, logits.ndim))
    overlap = (probability * target).sum(dims)
    total = probability.sum(dims) + true.sum(dims)
    return (1 - (2 * overlap + 1) / (total + 1)).mean()
