"""How well a promptable network draws structures of real CT: from boxes, from points, and from no prompt.

    python benchmarks/prompts.py [--weights FILE] [--step 6]

Sets: the BTCV patients kept for validation (every 6th slice, the organs that are labelled), their slices of
weak contrast with 13 organs, and the abdominal series with its complete truth.

- box: around each structure, each side moved at random by up to 10 px of a slice of 512; Dice of the mask.
- point: one pixel of the structure drawn at random; Dice of the best of three masks, best by truth, and by
  the network's own opinion.
- everything: the method at its default settings; mean best IoU of the label map.

Structures of fewer than 40 px of a slice of 512 are left out of prompts. Intervals are over patients where
there are several, else over slices.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from numpy.typing import NDArray

from fewct import metrics
from fewct.data.cases import LabelledCase
from fewct.methods import Everything
from fewct.methods.sam.backends.base import Backend
from fewct.methods.sam.backends.load import load_backend
from fewct.methods.sam.inference import masks_in_boxes, moved_boxes
from fewct.methods.sam.predictor import Predictor
from fewct.metrics.bootstrap import cluster_means
from organs import DATA, val_cases
from real_slices import abdomen_series
from results_io import RESULTS, machine, save_results

JITTER_PX = 10
LEAST_PX = 40  # both at the scale of a slice of 512


@dataclass(frozen=True)
class Options:
    """Measure a promptable network on real slices."""

    weights: str = ""
    """Checkpoint or exported network; empty: the one that comes with fewct."""
    step: int = 6
    """Every n-th slice of the patients of val."""
    pred_iou_thresh: float | None = None
    """Of everything; None: its default."""
    stability_score_thresh: float | None = None
    """Of everything; None: its default."""
    save: bool = True
    """Whether to keep the metrics."""


@dataclass(frozen=True)
class Value:
    """One metric of one structure or slice of a group, a patient or a slice."""

    metric: str
    group: str
    value: float


def cases_of_sets(step: int) -> Iterator[tuple[str, list[LabelledCase]]]:
    """Give each set with its slices."""
    cases = val_cases(step)
    dense = [case for case in cases if case.truth.max() > 8 and {5, 9, 12, 13} & set(np.unique(case.truth))]
    names = {id(case) for case in dense}
    yield "btcv val", [case for case in cases if id(case) not in names]
    yield "btcv val dense", dense
    series = enumerate(abdomen_series(DATA, 1))
    yield (
        "abdomen_series",
        [LabelledCase(f"{k}", f"{k}", image, truth.astype(np.int32)) for k, (image, truth) in series],
    )


def dice(mask: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    return 2 * np.count_nonzero(mask & truth) / (np.count_nonzero(mask) + np.count_nonzero(truth))


def prompted(backend: Backend, case: LabelledCase, rng: np.random.Generator) -> Iterator[Value]:
    """Give the metrics of boxes and points on one slice."""
    predictor = Predictor.from_backend(backend)
    predictor.set_image(case.image)
    scale = max(case.image.shape) / 512
    for structure in np.unique(case.truth[case.truth > 0]).tolist():
        truth = case.truth == structure
        rows, columns = np.nonzero(truth)
        if len(rows) < LEAST_PX * scale**2:
            continue
        box = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]])
        moved = moved_boxes(box, case.image.shape, 0, JITTER_PX * scale, rng)
        mask = masks_in_boxes(backend, case.image, moved).mask(0)
        yield Value("box, Dice", f"{case.patient}", dice(mask, truth))
        place = int(rng.integers(len(rows)))
        found = predictor.predict([[columns[place], rows[place]]], [1])
        values = [dice(mask, truth) for mask in found.masks[0]]
        yield Value("point, best of three, Dice", f"{case.patient}", max(values))
        yield Value(
            "point, best by predicted IoU, Dice",
            f"{case.patient}",
            values[int(found.predicted_iou[0].argmax())],
        )


def from_nothing(method: Everything, case: LabelledCase) -> Iterator[Value]:
    """Give the metrics of everything on one slice."""
    labels = method.load().segment(case.image).labels
    scores = metrics.score(case.truth, labels)
    yield Value("everything, mean best IoU", f"{case.patient}", scores.mean_best_iou)
    yield Value("everything, ARI foreground", f"{case.patient}", scores.ari_foreground)
    yield Value("everything, structures found", f"{case.patient}", scores.n_predicted)


def summary(name: str, values: list[Value]) -> list[dict[str, object]]:
    """Return a row for each metric, with its interval over patients or slices."""
    rows: list[dict[str, object]] = []
    for metric in dict.fromkeys(value.metric for value in values):
        chosen = [v for v in values if v.metric == metric and not np.isnan(v.value)]
        names, groups = np.unique([v.group for v in chosen], return_inverse=True)
        numbers = np.array([[[v.value] for v in chosen]])
        means, intervals, _ = cluster_means(numbers, groups)
        low, high = intervals[0, 0, 0], intervals[1, 0, 0]
        rows.append(
            {
                "data": name,
                "metric": metric,
                "value": f"{means[0, 0]:.3f}",
                "low": f"{low:.3f}",
                "high": f"{high:.3f}",
                "n": len(chosen),
                "groups": len(names),
            }
        )
    return rows


def main() -> None:
    options = tyro.cli(Options)
    names = ("pred_iou_thresh", "stability_score_thresh")
    chosen = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    method = Everything(weights=options.weights, **chosen)
    backend = load_backend(options.weights, 0, "auto")
    rows = []
    print(machine())
    for name, cases in cases_of_sets(options.step):
        rng = np.random.default_rng(0)
        values = [v for case in cases for v in (*prompted(backend, case, rng), *from_nothing(method, case))]
        for row in summary(name, values):
            rows.append(row)
            print(*(f"{value}" for value in row.values()), sep=", ", flush=True)
    if options.save:
        save_results(RESULTS / f"{Path(__file__).stem}.csv", rows, "python benchmarks/prompts.py")


if __name__ == "__main__":
    main()
