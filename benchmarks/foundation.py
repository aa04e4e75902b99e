"""Agreement with truth and time of the methods that work at once, on real CT.

    python benchmarks/foundation.py [--data ../shared/data]

Sets: the abdominal series with its complete truth (all 20 slices, and every 4th); 8-bit slices of the BTCV
patients kept for validation with partial truth (every 6th slice of each patient); and all their slices of
weak contrast with 13 organs as truth. Scores are means over slices, seconds medians.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fewct import metrics
from fewct.imaging.labelmap import place_on_grid
from fewct.io import read, read_labels
from fewct.methods import Felzenszwalb, Method, Mosaic, Watershed
from fewct.types import CTSlice, CTVolume
from results_io import machine, save_results

RESULTS = Path(__file__).parent / "results" / "foundation.csv"
VARIANTS: dict[str, Method] = {
    "watershed": Watershed(),
    "felzenszwalb": Felzenszwalb(),
    "mosaic, gradients": Mosaic(boundary_source="gradients", level=0.15),
    "mosaic": Mosaic(),
}

Pairs = Iterator[tuple[CTSlice, NDArray[np.integer]]]


def abdomen_series(data: Path, step: int) -> Pairs:
    scan = read(data / "abdomen_series" / "dicom")
    if not isinstance(scan, CTVolume):
        raise TypeError("abdomen_series is a single slice")
    labels = read_labels(data / "abdomen_series" / "labels.nii.gz")
    truth = place_on_grid(labels, scan.geometry, scan.shape)
    return ((scan[k], truth[k]) for k in range(0, len(scan), step))


def btcv_val(data: Path, image: str, label: str, step: int) -> Pairs:
    for path in sorted((data / "btcv" / "val").glob("*.npz")):
        with np.load(path) as patient:
            if image in patient:
                for grey, truth in zip(patient[image][::step], patient[label][::step], strict=True):
                    yield CTSlice(grey, "grey"), truth


SETS: dict[str, Callable[[Path], Pairs]] = {
    "abdomen_series, all 20 slices": lambda data: abdomen_series(data, 1),
    "abdomen_series, every 4th slice": lambda data: abdomen_series(data, 4),
    "btcv val image, every 6th slice": lambda data: btcv_val(data, "image", "label", 6),
    "btcv val dense_image, all slices": lambda data: btcv_val(data, "dense_image", "dense_label", 1),
}


def measure(method: Method, pairs: Pairs) -> dict[str, object]:
    """Return the mean scores over slices, and the median processor time of a slice."""
    scores, seconds, cpu_seconds = [], [], []
    for image, truth in pairs:
        start, cpu_start = time.perf_counter(), time.process_time()
        found = method.load().segment(image)
        seconds.append(time.perf_counter() - start)
        cpu_seconds.append(time.process_time() - cpu_start)
        scores.append(metrics.score(truth, found.labels))
    return {
        "slices": len(scores),
        "ari": round(float(np.nanmean([s.ari for s in scores])), 3),
        "ari_foreground": round(float(np.nanmean([s.ari_foreground for s in scores])), 3),
        "mean_best_iou": round(float(np.nanmean([s.mean_best_iou for s in scores])), 3),
        "structures": round(statistics.mean(s.n_predicted for s in scores), 1),
        "seconds": round(statistics.median(seconds), 3),
        "cpu_seconds": round(statistics.median(cpu_seconds), 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--data", type=Path, default=Path("../shared/data"), help="folder of the real CT data"
    )
    data = parser.parse_args().data
    Mosaic().load().segment(next(abdomen_series(data, 1))[0])  # loads the libraries
    print(machine())
    rows = []
    for name, pairs in SETS.items():
        for variant, method in VARIANTS.items():
            rows.append({"set": name, "method": variant, **measure(method, pairs(data))})
            print(*(f"{key} {value}" for key, value in rows[-1].items()), sep=", ")
    save_results(RESULTS, rows, "python benchmarks/foundation.py")


if __name__ == "__main__":
    main()
