"""Segment-everything against `segment-anything`: time, memory, and how many of its masks are found.

    python benchmarks/everything.py [--points 32] [--threads 2] [--data ../shared/data]

One slice of 512 x 512, the image encoder ViT-B, the same random weights for all (see random_sam.py). The
thresholds are quantiles of the scores of some points: about a quarter of the masks is good and stable enough
to be compared with the others. Each program runs once, in a process of its own; seconds do not count the
loading of the network, memory does: it is the most that the process held at a time.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewct.imaging.body import body_mask
from fewct.imaging.intensity import to_display
from fewct.io import read
from fewct.phantom import phantom_slice
from fewct.types import CTSlice, CTVolume
from results_io import machine, save_results

RESULTS = Path(__file__).parent / "results" / "everything.csv"
MATCHED_IOU = 0.98
GOOD_SHARE, STABLE_SHARE = 0.5, 0.5  # of the masks that are good, and of these that are stable

Masks = NDArray[np.bool_]


def the_slice(data: Path) -> CTSlice:
    """Return the middle slice of the abdominal series; a synthetic one where that is absent."""
    folder = data / "abdomen_series" / "dicom"
    if not folder.is_dir():
        return phantom_slice(0, size=512)[0]
    scan = read(folder)
    if not isinstance(scan, CTVolume):
        raise TypeError("abdomen_series is a single slice")
    return scan[len(scan) // 2]


def write_weights(folder: Path, image: CTSlice) -> None:
    """Write random weights, and thresholds that leave a realistic number of masks with them."""
    import torch

    from fewct.methods.sam.backends.torch import TorchBackend
    from fewct.methods.sam.mask_generator.candidates import stability_score
    from fewct.methods.sam.mask_generator.crops import EmbeddedCrop
    from fewct.methods.sam.mask_generator.point_grids import point_grid
    from fewct.methods.sam.mask_generator.settings import MaskGeneratorSettings
    from fewct.methods.sam.preprocessing import InputFrame, preprocess
    from random_sam import random_vit_b

    picture = to_display(image)
    network = random_vit_b(preprocess(picture, InputFrame(picture.shape, 1024, 256), "sam"))
    torch.save(network.state_dict(), folder / "sam.pth")
    whole = np.array([0, 0, *picture.shape[::-1]])
    settings = MaskGeneratorSettings(pred_iou_thresh=0)
    crop = EmbeddedCrop(TorchBackend(network), picture, whole, image, body_mask(image), settings)
    decoded = crop.decode(point_grid(8) * picture.shape[::-1])
    iou = decoded.predicted_iou[tuple(decoded.indices.T)]
    good = np.quantile(decoded.predicted_iou, 1 - GOOD_SHARE)
    stability = [
        stability_score(logits, settings.stability_score_offset) for logits in decoded.logits[iou > good]
    ]
    stable = np.quantile(np.nan_to_num(stability), 1 - STABLE_SHARE)
    thresholds = {"pred_iou_thresh": float(good), "stability_score_thresh": float(stable)}
    (folder / "thresholds.json").write_text(json.dumps(thresholds))


def reference(checkpoint: Path, image: CTSlice, settings: dict[str, Any]) -> Callable[[], Masks]:
    """Return what finds the masks of the official code."""
    from official_sam import official_generator, official_masks

    generator = official_generator(str(checkpoint), **settings)
    return lambda: official_masks(generator, to_display(image))


def ours(mode: Any) -> Callable[[Path, CTSlice, dict[str, Any]], Callable[[], Masks]]:
    """Return what makes ready our program in a mode."""

    def made_ready(checkpoint: Path, image: CTSlice, settings: dict[str, Any]) -> Callable[[], Masks]:
        from fewct.methods.sam.backends.torch import TorchBackend
        from fewct.methods.sam.checkpoints.build import load_sam
        from fewct.methods.sam.mask_generator.generator import generate_masks
        from fewct.methods.sam.mask_generator.settings import MaskGeneratorSettings

        backend, chosen = TorchBackend(load_sam(checkpoint)), MaskGeneratorSettings(mode=mode, **settings)

        def masks() -> Masks:
            found = generate_masks(backend, image, chosen).proposals
            return np.array([found.mask(i) for i in range(len(found))]).reshape(-1, *image.shape)

        return masks

    return made_ready


PROGRAMS: dict[str, Callable[[Path, CTSlice, dict[str, Any]], Callable[[], Masks]]] = {
    "segment-anything": reference,
    "fewct, exact": ours("exact"),
    "fewct, fast": ours("fast"),
}


def measure(program: str, folder: Path, image: CTSlice, points: int) -> None:
    """Run a program once, and write its masks, its seconds, and the most memory that this process held."""
    import torch

    torch.set_num_threads(int(os.environ["FEWCT_NUM_THREADS"]))
    settings = {"points_per_side": points, **json.loads((folder / "thresholds.json").read_text())}
    find = PROGRAMS[program](folder / "sam.pth", image, settings)
    start = time.perf_counter()
    masks = find()
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # KiB on Linux
    np.savez(folder / f"{program}.npz", masks=np.packbits(masks, axis=2), seconds=seconds, peak=peak)


def row(program: str, folder: Path) -> dict[str, object]:
    """Return the results of a program beside those of the official code."""
    with np.load(folder / f"{program}.npz") as found, np.load(folder / "segment-anything.npz") as theirs:
        return {
            "program": program,
            "seconds": round(float(found["seconds"]), 2),
            "times_faster": round(float(theirs["seconds"] / found["seconds"]), 2),
            "peak_mib": round(float(found["peak"])),
            "share_of_peak": round(float(found["peak"] / theirs["peak"]), 3),
            "masks": len(found["masks"]),
            "matched": round(matched(theirs["masks"], found["masks"]), 4),
        }


def matched(theirs: NDArray[np.uint8], found: NDArray[np.uint8]) -> float:
    """Return the share of masks, eight pixels a byte, that have a match at `MATCHED_IOU` among others."""
    best = [max((overlap(mask, other) for other in found), default=0.0) >= MATCHED_IOU for mask in theirs]
    return float(np.mean(best)) if best else float("nan")


def overlap(first: NDArray[np.uint8], second: NDArray[np.uint8]) -> float:
    """Return the intersection over union of two masks, eight pixels a byte."""
    shared, either = (int(np.bitwise_count(bits).sum()) for bits in (first & second, first | second))
    return shared / either if either else 1.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--points", type=int, default=32, help="points along one side of the grid")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of real CT data")
    parser.add_argument("--output", type=Path, default=RESULTS, help="CSV file of the results")
    parser.add_argument("--part", nargs=2, metavar=("PROGRAM", "FOLDER"), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    image = the_slice(chosen.data)
    if chosen.part is not None:
        program, folder = chosen.part[0], Path(chosen.part[1])
        if program == "weights":
            write_weights(folder, image)
        else:
            measure(program, folder, image, chosen.points)
        return
    print(machine())
    threads = {name: str(chosen.threads) for name in ("FEWCT_NUM_THREADS", "OMP_NUM_THREADS")}
    arguments = ["--points", str(chosen.points), "--data", str(chosen.data)]
    with tempfile.TemporaryDirectory() as folder:
        for part in ("weights", *PROGRAMS):
            words = [sys.executable, __file__, *arguments, "--part", part, folder]
            subprocess.run(words, check=True, env=os.environ | threads)
            if part != "weights":
                print(*(f"{key} {value}" for key, value in row(part, Path(folder)).items()), sep=", ")
        thresholds = json.loads((Path(folder) / "thresholds.json").read_text())
        size = {"points": chosen.points, "threads": chosen.threads}
        rows = [row(program, Path(folder)) | size | thresholds for program in PROGRAMS]
    command = f"python benchmarks/everything.py --points {chosen.points} --threads {chosen.threads}"
    save_results(chosen.output, rows, command)


if __name__ == "__main__":
    main()
