"""A baseline that BAM is compared with: a prototype with a threshold on the similarity to it."""

from collections.abc import Sequence

import numpy as np
from torch import Tensor
from torch.nn import functional

from fewct.types import Image, Mask

THRESHOLDS = tuple(np.linspace(0.3, 0.98, 35).tolist())


def cosine_map(features: Tensor, prototype: Tensor) -> Tensor:
    """Return the cosine similarity of each place with a prototype, (rows, columns) in [-1, 1].

    Args:
        features: float (channels, rows, columns).
        prototype: float (channels,), as `fewct.methods.bam.matching.prototype` gives it.
    """
    return functional.cosine_similarity(features, prototype[:, None, None], dim=0)


def best_threshold(
    maps: Sequence[Image], targets: Sequence[Mask], thresholds: Sequence[float] = THRESHOLDS
) -> float:
    """Return the threshold with the highest mean Dice over training episodes, the lowest of equals.

    Args:
        maps: float32 (rows, columns) each: similarity with the prototype of the episode.
        targets: bool (rows, columns) each: the structure; none of them empty.
        thresholds: What to choose from, ascending.
    """
    means = [
        np.mean([dice(found >= threshold, target) for found, target in zip(maps, targets, strict=True)])
        for threshold in thresholds
    ]
    return thresholds[int(np.argmax(means))]


def dice(found: Mask, truth: Mask) -> float:
    """Return the Dice coefficient of two masks; NaN if both are empty."""
    total = int(found.sum()) + int(truth.sum())
    return 2 * int((found & truth).sum()) / total if total else float("nan")
