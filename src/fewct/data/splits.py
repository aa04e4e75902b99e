"""Splits that keep together what belongs together: a patient's slices, slices that look alike, a structure.

A method trained on one slice of a patient has seen the next one, too: a score on that one says nothing.
"""

import json
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from fewct.errors import InputError, UsageError, as_labels
from fewct.imaging.similarity import similarity_groups
from fewct.io.atomic import write_text
from fewct.types import AnyLabels

SplitKind: TypeAlias = Literal["patient", "similarity", "structure"]


@dataclass(frozen=True)
class Split:
    """Items in parts, such as slices in "train" and "val", no group in two of them.

    Args:
        kind: What a group is: a patient, similar slices, or one structure.
        seed: What it was drawn with.
        parts: The names of each part's items.
        groups: The group of each item.

    Raises:
        InputError: If a group or an item stands in two parts, or an item's group is unknown.
    """

    kind: SplitKind
    seed: int
    parts: Mapping[str, tuple[str, ...]]
    groups: Mapping[str, str]

    def __post_init__(self) -> None:
        part_of: dict[str, str] = {}
        for part, items in self.parts.items():
            for item in items:
                if item not in self.groups:
                    raise _unknown_group(self.kind, item)
                group = self.groups[item]
                if part_of.setdefault(group, part) != part:
                    raise InputError(
                        "split",
                        expected=f"each {self.kind} on one side",
                        found=f"{self.kind} {group} in {part_of[group]} and in {part}",
                        fix="Draw the split again; never move single slices by hand.",
                    )


def split_by_patient(patient_of: Mapping[str, str | None], shares: Mapping[str, float], seed: int) -> Split:
    """Split items, such as slices, so that no patient is in two parts; see `draw_split`.

    Raises:
        InputError: If a patient is unknown, or there are fewer patients than parts.
        UsageError: If the shares are no shares.

    Example:
        >>> split = split_by_patient({"s1": "A", "s2": "A", "s3": "B"}, {"train": 0.7, "val": 0.3}, seed=0)
        >>> sorted(split.parts["train"]), split.parts["val"]
        (['s1', 's2'], ('s3',))
    """
    groups = {}
    for item, patient in patient_of.items():
        if patient is None:
            raise _unknown_group("patient", item)
        groups[item] = patient
    return draw_split("patient", groups, shares, seed)


def split_by_similarity(images: Mapping[str, NDArray[Any]], shares: Mapping[str, float], seed: int) -> Split:
    """Split slices of unknown patients so that no two that look alike are in different parts.

    Args:
        images: Pixels (rows, columns) of each slice, by name.
        shares: As in `draw_split`.
        seed: As in `draw_split`.

    Raises:
        InputError: If there are fewer groups of similar slices than parts.
        UsageError: If the shares are no shares.
    """
    numbers = similarity_groups(images.values())
    groups = {name: f"{number}" for name, number in zip(images, numbers.tolist(), strict=True)}
    return draw_split("similarity", groups, shares, seed)


def split_by_structure(structures: Iterable[str | int], shares: Mapping[str, float], seed: int) -> Split:
    """Split structures, names or labels, so that some can be left out of training and measured as unseen.

    Raises:
        InputError: If there are fewer structures than parts.
        UsageError: If the shares are no shares.

    Example:
        >>> split_by_structure(range(1, 14), {"seen": 0.8, "unseen": 0.2}, seed=0).parts["unseen"]
        ('3', '8', '10')
    """
    names = [f"{structure}" for structure in structures]
    return draw_split("structure", dict(zip(names, names, strict=True)), shares, seed)


def hide_structures(labels: NDArray[Any], hidden: Collection[int]) -> AnyLabels:
    """Return labels without some structures: their pixels become 0, which then means unknown.

    Args:
        labels: Label map (rows, columns) or (slices, rows, columns).
        hidden: Labels to leave out, such as those of the part "unseen".

    Raises:
        InputError: If `labels` is no label map.

    Example:
        >>> hide_structures(np.array([[0, 1, 2, 3]]), hidden=[2])
        array([[0, 1, 0, 3]], dtype=int32)
    """
    checked = as_labels(labels)
    return np.where(np.isin(checked, list(hidden)), np.int32(0), checked)


def save_split(split: Split, path: Path) -> None:
    """Write a split as JSON, whole or not at all.

    Raises:
        OutputError: If the file cannot be written.
    """
    write_text(json.dumps(asdict(split), indent=1) + "\n", path)


def load_split(path: Path) -> Split:
    """Read a split that `save_split` wrote.

    Raises:
        InputError: If the file cannot be read, is no split, or has a group on two sides.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        kind = get_args(SplitKind)[get_args(SplitKind).index(content["kind"])]
        parts = {part: tuple(items) for part, items in content["parts"].items()}
        return Split(kind, int(content["seed"]), parts, dict(content["groups"]))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(
            path,
            expected="a split with kind, seed, parts and groups",
            found=f"{type(error).__name__}: {error}",
            fix="Write it with fewct.data.splits.save_split.",
        ) from error


def draw_split(kind: SplitKind, groups: Mapping[str, str], shares: Mapping[str, float], seed: int) -> Split:
    """Give whole groups, in random order, to the part that lacks most of its share.

    Args:
        kind: What a group is.
        groups: The group of each item.
        shares: Share of the items of each part in (0, 1), together 1. Groups stay whole, so shares are met as
            well as they allow; no part stays empty.
        seed: Of the order.

    Raises:
        InputError: If there are fewer groups than parts.
        UsageError: If the shares are no shares.
    """
    if len(shares) < 2 or min(shares.values()) <= 0 or not math.isclose(sum(shares.values()), 1):
        raise UsageError(
            "shares",
            expected="two or more parts with shares above 0 that add up to 1",
            found=str(dict(shares)),
            fix='Give them like {"train": 0.8, "val": 0.2}.',
        )
    members: dict[str, list[str]] = {}
    for item, group in sorted(groups.items()):
        members.setdefault(group, []).append(item)
    if len(members) < len(shares):
        raise InputError(
            "split",
            expected=f"at least {len(shares)} groups by {kind}, one a part",
            found=f"{len(members)}",
            fix="Take more data or fewer parts; a group is never divided.",
        )
    lacking = {part: share * len(groups) for part, share in shares.items()}
    parts: dict[str, list[str]] = {part: [] for part in shares}
    names = sorted(members)
    for drawn, index in enumerate(np.random.default_rng(seed).permutation(len(names)).tolist()):
        empty = [part for part, items in parts.items() if not items]
        part = max(empty if len(names) - drawn <= len(empty) else parts, key=lacking.__getitem__)
        parts[part] += members[names[index]]
        lacking[part] -= len(members[names[index]])
    return Split(kind, seed, {part: tuple(items) for part, items in parts.items()}, dict(groups))


def _unknown_group(kind: SplitKind, item: str) -> InputError:
    """Return the error for an item of an unknown group."""
    return InputError(
        item,
        expected=f"a known {kind}",
        found="none",
        fix="Tell the patient of each slice, or split by similarity.",
    )
