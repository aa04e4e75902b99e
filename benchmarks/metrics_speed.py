"""Time of all metrics on one 512 x 512 pair, and of the adjusted Rand index against scikit-learn's.

    python benchmarks/metrics_speed.py

The pair is made from a seed: a ring like a body wall around 39 ellipses, about 20 % of the pixels labelled,
and the same bent by some pixels as the prediction. Medians; ours and scikit-learn's runs take turns.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from sklearn.metrics import adjusted_rand_score

from fewct import metrics
from fewct.evaluation import evaluate
from fewct.types import Geometry, LabelMap
from results_io import machine, save_results

SIZE = 512
REPEATS = 15
SPACING_MM = (5.0, 0.8, 0.8)
RESULTS = Path(__file__).parent / "results" / "metrics_speed.csv"


def anatomy(rng: np.random.Generator) -> NDArray[np.int32]:
    """Return a label map of 40 structures: a ring, and ellipses that do not touch on a jittered grid."""
    row, column = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    distance = np.hypot((row - SIZE / 2) / 200, (column - SIZE / 2) / 240)
    labels = np.where((distance > 0.94) & (distance < 1), 1, 0).astype(np.int32)
    grid = [(r, c) for r in range(88, 440, 48) for c in range(64, 460, 48)]
    inside = [(r, c) for r, c in grid if np.hypot((r - 256) / 200, (c - 256) / 240) < 0.82]
    for label, index in enumerate(rng.permutation(len(inside))[:39], start=2):
        centre = inside[index] + rng.uniform(-3, 3, 2)
        radii = rng.uniform(11, 21, 2)
        labels[np.hypot((row - centre[0]) / radii[0], (column - centre[1]) / radii[1]) < 1] = label
    return labels


def bent(labels: NDArray[np.int32], rng: np.random.Generator) -> NDArray[np.int32]:
    """Return the labels, bent smoothly by 3 pixels (standard deviation) and renumbered."""
    grid = np.indices(labels.shape)
    shift = np.stack([gaussian_filter(rng.standard_normal(labels.shape), 20) for _ in range(2)])
    source = np.rint(grid + 3 * shift / shift.std()).astype(np.int64).clip(0, SIZE - 1)
    names = np.concatenate([[0], 1 + rng.permutation(labels.max())]).astype(np.int32)
    return names[labels[tuple(source)]]


def median_ms(*calls: Callable[[], object]) -> list[float]:
    """Return the median time in milliseconds of each call; they take turns."""
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(REPEATS):
        for call, own in zip(calls, times, strict=True):
            start = time.perf_counter()
            call()
            own.append(1000 * (time.perf_counter() - start))
    return [statistics.median(own) for own in times]


def main() -> None:
    rng = np.random.default_rng(0)
    truth = anatomy(rng)
    prediction = bent(truth, rng)
    geometry = Geometry.from_spacing(SPACING_MM)
    maps = {"truth": LabelMap(truth, geometry), "prediction": LabelMap(prediction, geometry)}
    table = metrics.contingency(truth, prediction)
    calls = {
        "ari": lambda: metrics.adjusted_rand_index(truth, prediction),
        "ari_scikit_learn": lambda: adjusted_rand_score(truth.ravel(), prediction.ravel()),
        "contingency_table": lambda: metrics.contingency(truth, prediction),
        "all_figures_from_table": lambda: metrics.score(table, partial=True),
        "evaluate_with_surface_figures_of_all_matched_pairs": lambda: evaluate(**maps, partial=True),
    }
    rows = [
        {"what": what, "value": round(ms, 2), "unit": "ms"}
        for what, ms in zip(calls, median_ms(*calls.values()), strict=True)
    ]
    speedup = rows[1]["value"] / rows[0]["value"]
    rows.append({"what": "ari_scikit_learn / ari", "value": round(speedup, 1), "unit": "times"})

    scores = metrics.score(table)
    print(machine())
    print(f"{scores.n_true} true and {scores.n_predicted} predicted structures, {(truth > 0).mean():.0%}")
    print(f"of the pixels labelled; ARI {scores.ari:.2f}, mean best IoU {scores.mean_best_iou:.2f}")
    for row in rows:
        print(f"{row['value']:8} {row['unit']:6}{row['what']}")
    save_results(RESULTS, rows, "python benchmarks/metrics_speed.py")


if __name__ == "__main__":
    main()
