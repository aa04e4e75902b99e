"""Matching of unnamed regions to the structures of the supports.

BAM locates a structure better than it draws its outline; regions of another method have outlines. A region
is scored for a structure by the similarity of deep features, place and size, and by BAM's mean probability in
it; an assignment of one region to each structure maximises the sum.
"""

from typing import Annotated, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from fewct.types import Image, Labels

MERGE_PROBABILITY = 0.7
"""Mean probability from which a further region is merged into a structure. Chosen on the patients of val."""
PROBABILITY_WEIGHT, DISTANCE_WEIGHT, AREA_WEIGHT = 0.5, 0.5, 0.1
"""Weights beside the cosine of deep features, in [-1, 1]: of the mean probability in the region; of the
squared distance of centroids, where the body is 2 wide; of the difference of log areas. Chosen on base
structures of patients of val."""


class SupportFeatures(NamedTuple):
    """Features of a structure, averaged over the supports that show it.

    Args:
        deep: float64 (channels,): mean deep features.
        place: float64 (2,): mean x and y in the patient's box, from -1 to 1.
        log_area: Mean logarithm of its area on the network's square, in px.
    """

    deep: Annotated[NDArray[np.float64], "channels"]
    place: Annotated[NDArray[np.float64], "2"]
    log_area: float


class RegionFeatures(NamedTuple):
    """Features of the regions of a slice.

    Args:
        ids: int64 (regions,): ascending.
        deep: float64 (regions, channels): their mean deep features.
        places: float64 (regions, 2): their mean x and y in the patient's box, from -1 to 1.
        log_areas: float64 (regions,): logarithms of their areas on the network's square, in px.
    """

    ids: Annotated[NDArray[np.int64], "regions"]
    deep: Annotated[NDArray[np.float64], "regions channels"]
    places: Annotated[NDArray[np.float64], "regions 2"]
    log_areas: Annotated[NDArray[np.float64], "regions"]


def support_features(
    deep: Annotated[NDArray[np.float32], "supports channels rows columns"],
    place: Annotated[NDArray[np.float32], "supports 2 rows2 columns2"],
    masks: Annotated[NDArray[np.float32], "supports side side"],
) -> SupportFeatures:
    """Return the features of a structure, averaged over supports.

    Args:
        deep: Their deep features.
        place: x and y of each cell of a grid in the patient's box.
        masks: In [0, 1], as `square_mask` gives: the structure, on a finer grid; none of them empty.
    """
    labels = (masks > masks.max(axis=(1, 2), keepdims=True) / 2).astype(np.int32)
    means = [region_means(features, mask)[1][0] for features, mask in zip(deep, labels, strict=True)]
    places = [region_means(where, mask)[1][0] for where, mask in zip(place, labels, strict=True)]
    areas = labels.sum(axis=(1, 2))
    return SupportFeatures(np.mean(means, axis=0), np.mean(places, axis=0), float(np.log(areas).mean()))


def region_features(
    regions: Labels,
    deep: Annotated[NDArray[np.float32], "channels rows columns"],
    place: Annotated[NDArray[np.float32], "2 rows2 columns2"],
) -> RegionFeatures:
    """Return the features of regions.

    Args:
        regions: int32 (side, side): on the network's square, 0 for the rest.
        deep: Deep features of the slice.
        place: As for `support_features`.
    """
    ids, means = region_means(deep, regions)
    return RegionFeatures(
        ids, means, region_means(place, regions)[1], np.log(np.bincount(regions.ravel())[ids])
    )


def mean_in_regions(regions: Labels, values: Image) -> Annotated[NDArray[np.float64], "regions"]:
    """Return the mean of a map in each region, by ascending id.

    Args:
        regions: int32 (side, side), 0 for the rest.
        values: float32 (side, side).
    """
    counts = np.bincount(regions.ravel())
    sums = np.bincount(regions.ravel(), values.ravel())
    present = np.flatnonzero(counts[1:]) + 1
    means: NDArray[np.float64] = sums[present] / counts[present]
    return means


