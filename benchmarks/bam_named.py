"""How well named structures are found from five labelled slices: python benchmarks/bam_named.py.

- btcv/val: the supports are five slices spread over one patient, on which eight organs are labelled; judged
  are slices of the other patients, whether they show an organ or not. Each patient is the source once.
- abdomen_series: another scanner. The supports are five of its twenty slices with all that is labelled, about
  thirty structures, most of which training had no name for; judged are the other slices.

Dice counts the slices that show a structure; "found where there is none" the others.
"""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tyro

from fewct.data.cases import LabelledCase, parse_data, read_cases
from fewct.methods import BAM
from fewct.metrics.bootstrap import cluster_means
from fewct.types import Labels
from organs import ANNOTATED, DATA
from prototypes import dice
from results_io import RESULTS, machine, save_results

SUPPORTS, STEP = 5, 12  # slices of the source; every n-th of the others
MIN_PX = 24  # of a structure on a slice of 256 x 256; what is smaller is neither there nor not there
METRICS = ("dice", "found where there is one", "found where there is none")


@dataclass(frozen=True)
class Options:
    """Find named structures from five labelled slices."""

    weights: str = ""
    """A trained BAM; the one that comes with fewct if left out."""
    min_match: tuple[float, ...] = (BAM.min_match,)
    """Thresholds to try, see `BAM`."""
    out: Path = RESULTS / "bam_named.csv"
    """Table to write."""


@dataclass(frozen=True)
class Found:
    """What came of one structure on one slice; Dice is NaN where there is none."""

    patient: str
    dice: float
    there: bool
    found: bool


@dataclass(frozen=True)
class Job:
    """Supports, and the slices to find their structures on."""

    data: str
    supports: list[LabelledCase]
    queries: list[LabelledCase]


def jobs() -> Iterator[Job]:
    """Yield what is measured."""
    cases = [organs_alone(case) for case in read_cases(parse_data(f"{DATA}/btcv/val", "partial", 1))]
    for source in sorted({f"{case.patient}" for case in cases}):
        own = [case for case in cases if case.patient == source]
        others = [case for case in cases if case.patient != source]
        yield Job("btcv/val", spread(own), others[::STEP])
    cases = list(read_cases(parse_data(f"{DATA}/abdomen_series", "partial", 1)))
    supports = spread(cases)
    yield Job("abdomen_series", supports, [case for case in cases if case not in supports])


def organs_alone(case: LabelledCase) -> LabelledCase:
    """Return a case with those organs that are annotated on every slice."""
    return replace(case, truth=np.where(np.isin(case.truth, ANNOTATED), case.truth, 0).astype(np.int32))


def spread(cases: Sequence[LabelledCase]) -> list[LabelledCase]:
    """Return slices spread over a scan."""
    return [cases[int((k + 0.5) * len(cases) / SUPPORTS)] for k in range(SUPPORTS)]


def shown(labels: Labels) -> set[int]:
    """Return the structures of a label map that are not specks."""
    areas = np.bincount(labels.ravel())
    least = MIN_PX * labels.size / 256**2
    return {int(k) for k in np.flatnonzero(areas >= least) if k > 0}


def judge(job: Job, method: BAM) -> list[Found]:
    """Return what came of each structure of the supports on each slice."""
    structures = sorted(set().union(*(shown(case.truth) for case in job.supports)))
    outcomes = []
    for case in job.queries:
        labels = method.load().segment(case.image).labels
        there = shown(case.truth)
        for structure in structures:
            mask, truth = labels == structure, case.truth == structure
            if structure in there or not truth.any():
                value = dice(mask, truth) if structure in there else np.nan
                outcomes.append(Found(f"{case.patient}", value, structure in there, bool(mask.any())))
    return outcomes


def write_supports(job: Job, folder: Path) -> None:
    """Write slices and label maps as `--support` takes them."""
    for number, case in enumerate(job.supports):
        np.save(folder / f"{number}.npy", case.image.pixels)
        np.save(folder / f"{number}_labels.npy", case.truth.astype(np.uint16))


def row_of(outcomes: Sequence[Found]) -> dict[str, object]:
    """Return means over structures and slices, with intervals over patients where there are several."""
    row: dict[str, object] = {}
    there = [one for one in outcomes if one.there]
    absent = [one for one in outcomes if not one.there]
    columns = (
        [(one.patient, one.dice) for one in there],
        [(one.patient, float(one.found)) for one in there],
        [(one.patient, float(one.found)) for one in absent],
    )
    for metric, values in zip(METRICS, columns, strict=True):
        names, groups = np.unique([patient for patient, _ in values], return_inverse=True)
        numbers = np.array([[[value] for _, value in values]])
        means, (lows, highs), _ = cluster_means(numbers, groups)
        row[metric] = f"{means[0, 0]:.3f}"
        for end, value in (("low", lows[0, 0]), ("high", highs[0, 0])):
            row[f"{metric}, {end}"] = f"{value:.3f}" if len(names) > 1 else ""
    return row | {"judged": len(outcomes)}


def main() -> None:
    options = tyro.cli(Options)
    print(machine())
    settings = [{"outlines_from": "mosaic", "min_match": least} for least in options.min_match]
    settings.append({"outlines_from": "pixels"})
    outcomes: dict[tuple[str, str], list[Found]] = {}
    for job in jobs():
        with tempfile.TemporaryDirectory() as name:
            write_supports(job, Path(name))
            for setting in settings:
                key = job.data, " ".join(f"{value}" for value in setting.values())
                found = judge(job, BAM(name, options.weights, **setting))
                outcomes.setdefault(key, []).extend(found)
        print(job.data, len(job.queries), "slices", flush=True)
    rows = [
        {"data": data, "outlines_from": words} | row_of(found) for (data, words), found in outcomes.items()
    ]
    for row in rows:
        print(*row.values(), sep="\t")
    save_results(options.out, rows, "python benchmarks/bam_named.py")


if __name__ == "__main__":
    main()
