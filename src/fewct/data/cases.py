"""Labelled cases, one slice with its truth on one grid, read from descriptions of data."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from fewct.data.layouts import LabelledImage, read_source
from fewct.data.splits import load_split
from fewct.errors import InputError, check_range
from fewct.imaging.intensity import to_display
from fewct.imaging.labelmap import labels_on_grid
from fewct.imaging.similarity import similarity_groups
from fewct.metrics.catalog import TruthKind
from fewct.types import CTSlice, CTVolume, Labels


@dataclass(frozen=True)
class DataSource:
    """A file or folder from which cases of a data set are read.

    Args:
        path: See `fewct.data.layouts.read_source`, as for `subset` and `labels`.
        patient: Of all cases, or of each by its name; None for that of the layout.
        step: Takes every n-th slice of a scan, every n-th of single slices.
    """

    path: Path
    subset: str = ""
    labels: Path | None = None
    patient: str | Mapping[str, str] | None = None
    step: int = 1


@dataclass(frozen=True)
class DataSet:
    """Labelled data whose scores are averaged together.

    Args:
        name: How tables call it.
        truth: "complete", or "partial": truth holds only some of the structures and 0 means unknown.
        only: Names of the cases to take, such as one part of a split; None for all.
    """

    name: str
    sources: tuple[DataSource, ...]
    truth: TruthKind = "complete"
    only: frozenset[str] | None = None


@dataclass(frozen=True, eq=False)
class LabelledCase:
    """One slice with its truth.

    Args:
        name: Unique in its data set: the scan's name and the slice's number, or the image's name.
        patient: None if unknown.
        truth: int32 (rows, columns) on the image's grid; 0 for background.
        complete: Whether all structures are labelled; if not, 0 means unknown.
    """

    name: str
    patient: str | None
    image: CTSlice
    truth: Labels
    complete: bool = True


def read_cases(data: DataSet) -> Iterator[LabelledCase]:
    """Read the cases of a data set, one source at a time.

    Of partial truth, slices without any label are left out: nothing is known about them.

    Yields:
        Cases in the order of the sources, images and slices.

    Raises:
        InputError: If a source cannot be read, image and truth do not fit, two cases have one name, a
            patient is missing though others are described, or there is no case.
    """
    names: set[str] = set()
    complete = data.truth == "complete"
    for source in data.sources:
        for case in _cases_of(source, complete):
            if data.only is not None and case.name not in data.only:
                continue
            if not complete and not case.truth.any():
                continue
            if case.name in names:
                raise InputError(
                    source.path,
                    expected="names of cases that differ within a data set",
                    found=f"{case.name} twice",
                    fix="Rename one of the files, or make two data sets.",
                )
            names.add(case.name)
            yield case
    if not names:
        raise InputError(
            data.name,
            expected="at least one slice with truth",
            found="none",
            fix="Check the data's description.",
        )


def group_cases(cases: Sequence[LabelledCase]) -> tuple[list[str], Literal["patient", "similarity"]]:
    """Return the group of each case, none of which may be divided: its patient.

    Where any patient is unknown, groups of similar slices stand for patients.
    """
    patients = [case.patient for case in cases if case.patient is not None]
    if len(patients) == len(cases):
        return patients, "patient"
    numbers = similarity_groups([to_display(case.image) for case in cases])
    return [f"{number}" for number in numbers.tolist()], "similarity"


def parse_data(text: str, truth: TruthKind = "complete", step: int = 1) -> DataSet:
    """Read a description of data, as the command line has it.

    Args:
        text: A path, to which `:NAME` adds a subset; or a JSON file (see `read_description`) with a kind of
            truth and a step of its own.
        truth: Kind of truth.
        step: Takes every n-th slice.

    Raises:
        InputError: If a JSON file is no description.
        UsageError: If the step is below 1.
    """
    if Path(text).suffix.lower() == ".json":
        return read_description(Path(text))
    source = _source(text, Path(), step)
    return DataSet(source.path.stem + f":{source.subset}" * bool(source.subset), (source,), truth)


def read_description(path: Path) -> DataSet:
    """Read a data set's description from JSON.

    `{"truth": "partial", "step": 6, "sources": [{"path": "033.npz", "patient": "033"}]}`

    Keys of the file: `sources` and `truth` ("complete" or "partial"); where wanted `name` (the file's stem by
    default), `step` (every n-th slice), and `split` with `part`: a file of `data.splits.save_split` and the
    part of it to take. Keys of a source: `path`, with `:NAME` for a subset; where wanted
    `labels` (the file with its truth), `patient` (who it is, or an object from each case's name to its
    patient) and `step`. Paths are relative to the file.

    Args:
        path: The JSON file.

    Raises:
        InputError: If it cannot be read, lacks a key, or has one that is not known.
        UsageError: If a step is below 1.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _no_description(path, "a JSON description of data", str(error)) from error
    _check_keys(path, content, {"sources", "truth"}, {"name", "step", "split", "part"}, "the file")
    if content["truth"] not in get_args(TruthKind):
        raise _no_description(path, '"truth" of "complete" or "partial"', repr(content["truth"]))
    step = content.get("step", 1)
    sources = []
    for number, entry in enumerate(content["sources"], start=1):
        _check_keys(path, entry, {"path"}, {"labels", "patient", "step"}, f"source {number}")
        labels = path.parent / entry["labels"] if "labels" in entry else None
        sources.append(
            _source(entry["path"], path.parent, entry.get("step", step), labels, entry.get("patient"))
        )
    only = _part(path, content) if "split" in content or "part" in content else None
    return DataSet(content.get("name", path.stem), tuple(sources), content["truth"], only)