def match_scores(
    regions: RegionFeatures,
    probability: Annotated[NDArray[np.float64], "regions"],
    structure: SupportFeatures,
) -> Annotated[NDArray[np.float64], "regions"]:
    """Return the match score of each region for a structure, at most 1.5.

    Args:
        regions: Of the slice.
        probability: Mean probability of the structure in each region.
        structure: Of the supports.
    """
    distance = ((regions.places - structure.place) ** 2).sum(axis=1)
    area = np.abs(regions.log_areas - structure.log_area)
    similar = cosines(regions.deep, structure.deep)
    similar = similar + PROBABILITY_WEIGHT * probability
    score: NDArray[np.float64] = similar - DISTANCE_WEIGHT * distance - AREA_WEIGHT * area
    return score


def match_regions(
    scores: Annotated[NDArray[np.float64], "structures regions"], min_match: float
) -> Annotated[NDArray[np.int64], "structures"]:
    """Assign one region to each structure so that the sum of match scores is highest.

    Args:
        scores: Match score of each region for each structure.
        min_match: Lowest score of a match.

    Returns:
        int64 (structures,): index of its region, which is no other structure's; -1 without a match.
    """
    chosen = np.full(len(scores), -1, dtype=np.int64)
    gains = np.maximum(scores - min_match, 0.0)
    for structure, region in zip(*linear_sum_assignment(gains, maximize=True), strict=True):
        if gains[structure, region] > 0:
            chosen[structure] = region
    return chosen


def merge_regions(
    chosen: Annotated[NDArray[np.int64], "structures"],
    probability: Annotated[NDArray[np.float64], "structures regions"],
) -> Annotated[NDArray[np.int64], "regions"]:
    """Return the structure of each region; regions of high probability join a structure that has one.

    Mosaic cuts some structures into several regions, such as a stomach into its content and air.

    Args:
        chosen: From `match_regions`.
        probability: Mean probability of each structure in each region.

    Returns:
        int64 (regions,): index of its structure, -1 for none.
    """
    best = probability.argmax(axis=0)
    joins = (probability.max(axis=0) >= MERGE_PROBABILITY) & (chosen[best] >= 0)
    owners = np.where(joins, best, -1)
    matched = np.flatnonzero(chosen >= 0)
    owners[chosen[matched]] = matched
    return owners


def region_means(
    features: Annotated[NDArray[np.float32], "channels rows columns"], regions: Labels
) -> tuple[Annotated[NDArray[np.int64], "n"], Annotated[NDArray[np.float64], "n channels"]]:
    """Return the ids of regions and their mean features.

    Args:
        features: On a grid as fine as the regions' or coarser; a pixel has those of the cell it lies in.
        regions: int32 (side, side), 0 for the rest.
    """
    rows, columns = (
        np.arange(fine) * coarse // fine
        for fine, coarse in zip(regions.shape, features.shape[1:], strict=True)
    )
    cell = rows[:, None] * features.shape[2] + columns
    n_cells = features.shape[1] * features.shape[2]
    present = np.bincount(regions.ravel()) > 0
    ids, rank = np.flatnonzero(present), np.cumsum(present) - 1
    counts = np.bincount((rank[regions] * n_cells + cell).ravel(), minlength=len(ids) * n_cells)
    counts = counts.reshape(len(ids), n_cells)
    sums = counts.astype(np.float64) @ features.reshape(len(features), n_cells).T.astype(np.float64)
    means: NDArray[np.float64] = sums / counts.sum(axis=1, keepdims=True)
    return ids[ids > 0].astype(np.int64), means[ids > 0]


def cosines(
    means: Annotated[NDArray[np.float64], "n channels"], prototype: NDArray[np.floating]
) -> Annotated[NDArray[np.float64], "n"]:
    """Return the cosine similarity of each mean with a prototype, 0 where one of them is 0."""
    lengths = np.linalg.norm(means, axis=1) * np.linalg.norm(prototype)
    similarity: NDArray[np.float64] = means @ prototype / np.maximum(lengths, 1e-12)
    return similarity
