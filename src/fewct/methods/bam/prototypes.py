"""Baselines that BAM is compared with: a prototype with a threshold, and the region nearest to it."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from fewct.types import Image, Labels, Mask

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


def region_means(
    features: Float32[NDArray[np.float32], "channels rows columns"], regions: Labels
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the ids of regions, int64 (n,), and their mean features, float64 (n, channels).

    Args:
        features: On the regions' grid.
        regions: int32 (rows, columns), 0 for the rest.
    """
    ids, rank = np.unique(regions, return_inverse=True)
    rank = rank.ravel()
    sums = np.stack([np.bincount(rank, channel.ravel(), len(ids)) for channel in features], axis=1)
    means = sums / np.bincount(rank)[:, None]
    return ids[ids > 0].astype(np.int64), means[ids > 0]


def nearest_region(
    features: Float32[NDArray[np.float32], "channels rows columns"],
    regions: Labels,
    prototype: Float32[NDArray[np.float32], " channels"],
) -> int:
    """Return the id of the region whose mean features are most similar to a prototype; 0 where there is none.

    Args:
        features: On the regions' grid.
        regions: int32 (rows, columns): such as the label map that mosaic gives, 0 for the rest.
        prototype: A structure's mean features.
    """
    ids, means = region_means(features, regions)
    if len(ids) == 0:
        return 0
    cosines = means @ prototype / np.maximum(np.linalg.norm(means, axis=1), 1e-12)
    return int(ids[np.argmax(cosines)])
