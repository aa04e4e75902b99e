"""Which region of a label map without names is the structure that supports show.

Where a structure is, BAM's features tell better than its outline. Regions have outlines; they compete for a
structure by what their features, place and size have in common with it, and by how likely BAM finds it there.
"""

from typing import Annotated, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from fewct.types import Image, Labels

SURE = 0.7
"""A further region joins a structure that is so likely there on the mean. Chosen on the patients of val."""
LIKELY, AWAY, OTHER_SIZE = 0.5, 0.5, 0.1
"""What counts beside the cosine of deep features, in [-1, 1]: the mean probability in the region; what a
squared unit of distance costs, where the body is 2 wide; what a factor e between the areas costs. Chosen on
base structures of patients of val."""


class SupportFeatures(NamedTuple):
    """What supports tell of a structure, each support counting alike.

    Args:
        deep: float64 (channels,): mean deep features.
        place: float64 (2,): mean x and y in the patient's box, from -1 to 1.
        log_area: Mean logarithm of its area on the network's square, in px.
    """

    deep: Annotated[NDArray[np.float64], "channels"]
    place: Annotated[NDArray[np.float64], "2"]
    log_area: float


class RegionFeatures(NamedTuple):
    """What tells regions of a slice apart.

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
    """Return what supports tell of a structure.

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
    """Return what tells regions apart.

    Args:
        regions: int32 (side, side): on the network's square, 0 for the rest.
        deep: Deep features of the slice.
        place: As for `shown`.
    """
    ids, means = region_means(deep, regions)
    return RegionFeatures(
        ids, means, region_means(place, regions)[1], np.log(np.bincount(regions.ravel())[ids])
    )


def mean_in_regions(regions: Labels, likely: Image) -> Annotated[NDArray[np.float64], "regions"]:
    """Return the mean of a map in each region, by ascending id.

    Args:
        regions: int32 (side, side), 0 for the rest.
        likely: float32 (side, side).
    """
    counts = np.bincount(regions.ravel())
    sums = np.bincount(regions.ravel(), likely.ravel())
    present = np.flatnonzero(counts[1:]) + 1
    means: NDArray[np.float64] = sums[present] / counts[present]
    return means


def match_scores(
    regions: RegionFeatures, likely: Annotated[NDArray[np.float64], "regions"], structure: SupportFeatures
) -> Annotated[NDArray[np.float64], "regions"]:
    """Return how well each region fits a structure: 1.5 if nothing could fit better.

    Args:
        regions: Of the slice.
        likely: How likely BAM finds the structure in each.
        structure: What to look for.
    """
    away = ((regions.places - structure.place) ** 2).sum(axis=1)
    other_size = np.abs(regions.log_areas - structure.log_area)
    similar = cosines(regions.deep, structure.deep)
    fit: NDArray[np.float64] = similar + LIKELY * likely - AWAY * away - OTHER_SIZE * other_size
    return fit


def match_regions(
    values: Annotated[NDArray[np.float64], "structures regions"], least: float
) -> Annotated[NDArray[np.int64], "structures"]:
    """Return the region of each structure, so that the fits sum up to the most.

    Args:
        values: How well each region fits each structure.
        least: How well a region must fit at least.

    Returns:
        int64 (structures,): index of its region, which is no other structure's; -1 where none fits.
    """
    chosen = np.full(len(values), -1, dtype=np.int64)
    gains = np.maximum(values - least, 0.0)
    for structure, region in zip(*linear_sum_assignment(gains, maximize=True), strict=True):
        if gains[structure, region] > 0:
            chosen[structure] = region
    return chosen


def merge_regions(
    chosen: Annotated[NDArray[np.int64], "structures"],
    likely: Annotated[NDArray[np.float64], "structures regions"],
) -> Annotated[NDArray[np.int64], "regions"]:
    """Return the structure of each region: what BAM is all but sure of joins a structure that has a region.

    Mosaic cuts some structures into several regions, such as a stomach into what fills it and air.

    Args:
        chosen: As `assign` returns.
        likely: How likely BAM finds each structure in each region.

    Returns:
        int64 (regions,): index of its structure, -1 for none.
    """
    best = likely.argmax(axis=0)
    joins = (likely.max(axis=0) >= SURE) & (chosen[best] >= 0)
    owners = np.where(joins, best, -1)
    found = np.flatnonzero(chosen >= 0)
    owners[chosen[found]] = found
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


def cosines(
    means: Annotated[NDArray[np.float64], "n channels"], prototype: NDArray[np.floating]
) -> Annotated[NDArray[np.float64], "n"]:
    """Return the cosine similarity of each mean with a prototype, 0 where one of them is 0."""
    lengths = np.linalg.norm(means, axis=1) * np.linalg.norm(prototype)
    found: NDArray[np.float64] = means @ prototype / np.maximum(lengths, 1e-12)
    return found
