"""The regions of a merge tree that are structures: at a level, and after splits and merges by hand."""

from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from fewct.errors import UsageError
from fewct.imaging.cleanup import Cleanup, clean
from fewct.imaging.merge_tree import nodes_at_level, paint, persistence
from fewct.types import CTSlice, Image, Labels, Mask, MergeTree


@dataclass(frozen=True, eq=False)
class RegionTree:
    """A merge tree with what decides which of its regions are structures.

    Args:
        tree: The merge tree.
        image: The slice.
        body: bool (rows, columns): the patient.
        foreground: float32 (rows, columns) in [0, 1]: probability that a pixel belongs to a structure.
        min_foreground: Mean of `foreground` below which a whole region is background.
        cleanup: Which regions stay as structures.
    """

    tree: MergeTree
    image: CTSlice
    body: Mask
    foreground: Image
    min_foreground: float
    cleanup: Cleanup

    def cut(self, level: float) -> "RegionCut":
        """Return the structures at a level: all merges below it are done.

        The score of a structure is its persistence: how far the level may move until it merges.

        Raises:
            UsageError: If `level` is outside [0, 1].
        """
        nodes = nodes_at_level(self.tree, level)
        regions, scores = paint(self.tree, nodes), persistence(self.tree)[np.unique(nodes)]
        areas = np.bincount(regions.ravel())
        means = np.bincount(regions.ravel(), self.foreground.ravel()) / np.maximum(areas, 1)
        certain = np.where(means >= self.min_foreground, np.arange(len(areas)), 0).astype(np.int32)[regions]
        labels, kept_scores = clean(certain, self.image, self.cleanup, scores, self.body)
        ids = np.zeros(self.tree.n_leaves + 1, dtype=np.int32)
        ids[self.tree.leaves[labels > 0]] = labels[labels > 0]
        return RegionCut(self, labels, kept_scores, ids[1:])

    def labels_of(self, ids: NDArray[np.int32]) -> Labels:
        """Return the label map in which each leaf has its id, clipped to the body as `cleanup` asks."""
        labels = np.concatenate([np.zeros(1, np.int32), ids])[self.tree.leaves]
        return np.where(self.body, labels, np.int32(0)) if self.cleanup.body_only else labels

    def leaves_below(self, node: int) -> Annotated[NDArray[np.bool_], "leaves"]:
        """Tell which leaves a node was merged from."""
        below = np.zeros(len(self.tree.parents), dtype=np.bool_)
        below[node] = True
        for child in range(node - 1, -1, -1):  # a merge comes after its parts
            below[child] = below[self.tree.parents[child]]
        return below[: self.tree.n_leaves]

    def nodes_within(self, leaves: Annotated[NDArray[np.bool_], "leaves"]) -> list[int]:
        """Return the largest nodes that consist of some leaves only; together they hold all of these."""
        parents = self.tree.parents
        missing = np.zeros(len(parents), dtype=np.int64)
        missing[: len(leaves)] = ~leaves
        for node, parent in enumerate(parents[:-1].tolist()):
            missing[parent] += missing[node]
        whole = missing == 0
        is_root = parents == np.arange(len(parents))
        return np.flatnonzero(whole & (is_root | ~whole[parents])).tolist()


@dataclass(frozen=True, eq=False)
class RegionCut:
    """The structures that a merge tree was cut into, which can be cut anew, split and merged.

    Args:
        regions: The merge tree.
        labels: int32 (rows, columns): structures by id, 0 for the rest.
        scores: float32 (n,): score of structure k at `[k - 1]`; NaN for those without.
        ids: int32 (leaves,): structure of each leaf of the tree, 0 for background.
    """

    regions: RegionTree
    labels: Labels
    scores: Annotated[NDArray[np.float32], "n"]
    ids: Annotated[NDArray[np.int32], "leaves"]

    def n_regions(self, structure: int) -> int:
        """Return how many leaves of the tree a structure consists of; one leaf cannot be split."""
        return int(np.count_nonzero(self._leaves_of(structure)))

    def at_level(self, level: float) -> "RegionCut":
        """Return the structures at another level; see `RegionTree.cut`."""
        return self.regions.cut(level)

    def split(self, structure: int) -> "RegionCut":
        """Return the cut with one structure split: into what `merge` joined, else at its last merge.

        The largest part keeps the id; others get the next free ones. Scores are the persistence of parts.

        Raises:
            UsageError: If there is no such structure, or it is one leaf of the tree.
        """
        parts = self.regions.nodes_within(self._leaves_of(structure))
        while len(visible := [part for part in parts if self._pixels_of(part)]) < 2:
            parents = self.regions.tree.parents
            parts = [child for child in np.flatnonzero(parents == visible[0]).tolist() if child != visible[0]]
            if not parts:
                raise UsageError(
                    "structure",
                    expected="one of several regions of the merge tree",
                    found=f"{structure}, which is a single region",
                    fix="Segment with a lower min_region_mm2 or minima_depth to have finer regions.",
                )
        visible.sort(key=self._pixels_of, reverse=True)
        new_ids = [structure, *range(len(self.scores) + 1, len(self.scores) + len(visible))]
        ids, scores = self.ids.copy(), np.append(self.scores, np.zeros(len(visible) - 1, np.float32))
        for part, new_id in zip(visible, new_ids, strict=True):
            ids[self.regions.leaves_below(part)] = new_id
            scores[new_id - 1] = persistence(self.regions.tree)[part]
        return self._with(ids, scores)

    def merge(self, first: int, second: int) -> "RegionCut":
        """Return the cut with two structures as one, which has the first one's id and no score.

        Raises:
            UsageError: If there is no structure of one of the ids, or they are the same.
        """
        self._leaves_of(first)
        if first == second:
            raise UsageError(
                "structures", expected="two", found=f"{first} twice", fix="Name two different ids."
            )
        ids, scores = np.where(self._leaves_of(second), np.int32(first), self.ids), self.scores.copy()
        scores[[first - 1, second - 1]] = np.nan
        return self._with(ids, scores)

    def _with(self, ids: NDArray[np.int32], scores: NDArray[np.float32]) -> "RegionCut":
        return replace(self, labels=self.regions.labels_of(ids), scores=scores, ids=ids)

    def _leaves_of(self, structure: int) -> Annotated[NDArray[np.bool_], "leaves"]:
        leaves: NDArray[np.bool_] = self.ids == structure
        if structure < 1 or not leaves.any():
            raise UsageError(
                "structure",
                expected="the id of a structure of this result",
                found=f"{structure}",
                fix="Take an id from result.structures.",
            )
        return leaves

    def _pixels_of(self, node: int) -> int:
        """Return how many pixels of the label map a node holds."""
        return int(np.count_nonzero(self.regions.labels_of(self.regions.leaves_below(node).astype(np.int32))))
