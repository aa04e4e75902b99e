"""BAM as a method: structures named by support slices, over those that another method finds unnamed.

Stands above the rooms of the methods, which know nothing of each other: their results meet here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fewct.errors import UsageError
from fewct.imaging.labelmap import Cleanup, clean
from fewct.methods.mosaic import Mosaic
from fewct.types import CTSlice, Image, Labels, SliceSegmentation

FITS = (-7.0, 1.5)
"""A region fits at worst and at best so well. Not in bam's `regions`: settings must load nothing heavy."""
OVERLAP = 0.5  # an unnamed structure with a larger share of its pixels under named ones goes


@dataclass(frozen=True)
class BAM:
    """Find the structures of a few labelled slices, by their ids, on any number of new slices.

    BAM (https://doi.org/10.1109/CVPR52688.2022.00789) looks for one structure at a time: what the supports
    show, weighted by how alike their style is, less what its base learner knows to be something else. It
    knows better where a structure is than where it ends, so that mosaic's regions lend their outlines: a
    structure is the region that fits it best, if one does, and those that BAM is all but sure of. Ids are
    those of the supports, on every slice; scores are the mean probability in a structure. With `over`,
    structures that another method finds fill the rest; their ids follow the largest id of the supports.

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
    over: Literal["none", "mosaic"] = "none"
    """Method whose structures, without names, fill what is not named."""
    outlines: Literal["mosaic", "pixels"] = "mosaic"
    """mosaic: structures consist of regions that mosaic finds; pixels: BAM alone draws it, as in the
    paper, and a pixel that several structures claim goes to the most likely one."""
    least_fit: float = 0.85
    """With outlines of mosaic: how well a region must fit, 1.5 at most; what fits less is not there."""
    threshold: float = 0.5
    """With outlines of pixels: probability, in [0, 1], from which a pixel is of a structure."""
    cleanup: Cleanup = field(default_factory=lambda: Cleanup(min_area="0.03%", body_only=True))

    def __post_init__(self) -> None:
        for setting, low, high in (("threshold", 0, 1), ("least_fit", *FITS)):
            if not low <= getattr(self, setting) <= high:
                raise UsageError(
                    setting,
                    expected=f"a number in [{low:g}, {high:g}]",
                    found=f"{getattr(self, setting)}",
                    fix="Leave it out for the default.",
                )

    @property
    def weights_sha256(self) -> str:
        """Hashes of the networks and of the supports, and of the weights of what lies under them."""
        from fewct.methods.bam.inference import weights_sha256
        from fewct.methods.bam.supports import supports_sha256

        parts = [weights_sha256(self._weights_folder()), supports_sha256(self.support)]
        if self._asks_mosaic:
            parts.append(f"{Mosaic().weights_sha256}")
        return "+".join(parts)

    def segment(self, image: CTSlice) -> SliceSegmentation:
        """Find the supports' structures on one slice.

        Raises:
            UsageError: If no supports are named.
            InputError: If weights are absent, damaged or of another network; supports are absent, have no
                labels or labels of another shape; or no support shows a structure that is wanted.
        """
        from fewct.methods.bam.inference import fitting_regions, likely_structures
        from fewct.methods.bam.supports import read_supports, support_ids

        weights = self._weights_folder()
        supports = read_supports(self.support)
        known = support_ids(supports)
        ids = support_ids(supports, self.structures)
        unnamed = Mosaic().segment(image) if self._asks_mosaic else None
        if unnamed is None or self.outlines == "pixels":
            claims = claims_of_pixels(likely_structures(image, self.support, ids, weights), self.threshold)
        else:
            found = fitting_regions(image, self.support, ids, weights, unnamed.labels, self.least_fit)
            claims = claims_of_regions(unnamed.labels, found)
        labels, scores = named_labels(claims, ids, image, self.cleanup)
        named = SliceSegmentation(labels, _by_id(labels, scores, known[-1]), named=known[-1])
        return named if unnamed is None or self.over == "none" else lay_over(named, unnamed)

    @property
    def _asks_mosaic(self) -> bool:
        return "mosaic" in (self.outlines, self.over)

    def _weights_folder(self) -> Path:
        from fewct.methods.bam.inference import WEIGHTS

        return Path(self.weights) if self.weights else WEIGHTS


class Claims(NamedTuple):
    """Which of some structures a pixel belongs to.

    Args:
        ranks: int32 (rows, columns): the i-th structure is i + 1, 0 for none.
        likely: float32 (rows, columns): how likely that is.
    """

    ranks: Labels
    likely: Image


def claims_of_pixels(maps: Sequence[Image], threshold: float) -> Claims:
    """Return each pixel's most likely structure.

    Args:
        maps: float32 (rows, columns) for each structure, in [0, 1]: how likely a pixel is of it.
        threshold: Probability from which it is.
    """
    stack = np.stack(maps)
    best = stack.max(axis=0)
    return Claims(np.where(best >= threshold, stack.argmax(axis=0) + 1, 0).astype(np.int32), best)


def claims_of_regions(regions: Labels, found: Sequence[Mapping[int, float]]) -> Claims:
    """Return each pixel's structure, which is its region's.

    Args:
        regions: int32 (rows, columns), 0 for the rest.
        found: For each structure how likely it is in each of its regions; no two have the same region.
    """
    ranks = np.zeros(int(regions.max(initial=0)) + 1, dtype=np.int32)
    likely = np.zeros(len(ranks), dtype=np.float32)
    for rank, its_regions in enumerate(found, start=1):
        for region, probability in its_regions.items():
            ranks[region], likely[region] = rank, probability
    return Claims(ranks[regions], likely[regions])


def named_labels(
    claims: Claims, ids: Sequence[int], image: CTSlice, cleanup: Cleanup
) -> tuple[Labels, Annotated[NDArray[np.float32], "n"]]:
    """Return a label map of structures by their ids.

    Args:
        claims: Which structure each pixel belongs to.
        ids: Of the structures, ascending.
        image: The slice.
        cleanup: Which structures stay.

    Returns:
        int32 (rows, columns), labelled with the ids; float32 (n,), the mean probabilities in the structures
        that stay, by ascending id.
    """
    cleaned, stay = clean(claims.ranks, image, cleanup, np.arange(len(ids)))
    numbers = np.array([0, *(ids[int(rank)] for rank in stay)], dtype=np.int32)
    counts = np.bincount(cleaned.ravel(), minlength=len(stay) + 1)[1:]
    sums = np.bincount(cleaned.ravel(), claims.likely.ravel(), minlength=len(stay) + 1)[1:]
    return numbers[cleaned], (sums / counts).astype(np.float32)


def lay_over(named: SliceSegmentation, unnamed: SliceSegmentation) -> SliceSegmentation:
    """Lay structures with names over those of another method, whose numbers then follow the largest id.

    An unnamed structure of which the named ones cover more than half is the same, and goes.

    Args:
        named: With `named` above 0.
        unnamed: Of the same slice.
    """
    covered = named.labels > 0
    areas = np.bincount(unnamed.labels.ravel(), minlength=len(unnamed.scores) + 1)
    left = np.bincount(unnamed.labels[~covered], minlength=len(areas))
    stays = np.flatnonzero(left[1:] >= np.maximum((1 - OVERLAP) * areas[1:], 1)) + 1
    numbers = np.zeros(len(areas), dtype=np.int32)
    numbers[stays] = named.named + 1 + np.arange(len(stays))
    labels = np.where(covered, named.labels, numbers[unnamed.labels]).astype(np.int32)
    return SliceSegmentation(
        labels, np.concatenate([named.scores, unnamed.scores[stays - 1]]), named=named.named
    )


def _by_id(
    labels: Labels, scores: Annotated[NDArray[np.float32], "n"], largest: int
) -> Annotated[NDArray[np.float32], "largest"]:
    """Return scores so that structure k has `[k - 1]`; NaN for ids that the slice lacks."""
    by_id = np.full(largest, np.nan, dtype=np.float32)
    by_id[np.unique(labels[labels > 0]) - 1] = scores
    return by_id
