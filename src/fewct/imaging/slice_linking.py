"""Link the structures of neighbouring slices into structures of a scan."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fewct.errors import InputError, UsageError, as_labels, check_same_shape
from fewct.types import Labels


@dataclass(frozen=True)
class Linking:
    """When two structures on neighbouring slices are the same.

    Raises:
        UsageError: If `min_iou` does not lie above 0 and up to 1.
    """

    min_iou: float = 0.3
    """Link two structures on neighbouring slices from this intersection over union on; above 0, up to 1."""

    def __post_init__(self) -> None:
        if not 0 < self.min_iou <= 1:
            raise UsageError(
                "min_iou",
                expected="a number above 0, up to 1",
                found=str(self.min_iou),
                fix="0.3 is the default.",
            )


@dataclass(frozen=True)
class Link:
    """A structure that goes on from one slice to the next.

    Args:
        id: Its id on both slices.
        quality: Intersection over union of its two cross-sections, in (0, 1].
    """

    id: int
    quality: float


@dataclass(frozen=True, eq=False)
class LinkedSlice:
    """A slice whose structures have their ids for the whole scan.

    Args:
        labels: int32 (rows, columns), final ids.
        ids: int64 (n,): the final id of each structure, in the order of the ids it had before.
        links: The structures that go on from the slice before, by id.
        next_id: First id that no slice so far has.
    """

    labels: Labels
    ids: Annotated[NDArray[np.int64], "n"]
    links: tuple[Link, ...]
    next_id: int

    @property
    def qualities(self) -> Annotated[NDArray[np.float32], "largest_id"]:
        """Quality of each link by final id, so that structure k has `[k - 1]`; NaN where there is none."""
        by_id = np.full(self.next_id - 1, np.nan, dtype=np.float32)
        by_id[[link.id - 1 for link in self.links]] = [link.quality for link in self.links]
        return by_id

    def scores(self, scores: ArrayLike) -> Annotated[NDArray[np.float32], "largest_id"]:
        """Return the slice's scores by final id: structure k has `[k - 1]`; NaN for ids of other slices.

        Args:
            scores: One for each structure of the slice, in the order of the ids it had before.

        Raises:
            InputError: If there is not one score a structure.
        """
        values = np.asarray(scores, dtype=np.float32)
        if values.shape != self.ids.shape:
            raise InputError(
                "scores",
                expected=f"one score a structure, shape {self.ids.shape}",
                found=f"shape {values.shape}",
                fix="Number the structures of the slice 1 .. n and pass n scores.",
            )
        by_id = np.full(self.next_id - 1, np.nan, dtype=np.float32)
        by_id[self.ids - 1] = values
        return by_id


def link_slices(previous: Labels, current: Labels, next_id: int, linking: Linking) -> LinkedSlice:
    """Give the structures of a slice the ids of those they continue on the slice before.

    Pairs are linked from the highest intersection over union down, one to one. Where a structure splits or
    several merge, the best pair goes on and the others start anew. The numbers on `current` play no part:
    ties go to the structure whose first pixel comes first. Only two slices are ever needed, so a scan can be
    streamed, and resumed from its last finished slice.

    Args:
        previous: int32 (rows, columns), the slice before with its final ids; zeros before the first one.
        current: int32 (rows, columns), ids of any kind.
        next_id: First id that no slice so far has. New structures get it and those that follow it, by
            their first pixel.
        linking: When two structures are the same.

    Returns:
        `current` with its final ids, and the links.

    Raises:
        InputError: If either is no label map or their shapes differ.

    Example:
        >>> before = np.array([[4, 4, 0, 0]], dtype=np.int32)
        >>> now = np.array([[2, 2, 0, 1]], dtype=np.int32)
        >>> linked = link_slices(before, now, next_id=5, linking=Linking())
        >>> linked.labels.tolist(), linked.links, linked.ids.tolist()
        ([[4, 4, 0, 5]], (Link(id=4, quality=1.0),), [5, 4])
    """
    check_same_shape(previous, current, ("previous slice", "current slice"))
    previous_ids, before = _by_first_pixel(as_labels(previous))
    current_ids, now = _by_first_pixel(as_labels(current))
    final = np.zeros(len(current_ids), dtype=np.int64)
    links = []
    for p, c, iou in _best_pairs(before, now, linking.min_iou):
        final[c] = previous_ids[p]
        links.append(Link(int(previous_ids[p]), iou))
    new = np.flatnonzero(final[1:] == 0) + 1
    final[new] = next_id + np.arange(len(new))
    return LinkedSlice(
        labels=final[now].reshape(current.shape).astype(np.int32),
        ids=final[1:][np.argsort(current_ids[1:])],
        links=tuple(sorted(links, key=lambda link: link.id)),
        next_id=next_id + len(new),
    )


def link_with_fixed_ids(
    previous: Labels, current: Labels, next_id: int, linking: Linking, n_fixed_ids: int
) -> LinkedSlice:
    """Link as `link_slices` does, but leave the ids that mean the same on every slice.

    Args:
        previous: As for `link_slices`.
        current: int32 (rows, columns): ids up to `n_fixed_ids` stay, those above are of any kind.
        next_id: As for `link_slices`; new structures get no id up to `n_fixed_ids`.
        linking: When two structures without names are the same.
        n_fixed_ids: The largest id that means the same on every slice; 0 for none.

    Returns:
        As `link_slices`. Structures of fixed ids that are on both slices are linked, whatever their quality.

    Example:
        >>> before = np.array([[2, 2, 0, 0, 4]], dtype=np.int32)
        >>> now = np.array([[2, 0, 0, 3, 4]], dtype=np.int32)
        >>> linked = link_with_fixed_ids(before, now, next_id=5, linking=Linking(), n_fixed_ids=3)
        >>> linked.labels.tolist(), [link.quality for link in linked.links]
        ([[2, 0, 0, 3, 4]], [0.5, 1.0])
    """
    others = link_slices(
        np.where(previous > n_fixed_ids, previous, 0),
        np.where(current > n_fixed_ids, current, 0),
        max(next_id, n_fixed_ids + 1),
        linking,
    )
    ids = np.unique(current[(current > 0) & (current <= n_fixed_ids)]).astype(np.int64)
    links = []
    for i in ids.tolist():
        before, now = previous == i, current == i
        if before.any():
            links.append(Link(i, float((before & now).sum() / (before | now).sum())))
    return LinkedSlice(
        labels=np.where(current > n_fixed_ids, others.labels, current).astype(np.int32),
        ids=np.concatenate([ids, others.ids]),
        links=(*links, *others.links),
        next_id=others.next_id,
    )


def _by_first_pixel(labels: Labels) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return ids by their first pixel, background first, and for each pixel its id's place in that list."""
    ids, first, rank = np.unique(labels, return_index=True, return_inverse=True)
    if ids[0] != 0:
        ids, first, rank = np.insert(ids, 0, 0), np.insert(first, 0, -1), rank + 1
    first[0] = -1
    order = np.argsort(first)
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return ids[order].astype(np.int64), place[rank].ravel()


def _best_pairs(
    before: NDArray[np.int64], now: NDArray[np.int64], min_iou: float
) -> list[tuple[int, int, float]]:
    """Return (place on the slice before, place on this one, IoU), one to one, from the highest IoU down."""
    rows, columns = int(before.max()) + 1, int(now.max()) + 1
    shared = np.bincount(before * columns + now, minlength=rows * columns).reshape(rows, columns)
    union = shared.sum(axis=1)[:, None] + shared.sum(axis=0)[None, :] - shared
    iou = shared[1:, 1:] / np.maximum(union[1:, 1:], 1)
    p, c = np.nonzero(iou >= min_iou)
    pairs: list[tuple[int, int, float]] = []
    taken_p: set[int] = set()
    taken_c: set[int] = set()
    for k in np.lexsort((p, c, -iou[p, c])).tolist():
        a, b = int(p[k]) + 1, int(c[k]) + 1
        if a not in taken_p and b not in taken_c:
            taken_p.add(a)
            taken_c.add(b)
            pairs.append((a, b, float(iou[a - 1, b - 1])))
    return pairs
