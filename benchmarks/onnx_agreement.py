"""Whether SAM's networks give the same in torch and in ONNX Runtime, on real CT.

    python benchmarks/onnx_agreement.py [--weights FILE] [--slices 10] [--half] [--data ../shared/data]

Without weights: a ViT-B with random weights whose masks are like those of a trained network. The checkpoint
is exported to a temporary folder. Results: the largest difference of logits and of predicted IoU over a grid
of 8 x 8 points, each with three masks; the share of slices whose label map of segment-everything is the same
in each pixel; the largest share of pixels that differ on a slice; and the median seconds of a slice.
"""

import argparse
import statistics
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from fewct.imaging.intensity import to_display
from fewct.methods import Everything
from fewct.methods.sam.backends.base import Backend, DecodedMasks
from fewct.methods.sam.backends.mask_prompts import MaskPromptBackend
from fewct.methods.sam.backends.onnx import OnnxBackend
from fewct.methods.sam.backends.torch import TorchBackend
from fewct.methods.sam.checkpoints.build import load_sam
from fewct.methods.sam.checkpoints.onnx_export import export_network
from fewct.methods.sam.conventions import INSIDE, NO_POINT
from fewct.methods.sam.inference import EverythingSegmenter
from fewct.methods.sam.predictor import embed
from fewct.methods.sam.preprocessing import InputFrame, preprocess
from fewct.types import CTSlice
from random_sam import random_vit_b
from real_slices import abdomen_series, btcv_val
from results_io import machine, save_results

RESULTS = Path(__file__).parent / "results" / "onnx_agreement.csv"
POINTS_PER_SIDE = 8


def slices(data: Path, n: int) -> Iterator[tuple[str, list[CTSlice]]]:
    """Give each set with n of its slices, spread over it."""
    for name, pairs in (
        ("abdomen_series", abdomen_series(data, 1)),
        ("btcv val", btcv_val(data, "image", "label", 6)),
    ):
        images = [image for image, _ in pairs]
        step = max(1, len(images) // n)
        yield name, list(islice(images, 0, n * step, step))


def backends(weights: Path | None, image: CTSlice, half: bool) -> tuple[Backend, Backend]:
    """Return the same network in torch and in ONNX Runtime."""
    if weights is None:
        picture = to_display(image)
        seen = preprocess(picture, InputFrame(picture.shape, 1024, 256), "sam")
        in_torch = TorchBackend(random_vit_b(seen))
    else:
        in_torch = TorchBackend(load_sam(weights))
    with TemporaryDirectory() as folder:
        made = export_network(in_torch.network, in_torch.normalization, Path(folder) / "sam", half)
        in_onnx = OnnxBackend.load(made)
    if in_torch.normalization == "ranks":
        return MaskPromptBackend(in_torch), MaskPromptBackend(in_onnx)
    return in_torch, in_onnx


def grid_answers(backend: Backend, image: CTSlice) -> DecodedMasks:
    """Return three masks for each point of a grid."""
    embedded = embed(backend, to_display(image))
    steps = (np.arange(POINTS_PER_SIDE) + 0.5) / POINTS_PER_SIDE
    xy = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2) * image.shape[::-1]
    points = np.zeros((len(xy), 2, 2), dtype=np.float32)
    points[:, 0] = embedded.frame.to_input(xy)
    labels = np.tile(np.array([INSIDE, NO_POINT], dtype=np.int64), (len(xy), 1))
    return backend.decode_masks(backend.encode_prompts(embedded.embedding, None), points, labels, True)


def label_map(backend: Backend, image: CTSlice, method: Everything) -> tuple[NDArray[np.int32], float]:
    """Return the label map of segment-everything, and the seconds that it took."""
    start = time.perf_counter()
    labels = EverythingSegmenter(method, backend, "").segment(image).labels
    return labels, time.perf_counter() - start


def measure(in_torch: Backend, in_onnx: Backend, images: list[CTSlice]) -> dict[str, object]:
    method = Everything()
    logits, ious, differing, structures = [], [], [], []
    seconds: tuple[list[float], list[float]] = ([], [])
    for image in images:
        first, second = (grid_answers(backend, image) for backend in (in_torch, in_onnx))
        logits.append(np.abs(first.logits - second.logits).max())
        ious.append(np.abs(first.predicted_iou - second.predicted_iou).max())
        maps = []
        for backend, times in zip((in_torch, in_onnx), seconds, strict=True):
            labels, took = label_map(backend, image, method)
            maps.append(labels)
            times.append(took)
        differing.append(float((maps[0] != maps[1]).mean()))
        structures.append(int(maps[0].max()))
    return {
        "slices": len(images),
        "largest_difference_of_logits": f"{max(logits):.2e}",
        "largest_difference_of_predicted_iou": f"{max(ious):.2e}",
        "identical_label_maps": round(float(np.mean([share == 0 for share in differing])), 3),
        "largest_share_of_pixels_differing": round(max(differing), 5),
        "structures": round(statistics.mean(structures), 1),
        "torch_seconds": round(statistics.median(seconds[0]), 2),
        "onnx_seconds": round(statistics.median(seconds[1]), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--weights", type=Path, help="checkpoint; none: random weights")
    parser.add_argument("--slices", type=int, default=10, help="slices of each set")
    parser.add_argument("--half", action="store_true", help="keep the weights of the export in 16 bits")
    parser.add_argument("--output", type=Path, default=RESULTS, help="CSV to write")
    parser.add_argument(
        "--data", type=Path, default=Path("../shared/data"), help="folder of the real CT data"
    )
    chosen = parser.parse_args()
    sets = list(slices(chosen.data, chosen.slices))
    in_torch, in_onnx = backends(chosen.weights, sets[0][1][0], chosen.half)
    print(machine())
    network = chosen.weights.stem if chosen.weights else "random ViT-B"
    rows = []
    for name, images in sets:
        weights = "float16" if chosen.half else "float32"
        rows.append(
            {"network": network, "weights": weights, "set": name, **measure(in_torch, in_onnx, images)}
        )
        print(*(f"{key} {value}" for key, value in rows[-1].items()), sep=", ")
    asked = f" --weights {chosen.weights.name}" if chosen.weights else ""
    command = f"python benchmarks/onnx_agreement.py{asked} --slices {chosen.slices}"
    save_results(chosen.output, rows, command + (" --half" if chosen.half else ""))


if __name__ == "__main__":
    main()
