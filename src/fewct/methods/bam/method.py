"""BAM as a method: structures named by support slices, over those that `mosaic` finds without names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fewct.errors import check_literals, check_range
from fewct.imaging.cleanup import Cleanup, clean
from fewct.result import SliceSegmentation
from fewct.types import CTSlice, Image, Labels, Mask

if TYPE_CHECKING:
    from fewct.methods.bam.inference import BAMSegmenter

MATCH_RANGE = (-7.0, 1.5)
"""The lowest and highest match score of a region."""
OVERLAP = 0.5  # an unnamed structure with a larger share of its pixels under named ones goes


@dataclass(frozen=True)
class BAM:
    """Find the structures of a few labelled slices, by their ids, on any number of new slices.

    BAM (https://doi.org/10.1109/CVPR52688.2022.00789) predicts one structure at a time from the support
    slices that show it, weighted by the similarity of their style, less what its base learner knows to be
    something else. It knows better where a structure is than where it ends, so that regions of `mosaic` give
    the outlines: a structure is the region that matches it best, if one does, and those in which it is all
    but certain. Ids are those of the supports, on every slice; scores are the mean probability in a
    structure. With `fill_with`, structures of `mosaic` fill the rest; their ids follow the largest id of
    the supports.

    Raises:
        UsageError: If a setting is out of its range.
    """

    name: ClassVar[str] = "bam"
    summary: ClassVar[str] = "the structures that a few labelled slices show, named by their ids"

    support: str = ""
    """Folder of support slices: images/ and labels/, or NAME.png with NAME_labels.png, of any size."""
    weights: str = ""
    """Folder that `fewct train bam` or `fewct models export` wrote; the network that comes with fewct if left
    out."""
    structures: tuple[int, ...] = ()
    """Ids to find; none: all that the supports show."""
    fill_with: Literal["none", "mosaic"] = "none"
    """Method whose structures, without names, fill what is not named."""
    outlines_from: Literal["mosaic", "pixels"] = "mosaic"
    """mosaic: structures consist of regions that mosaic finds; pixels: BAM's probability map is thresholded,
    as in the paper, and a pixel of several structures goes to the most probable one."""
    min_match: float = 0.85
    """With outlines from mosaic: match score, in [-7, 1.5], that a region must reach; without such a region a
    structure is not on the slice."""
    threshold: float = 0.5
    """With outlines from pixels: probability, in [0, 1], from which a pixel belongs to a structure."""
    cleanup: Cleanup = field(default_factory=lambda: Cleanup(min_area="0.03%", body_only=True))

    def __post_init__(self) -> None:
        check_literals(self)
        check_range("threshold", self.threshold, 0, 1)
        check_range("min_match", self.min_match, *MATCH_RANGE)

    @property
    def uses_mosaic(self) -> bool:
        """Whether regions of `mosaic` take part."""
        return "mosaic" in (self.outlines_from, self.fill_with)

    def load(self) -> "BAMSegmenter":
        """Open the networks, and read and encode the supports.

        Raises:
            UsageError: If no supports are named.
            InputError: If weights are absent, damaged or of another network; supports are absent, have no
                labels or labels of another shape; or no support shows a structure that is wanted.
        """
        from fewct.methods.bam.inference import BAMSegmenter

        return BAMSegmenter.of(self)


class PixelAssignment(NamedTuple):
    """The structure of each pixel.

    Args:
        ranks: int32 (rows, columns): the i-th structure is i + 1, 0 for none.
        probability: float32 (rows, columns): of that structure.
    """

    ranks: Labels
    probability: Image


def assign_pixels(maps: Sequence[Image], threshold: float) -> PixelAssignment:
    """Assign each pixel to its most probable structure.

    Args:
        maps: float32 (rows, columns) in [0, 1]: probability map of each structure.
        threshold: Probability below which a pixel is background.
    """
    stack = np.stack(maps)
    best = stack.max(axis=0)
    return PixelAssignment(np.where(best >= threshold, stack.argmax(axis=0) + 1, 0).astype(np.int32), best)


def assign_regions(regions: Labels, matched: Sequence[Mapping[int, float]]) -> PixelAssignment:
    """Assign each pixel to the structure of its region.

    Args:
        regions: int32 (rows, columns), 0 for the rest.
        matched: For each structure its mean probability in each of its regions; no two share a region.
    """
    ranks = np.zeros(int(regions.max(initial=0)) + 1, dtype=np.int32)
    probabilities = np.zeros(len(ranks), dtype=np.float32)
    for rank, its_regions in enumerate(matched, start=1):
        for region, probability in its_regions.items():
            ranks[region], probabilities[region] = rank, probability
    return PixelAssignment(ranks[regions], probabilities[regions])


def named_labels(
    assignment: PixelAssignment,
    ids: Sequence[int],
    image: CTSlice,
    cleanup: Cleanup,
    body: Mask | None = None,
) -> tuple[Labels, Annotated[NDArray[np.float32], "n"]]:
    """Return a label map of structures by their ids.

    Args:
        assignment: The structure of each pixel.
        ids: Of the structures, ascending.
        image: The slice.
        cleanup: Which structures stay.
        body: As for `clean`.

    Returns:
        int32 (rows, columns), labelled with the ids; float32 (n,), the mean probabilities in the structures
        that stay, by ascending id.
    """
    cleaned, stay = clean(assignment.ranks, image, cleanup, np.arange(len(ids)), body)
    numbers = np.array([0, *(ids[int(rank)] for rank in stay)], dtype=np.int32)
    counts = np.bincount(cleaned.ravel(), minlength=len(stay) + 1)[1:]
    sums = np.bincount(cleaned.ravel(), assignment.probability.ravel(), minlength=len(stay) + 1)[1:]
    return numbers[cleaned], (sums / counts).astype(np.float32)


def overlay_named(named: SliceSegmentation, unnamed: SliceSegmentation) -> SliceSegmentation:
    """Lay structures with fixed ids over those of another method, whose numbers then follow the largest id.

    An unnamed structure of which the named ones cover more than half is the same, and goes.

    Args:
        named: With fixed ids.
        unnamed: Of the same slice.
    """
    covered = named.labels > 0
    areas = np.bincount(unnamed.labels.ravel(), minlength=len(unnamed.scores) + 1)
    left = np.bincount(unnamed.labels[~covered], minlength=len(areas))
    stays = np.flatnonzero(left[1:] >= np.maximum((1 - OVERLAP) * areas[1:], 1)) + 1
    numbers = np.zeros(len(areas), dtype=np.int32)
    numbers[stays] = named.n_fixed_ids + 1 + np.arange(len(stays))
    labels = np.where(covered, named.labels, numbers[unnamed.labels]).astype(np.int32)
    return SliceSegmentation(
        labels, np.concatenate([named.scores, unnamed.scores[stays - 1]]), n_fixed_ids=named.n_fixed_ids
    )


def scores_by_id(
    labels: Labels, scores: Annotated[NDArray[np.float32], "n"], largest: int
) -> Annotated[NDArray[np.float32], "largest"]:
    """Return scores so that structure k has `[k - 1]`; NaN for ids that the slice lacks."""
    by_id = np.full(largest, np.nan, dtype=np.float32)
    by_id[np.unique(labels[labels > 0]) - 1] = scores
    return by_id
