"""Time and memory of mosaic with its network: python benchmarks/mosaic_speed.py.

A 512 x 512 slice in parts, a scan of 300 such slices through the command line, and a step of its training.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np

from end_to_end import timed
from fewct.imaging.agglomeration import merge_tree
from fewct.imaging.body import body_mask
from fewct.imaging.merge_tree import oversegment
from fewct.io import read
from fewct.methods import Mosaic
from fewct.methods.mosaic.gradient_maps import pixel_size_mm
from fewct.methods.mosaic.maps import region_pairs
from fewct.types import CTSlice, CTVolume
from organs import DATA
from results_io import RESULTS, machine, save_results

SLICES_OF_SCAN, REPEATS, STEPS = 300, 5, 12
TRAINING = """
import resource, statistics, sys, time
from pathlib import Path
import torch
from torch.utils.data import default_collate
from fewct.methods.mosaic.preprocessing import preprocess
from fewct.methods.mosaic.network import MosaicNet
from fewct.methods.mosaic.recipe import losses
from fewct.runtime.threads import thread_count
from fewct.training.crops import crop_dataset, default_sources
torch.set_num_threads(thread_count())
crops = crop_dataset(default_sources(Path(sys.argv[1])), preprocess, 320, 8, seed=0)
batch, network, seconds = default_collate([crops[i] for i in range(8)]), MosaicNet(), []
for _ in range(int(sys.argv[2])):
    start = time.perf_counter()
    with torch.autocast("cpu", torch.bfloat16):
        total = torch.stack(list(losses(network, batch).values())).sum()
    torch.autograd.backward(total)
    seconds.append(time.perf_counter() - start)
print(statistics.median(seconds), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def median_seconds(function: Callable[[], object]) -> float:
    """Return the median time of several calls, after one that does not count."""
    function()
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def of_slice(image: CTSlice) -> dict[str, float]:
    """Return the seconds of the parts of one slice."""
    method, body = Mosaic(), body_mask(image)
    segmenter = method.load()
    maps = segmenter.maps_of(image, body)
    assert maps.affinities is not None
    inside = maps.foreground >= method.foreground_threshold
    smallest = round(method.min_region_mm2 / pixel_size_mm(image) ** 2)

    def agglomerate() -> None:
        leaves = oversegment(maps.boundary, inside, depth=method.minima_depth, min_leaf_px=smallest)
        merge_tree(leaves, maps.boundary, region_pairs(leaves, maps.affinities), method.affinity_weight)

    return {
        "512 x 512 slice: network and maps": median_seconds(
            lambda: segmenter.maps_of(image, body_mask(image))
        ),
        "512 x 512 slice: regions and merge tree": median_seconds(agglomerate),
        "512 x 512 slice: all": median_seconds(lambda: segmenter.segment(image)),
    }


def of_scan(scan: CTVolume) -> tuple[float, float]:
    """Return seconds and MB of a scan of 300 slices: NIfTI in, label map, picture and table out."""
    stack = np.stack([scan[k % len(scan)].pixels for k in range(SLICES_OF_SCAN)])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scan.nii.gz"
        affine = np.diag([*(scan.geometry.spacing_mm[::-1] if scan.geometry else (1, 1, 1)), 1])
        nib.save(nib.Nifti1Image(stack.T.astype(np.int16), affine), path)
        return timed([sys.executable, "-m", "fewct", "segment", str(path), "-o", f"{folder}/out"])


def of_training() -> tuple[float, float]:
    """Return seconds of a training step (forward and backward) and MB of the process."""
    import subprocess

    words = [sys.executable, "-c", TRAINING, str(DATA), str(STEPS)]
    seconds, memory = subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()
    return float(seconds), float(memory)


def main() -> None:
    scan = read(DATA / "abdomen_series" / "dicom")
    assert isinstance(scan, CTVolume)
    goals = {"512 x 512 slice: all": 0.25}
    rows = [
        {
            "what": what,
            "seconds": f"{value:.3f}",
            "goal_s": goals.get(what, ""),
            "memory_mb": "",
            "goal_mb": "",
        }
        for what, value in of_slice(scan[10]).items()
    ]
    for what, (seconds, memory), goal_s, goal_mb in (
        ("scan of 300 slices of 512 x 512, command line", of_scan(scan), 75, 1000),
        ("training step, 8 crops of 320 x 320, bfloat16", of_training(), "", ""),
    ):
        row = {"what": what, "seconds": f"{seconds:.3f}", "goal_s": goal_s, "memory_mb": f"{memory:.0f}"}
        rows.append(row | {"goal_mb": goal_mb})
    print(machine())
    for row in rows:
        print(*row.values(), sep=", ")
    save_results(RESULTS / "mosaic_speed.csv", rows, "python benchmarks/mosaic_speed.py")


if __name__ == "__main__":
    main()
