"""The few labelled slices of a user: read, checked, and grouped by patient."""

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray

from fewct.data.cases import LabelledCase, group_cases, parse_data, read_cases
from fewct.errors import FewctWarning, InputError, UsageError
from fewct.metrics.catalog import TruthKind

MOST = 50
GroupedBy = Literal["patient", "similarity", "slice"]


@dataclass(frozen=True, eq=False)
class FewSlices:
    """Labelled slices, and the groups in which cross-validation leaves them out.

    Args:
        cases: Slices with truth.
        truth: Kind of truth.
        groups: int64 (slices,): number of each slice's group, 0, 1, 2, ...
        grouped_by: What a group is. "slice" if all are of one patient, or look as if they were: a gain then
            holds for other slices of that patient.
    """

    cases: tuple[LabelledCase, ...]
    truth: TruthKind
    groups: Annotated[NDArray[np.int64], "slices"]
    grouped_by: GroupedBy

    @property
    def n_groups(self) -> int:
        """Number of groups."""
        return int(self.groups.max()) + 1

    @property
    def sha256(self) -> str:
        """Hash of all pixels and labels."""
        digest = hashlib.sha256()
        for case in self.cases:
            digest.update(f"{case.image.unit} {case.image.shape}".encode())
            digest.update(case.image.pixels.tobytes())
            digest.update(case.truth.tobytes())
        return digest.hexdigest()


def read_few(descriptions: Sequence[str], truth: TruthKind = "complete", step: int = 1) -> FewSlices:
    """Read 1 to 50 labelled slices, as `fewct.data.cases.parse_data` does; unlabelled ones are left out.

    Raises:
        InputError: If the data cannot be read, or nothing in it is labelled.
        UsageError: If there are more slices, none are named, or both kinds of truth.
    """
    data = [parse_data(text, truth, step) for text in descriptions]
    kinds = {one.truth for one in data}
    if len(kinds) != 1:
        raise UsageError(
            "data",
            expected="one kind of truth",
            found=" and ".join(sorted(kinds)) or "no data",
            fix='Give all data in JSON files with the same "truth".' if kinds else "Name some with --data.",
        )
    return few_of([case for one in data for case in read_cases(one)], kinds.pop())


def few_of(cases: Sequence[LabelledCase], truth: TruthKind) -> FewSlices:
    """Check labelled slices and group them: by patient, or by similarity where one is unknown.

    Raises:
        InputError: If nothing is labelled.
        UsageError: If there are more than 50 labelled slices.
    """
    labelled = tuple(case for case in cases if case.truth.any())
    if not labelled:
        raise InputError(
            "data",
            expected="slices with labelled structures",
            found=f"{len(cases)} slices, all labels 0",
            fix="Label some structures: each gets a number of its own, from 1.",
        )
    if len(labelled) > MOST:
        raise UsageError(
            "data",
            expected=f"1 to {MOST} labelled slices",
            found=f"{len(labelled)}",
            fix="Take every n-th with --step, or train a network on all of them: fewct train.",
        )
    if len(labelled) < len(cases):
        _warn(f"{len(cases) - len(labelled)} slices without any label are left out")
    units = [case.image.unit for case in labelled]
    if len(set(units)) > 1:
        _warn(
            f"{units.count('hu')} slices are in Hounsfield units and {units.count('grey')} are grey values: "
            "one setting is sought for both; adapt twice if you will use them apart"
        )
    return FewSlices(labelled, truth, *_groups(labelled))


def _groups(cases: Sequence[LabelledCase]) -> tuple[Annotated[NDArray[np.int64], "slices"], GroupedBy]:
    """Return the number of each slice's group, and what a group is."""
    named, by = group_cases(cases)
    names = list(dict.fromkeys(named))
    groups = np.array([names.index(name) for name in named], dtype=np.int64)
    return (groups, by) if groups.any() else (np.arange(len(cases), dtype=np.int64), "slice")


def _warn(message: str) -> None:
    warnings.warn(message, FewctWarning, stacklevel=3)
