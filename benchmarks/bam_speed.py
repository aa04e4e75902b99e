"""How long BAM takes on one slice for 8 support structures: python benchmarks/bam_speed.py.

The slices are a val patient's of 256 x 256, and the same enlarged to 512 x 512; five slices of val patients
are the supports. Timed are whole slices, from pixels to label map, with outlines of mosaic and of
pixels; the first slice of a process, for which the supports are encoded, is told apart.
"""

import statistics
import tempfile
import time
from itertools import product
from pathlib import Path

import numpy as np
from PIL import Image

from fewct.data.packed import load_packed_slices
from fewct.methods import BAM, Mosaic
from fewct.types import CTSlice
from organs import ANNOTATED, DATA
from results_io import RESULTS, machine, save_results

SUPPORTS, QUERIES = 5, 5


def write_supports(folder: Path) -> None:
    """Write slices on which all 8 structures are labelled, each showing as many new ones as can be."""
    slices = [item for item in load_packed_slices(DATA / "btcv" / "val") if item.low_contrast is None]
    missing = set(ANNOTATED)
    for number in range(SUPPORTS):
        wanted = missing or set(ANNOTATED)
        best = max(slices, key=lambda item: len(wanted & set(np.unique(item.labels).tolist())))
        slices.remove(best)
        missing -= set(np.unique(best.labels).tolist())
        labels = np.where(np.isin(best.labels, ANNOTATED), best.labels, 0).astype(np.uint8)
        Image.fromarray(best.image).save(folder / f"{number}.png")
        Image.fromarray(labels).save(folder / f"{number}_labels.png")


def main() -> None:
    print(machine())
    rows = []
    with np.load(DATA / "btcv" / "val" / "033.npz") as file:
        images = file["image"][:: len(file["image"]) // QUERIES][:QUERIES]
    slices = [CTSlice(image.astype(np.float32), "grey") for image in images]
    Mosaic().load().segment(slices[0])  # loads the libraries and its network
    with tempfile.TemporaryDirectory() as name:
        for side_px, outlines in product((256, 512), ("pixels", "mosaic")):
            support = Path(name, f"{side_px}_{outlines}")  # a new folder, so that supports are encoded again
            support.mkdir()
            write_supports(support)
            method = BAM(f"{support}", structures=ANNOTATED, outlines_from=outlines)
            seconds = []
            for image in slices:
                larger = CTSlice(image.pixels.repeat(side_px // 256, 0).repeat(side_px // 256, 1), "grey")
                start = time.perf_counter()
                method.load().segment(larger)
                seconds.append(time.perf_counter() - start)
            metrics = {"first slice": seconds[0], "later slices, median": statistics.median(seconds[1:])}
            for metric, value in metrics.items():
                row = {"side_px": side_px, "outlines_from": outlines, "metric": metric}
                rows.append(row | {"seconds": f"{value:.2f}"})
                print(*rows[-1].values(), flush=True)
    save_results(RESULTS / f"{Path(__file__).stem}.csv", rows, "python benchmarks/bam_speed.py")


if __name__ == "__main__":
    main()