def _source(
    text: str,
    folder: Path,
    step: int,
    labels: Path | None = None,
    patient: str | Mapping[str, str] | None = None,
) -> DataSource:
    """Return a source from its path, from which `:NAME` is taken if the whole is no file."""
    check_range("step", step, 1, fix="1 takes every slice.")
    bare, colon, subset = text.rpartition(":")
    if colon and not (folder / text).exists() and (folder / bare).exists():
        return DataSource(folder / bare, subset, labels, patient, step)
    return DataSource(folder / text, "", labels, patient, step)


def _check_keys(path: Path, entry: Any, needed: set[str], known: set[str], where: str) -> None:
    """Raise unless an entry of a description is an object with the right keys."""
    keys = set(entry) if isinstance(entry, dict) else set()
    if missing := sorted(needed - keys):
        raise _no_description(path, f"{_quoted(needed)} in {where}", f"no {_quoted(missing)}")
    if unknown := sorted(keys - needed - known):
        raise _no_description(path, f"only {_quoted(needed | known)} in {where}", _quoted(unknown))


def _part(path: Path, content: Mapping[str, Any]) -> frozenset[str]:
    """Return the names of the cases in the part of a split that a description asks for."""
    _check_keys(path, content, {"split", "part"}, set(content), "the file")
    parts = load_split(path.parent / content["split"]).parts
    if content["part"] not in parts:
        raise _no_description(path, f'"part" of {_quoted(parts)}', repr(content["part"]))
    return frozenset(parts[content["part"]])


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in sorted(names))


def _no_description(path: Path, expected: str, found: str) -> InputError:
    return InputError(path, expected=expected, found=found, fix="See docs/how-to/benchmark.md.")


def _cases_of(source: DataSource, complete: bool) -> Iterator[LabelledCase]:
    """Yield the cases of a source, every n-th slice."""
    single = 0
    for item in read_source(source.path, source.subset, source.labels):
        if isinstance(item.image, CTVolume):
            truth = _truth_on_grid(item, item.image.shape)
            for index in range(0, len(item.image), source.step):
                name = f"{item.name}/{index:03d}"
                yield LabelledCase(
                    name, _patient(source, name, item), item.image[index], truth[index], complete
                )
            continue
        if single % source.step == 0:
            truth = _truth_on_grid(item, (1, *item.image.shape))
            yield LabelledCase(item.name, _patient(source, item.name, item), item.image, truth[0], complete)
        single += 1


def _truth_on_grid(item: LabelledImage, shape: tuple[int, int, int]) -> Labels:
    """Return truth as (slices, rows, columns) on the image's grid."""
    placed = labels_on_grid(item.truth, item.image.geometry, item.image.shape)
    stack = placed.reshape((-1, *placed.shape[-2:]))
    if stack.shape != shape:
        raise InputError(
            item.path,
            expected=f"labels of the image's shape, {' x '.join(map(str, item.image.shape))}",
            found=" x ".join(map(str, item.truth.labels.shape)),
            fix="Give the label map that belongs to this image.",
        )
    return stack


def _patient(source: DataSource, name: str, item: LabelledImage) -> str | None:
    """Return the patient of a case."""
    if source.patient is None:
        return item.patient
    if isinstance(source.patient, str):
        return source.patient
    patient = source.patient.get(name, source.patient.get(item.name))
    if patient is None:
        raise InputError(
            source.path,
            expected="a patient for each case",
            found=f"none for {name}",
            fix='Add it to "patient", or leave that out: similar slices are then found and kept together.',
        )
    return patient
