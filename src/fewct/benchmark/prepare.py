"""Preparing the cases of a benchmark: read once, hash, group by patient, lay out on disk for the workers."""

import hashlib
import json
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import requires, version
from pathlib import Path
from typing import Any, Literal, TypeAlias

from numpy.typing import NDArray

import fewct
from fewct.benchmark.worker import save_case
from fewct.data.cases import DataSet, read_cases
from fewct.imaging.intensity import WINDOWS, apply_window
from fewct.imaging.similarity import Thumbnail, group_thumbnails, thumbnail
from fewct.methods import Method
from fewct.metrics.catalog import TruthKind
from fewct.types import CTSlice, Labels

EXAMPLES = 3
"""Pictures of a data set in the report."""

GroupedBy: TypeAlias = Literal["patient", "similar slices", "patient or similar slices"]


@dataclass(frozen=True)
class PreparedCase:
    """A case of the data set `data` on disk.

    Args:
        group: Its patient, or its group of similar slices.
        grouped_by: What the groups of the data set are.
        sha256: Hash of image and truth.
        is_example: Whether the report shows it.
    """

    data: str
    name: str
    group: str
    grouped_by: GroupedBy
    truth: TruthKind
    sha256: str
    file: Path
    is_example: bool


def prepare(data: DataSet, folder: Path) -> list[PreparedCase]:
    """Read a data set's cases and write them to a folder.

    Where patients are unknown, groups of similar slices stand for them. Examples for the report are spread
    evenly over the cases, so that nobody chooses them by their scores.

    Raises:
        InputError: If the data cannot be read.
        OutputError: If a case cannot be written.
    """
    names, patients, hashes = [], [], []
    thumbnails: dict[int, Thumbnail] = {}
    for index, case in enumerate(read_cases(data)):
        names.append(case.name)
        patients.append(case.patient)
        hashes.append(_case_sha256(case.image, case.truth))
        if case.patient is None:
            thumbnails[index] = thumbnail(_windowed(case.image))
        save_case(case.image, case.truth, folder / f"{hashes[-1]}.case")
    similar = dict(zip(thumbnails, group_thumbnails(thumbnails.values()), strict=True)) if thumbnails else {}
    groups = [patient or f"similar {similar[index]}" for index, patient in enumerate(patients)]
    by: GroupedBy = "patient"
    if similar:
        by = "similar slices" if len(similar) == len(names) else "patient or similar slices"
    n = min(EXAMPLES, len(names))
    examples = {int((index + 0.5) * len(names) / n) for index in range(n)}
    return [
        PreparedCase(
            data.name, name, group, by, data.truth, sha256, folder / f"{sha256}.case", index in examples
        )
        for index, (name, group, sha256) in enumerate(zip(names, groups, hashes, strict=True))
    ]


def row_key(
    case: PreparedCase, method: Method, weights_sha256: str | None, program: Mapping[str, str]
) -> str:
    """Return the hash of all that a row follows from: image, truth, method, settings, weights, program."""
    made_from = [case.sha256, case.truth, method.name, asdict(method), weights_sha256, dict(program)]
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()


def program_versions() -> dict[str, str]:
    """Return the versions of fewct, Python and what fewct depends on, and the hash of fewct's own files."""
    names = [re.split(r"[^\w.-]", line)[0] for line in requires("fewct") or [] if "extra ==" not in line]
    return {
        "fewct": fewct.__version__,
        "fewct_files_sha256": _package_sha256(),
        "python": platform.python_version(),
        **{name: version(name) for name in sorted(names)},
    }


def cases_sha256(cases: Sequence[PreparedCase]) -> str:
    """Return the hash of all images and truths, in their order."""
    return hashlib.sha256("".join(case.sha256 for case in cases).encode()).hexdigest()


def _windowed(image: CTSlice) -> NDArray[Any]:
    """Return a slice's grey values, in Hounsfield units as the soft tissue window shows them."""
    return apply_window(image.pixels, WINDOWS["soft-tissue"]) if image.unit == "hu" else image.pixels


def _case_sha256(image: CTSlice, truth: Labels) -> str:
    """Return the hash of a slice's pixels, unit and spacing and of its truth."""
    digest = hashlib.sha256(f"{image.unit} {image.shape} {image.spacing_mm}".encode())
    digest.update(image.pixels.tobytes())
    digest.update(truth.tobytes())
    return digest.hexdigest()


def _package_sha256() -> str:
    """Return the hash of all files of this package."""
    root = Path(fewct.__file__).parent
    digest = hashlib.sha256()
    for file in sorted(root.rglob("*")):
        if file.is_file() and "__pycache__" not in file.parts:
            digest.update(file.relative_to(root).as_posix().encode() + b"\0")
            digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()
