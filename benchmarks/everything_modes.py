"""What the fast mode of `everything` loses against the exact one: label maps, masks and time.

    python benchmarks/everything_modes.py [--slices 20]

The network is prompt-small, the slices are evenly spread over those of methods_table.py.
`exact` gives the masks of the official code, so `fast` is compared with it on the same slices: label maps
by their metrics, masks by the share of exact masks that have one of fast with at least so much IoU. Seconds
are processor time of a slice with one thread, the merging of masks into a label map left out.
"""

import math
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from numpy.typing import NDArray

from fewct.data.cases import LabelledCase, group_cases, read_cases
from fewct.imaging.body import body_mask
from fewct.methods import Everything
from fewct.methods.sam.inference import EverythingSegmenter
from fewct.methods.sam.mask_generator.generator import generate_masks
from fewct.metrics import score
from fewct.metrics.bootstrap import compare_with_first
from fewct.types import CTSlice, Labels, MaskProposals
from methods_table import data_sets
from results_io import RESULTS, machine, save_results

FOUND_AT = (0.98, 0.75)
MEASURES = ("mean", "low", "high", "difference", "difference_low", "difference_high")


@dataclass(frozen=True)
class Options:
    """Compare the modes of everything."""

    slices: int = 20
    """Slices of each data set, or all if it has fewer."""


def measured(
    segmenter: EverythingSegmenter, image: CTSlice, truth: Labels
) -> tuple[MaskProposals, dict[str, float]]:
    """Return the masks of a slice, and the metrics of the label map that they give."""
    body, start = body_mask(image), time.process_time()
    found = generate_masks(segmenter.backend, image, segmenter.method, body=body)
    seconds = time.process_time() - start
    labels = segmenter.merged(found, image, body).labels
    scores = score(truth, labels).as_dict()
    chosen = {name: scores[name] for name in ("ari", "ari_foreground", "mean_best_iou")}
    counts = {"structures": scores["n_predicted"], "masks": float(len(found)), "cpu_seconds": seconds}
    return found.proposals, chosen | counts


def shares_found(exact: MaskProposals, fast: MaskProposals) -> dict[str, float]:
    """Return the share of exact masks that have a fast one of at least some IoU; NaN where there are none."""
    best = best_overlaps(exact, fast)
    return {f"found_{iou}": float((best >= iou).mean()) if len(best) else math.nan for iou in FOUND_AT}


def best_overlaps(masks: MaskProposals, others: MaskProposals) -> NDArray[np.float64]:
    """Return the highest IoU of each mask with any of some others, 0 if there are none."""
    if not len(masks) or not len(others):
        return np.zeros(len(masks))
    first, second = (
        np.array([one.mask(k).ravel() for k in range(len(one))], np.float32) for one in (masks, others)
    )
    shared = (first @ second.T).astype(np.float64)
    best: NDArray[np.float64] = (shared / (masks.areas[:, None] + others.areas - shared)).max(axis=1)
    return best


def rows_of(data: str, values: list[tuple[dict[str, float], ...]], groups: list[str]) -> Iterator[Mapping]:
    """Yield a row for each mode and metric: its mean, and the difference from exact on the same slices."""
    names = list(values[0][0])
    array = np.array([[list(of_mode.values()) for of_mode in one] for one in values]).swapaxes(0, 1)
    compared, _ = compare_with_first(array, groups)
    for k, mode in enumerate(("exact", "fast")):
        for m, name in enumerate(names):
            numbers = ["" if math.isnan(value) else f"{value:.4f}" for value in compared[:, k, m].tolist()]
            head = {"data": data, "mode": mode, "metric": name}
            n_defined = int((~np.isnan(array[k, :, m])).sum())
            counts = {"n_slices": n_defined, "n_groups": len(set(groups))}
            yield head | dict(zip(MEASURES, numbers, strict=True)) | counts


def spread(cases: Sequence[LabelledCase], count: int) -> list[LabelledCase]:
    """Return some cases, evenly spread over all."""
    count = min(count, len(cases))
    return [cases[int((k + 0.5) * len(cases) / count)] for k in range(count)]


def main() -> None:
    options = tyro.cli(Options)
    os.environ["FEWCT_NUM_THREADS"] = "1"
    print(machine())
    segmenters = [Everything(mode="exact").load(), Everything(mode="fast").load()]
    rows: list[Mapping[str, object]] = []
    with tempfile.TemporaryDirectory() as folder:
        sets = data_sets(Path(folder))
    for data, one in reversed(sets.items()):
        cases = spread(list(read_cases(one)), options.slices)
        values = []
        for case in cases:
            masks, metrics = zip(*(measured(of, case.image, case.truth) for of in segmenters), strict=True)
            itself, found = (shares_found(masks[0], others) for others in masks)
            values.append((metrics[0] | itself, metrics[1] | found))
            print(
                data, case.name, *(f"{name} {value:.3f}" for name, value in values[-1][1].items()), flush=True
            )
        rows += rows_of(data, values, group_cases(cases)[0])
        command = f"python benchmarks/everything_modes.py --slices {options.slices}"
        save_results(RESULTS / "everything_modes.csv", rows, command)
    for row in rows:
        print(*row.values(), sep="\t")


if __name__ == "__main__":
    main()
