"""Baselines that BAM is compared with: a prototype with a threshold, and the region nearest to one."""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from fewct.methods.bam.region_matching import cosines, region_means
from fewct.types import Image, Labels, Mask

THRESHOLDS = tuple(np.linspace(0.3, 0.98, 35).tolist())


def cosine_map(features: Tensor, prototype: Tensor) -> Tensor:
    """Return the cosine similarity of each place with a prototype, (rows, columns) in [-1, 1].

    Args:
        features: float (channels, rows, columns).
        prototype: float (channels,), as `fewct.methods.bam.feature_matching.prototype` gives it.
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


def nearest_region(
    features: Annotated[NDArray[np.float32], "channels rows columns"],
    regions: Labels,
    prototype: Annotated[NDArray[np.float32], "channels"],
) -> int:
    """Return the id of the region whose mean features are most similar to a prototype; 0 where there is none.

    Args:
        features: As for `region_means`.
        regions: int32 (side, side): such as the label map that mosaic gives, 0 for the rest.
        prototype: A structure's mean features.
    """
    ids, means = region_means(features, regions)
    return int(ids[np.argmax(cosines(means, prototype))]) if len(ids) else 0
