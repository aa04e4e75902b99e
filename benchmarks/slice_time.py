"""How long each method takes for one slice: python benchmarks/slice_time.py.

One protocol for all: from a slice in memory to its label map, in this process, with two threads. A method
is loaded once; "first" is its loading and its first slice, without the import of libraries. Then come five
slices, one after the other, five times over, and the methods take turns; "seconds" is the median of these
25.

- 512: slices of the abdominal series, Hounsfield units, 512 x 512.
- 256: slices of a BTCV patient, 8 bits of grey, 256 x 256.

`bam` looks for eight structures with five labelled slices of another patient as supports.
"""

import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from fewct.data.packed import load_packed_slices
from fewct.io import read
from fewct.methods import BAM, Everything, Felzenszwalb, Method, Mosaic, Watershed
from fewct.methods.sam.box_prompted import BoxPrompted
from fewct.types import CTSlice, CTVolume
from organs import ANNOTATED, DATA
from results_io import RESULTS, machine, save_results

THREADS, SUPPORTS, SLICES, ROUNDS = 2, 5, 5, 5
GOALS = {("512", "mosaic"): 0.25, ("256", "everything"): 3.0}


def write_supports(folder: Path) -> None:
    """Write slices on which all 8 structures are labelled, each showing as many new ones as can be."""
    slices = [item for item in load_packed_slices(DATA / "btcv" / "train") if item.low_contrast is None]
    missing = set(ANNOTATED)
    for number in range(SUPPORTS):
        wanted = missing or set(ANNOTATED)
        best = max(slices, key=lambda item: len(wanted & set(np.unique(item.labels).tolist())))
        slices.remove(best)
        missing -= set(np.unique(best.labels).tolist())
        labels = np.where(np.isin(best.labels, ANNOTATED), best.labels, 0).astype(np.uint8)
        Image.fromarray(best.image).save(folder / f"{number}.png")
        Image.fromarray(labels).save(folder / f"{number}_labels.png")


def slices_of(size: str) -> list[CTSlice]:
    """Return five slices, spread over the scan."""
    if size == "512":
        scan = read(DATA / "abdomen_series" / "dicom")
        assert isinstance(scan, CTVolume)
        return [scan[k] for k in range(0, len(scan), len(scan) // SLICES)][:SLICES]
    with np.load(DATA / "btcv" / "val" / "033.npz") as file:
        images = file["image"][:: len(file["image"]) // SLICES][:SLICES]
    return [CTSlice(image.astype(np.float32), "grey") for image in images]


def main() -> None:
    os.environ["FEWCT_NUM_THREADS"] = f"{THREADS}"
    print(machine())
    rows = []
    with tempfile.TemporaryDirectory() as supports:
        write_supports(Path(supports))
        methods: dict[str, Method] = {
            "watershed": Watershed(),
            "felzenszwalb": Felzenszwalb(),
            "mosaic, gradients": Mosaic(boundary_source="gradients", level=0.15),
            "mosaic": Mosaic(),
            "boxes": BoxPrompted(),
            "everything": Everything(),
            "bam": BAM(supports, structures=ANNOTATED),
            "bam, pixels": BAM(supports, structures=ANNOTATED, outlines_from="pixels"),
        }
        for size in ("512", "256"):
            slices, first, loaded = slices_of(size), {}, {}
            for method in methods.values():
                method.load().segment(slices[0])  # loads the libraries
            for name, method in methods.items():
                start = time.perf_counter()
                loaded[name] = method.load()
                loaded[name].segment(slices[0])
                first[name] = time.perf_counter() - start
            seconds: dict[str, list[float]] = {name: [] for name in methods}
            for _ in range(ROUNDS):
                for name, segmenter in loaded.items():
                    for image in slices:
                        start = time.perf_counter()
                        segmenter.segment(image)
                        seconds[name].append(time.perf_counter() - start)
            for name, measured in seconds.items():
                times = {"first": f"{first[name]:.2f}", "seconds": f"{statistics.median(measured):.3f}"}
                goal = GOALS.get((size, name), "")
                rows.append({"size_px": size, "method": name, **times, "goal": goal})
                print(*rows[-1].values(), sep=", ", flush=True)
    save_results(RESULTS / f"{Path(__file__).stem}.csv", rows, "python benchmarks/slice_time.py")


if __name__ == "__main__":
    main()
