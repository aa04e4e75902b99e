"""The rebuilt package against the one before it, in one run: the same label maps, and how long it takes.

    python benchmarks/before_after.py BEFORE AFTER [--runs 5]

BEFORE and AFTER are the `python` of two environments, each with its version of fewct installed. Ten named
runs of `fewct segment` must give label maps equal in every voxel; commands are timed in turn, before, after,
before, after ..., as whole processes; one run counts how often each support file of `bam` is opened.
"""

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper
from PIL import Image

from organs import DATA
from results_io import RESULTS, machine, save_results
from slice_time import write_supports

SERIES = DATA / "abdomen_series" / "dicom"
COUNT_OPENS = """
import json, sys
opened = {}
def count(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        name = arguments[0] if isinstance(arguments[0], str) else arguments[0].decode()
        opened[name] = opened.get(name, 0) + 1
sys.addaudithook(count)
from fewct.cli import main
main(json.loads(sys.argv[1]))
print(json.dumps({name: n for name, n in opened.items() if sys.argv[2] in name}))
"""


def write_unet(folder: Path) -> Path:
    """Write an ONNX file of the U-Net's form: what is brighter than the middle is structure."""
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, "rows", "columns"])
    y = helper.make_tensor_value_info("foreground", TensorProto.FLOAT, [1, "rows", "columns"])
    steps = helper.make_tensor("axes", TensorProto.INT64, [1], [1])
    factor = helper.make_tensor("factor", TensorProto.FLOAT, [], [8.0])
    nodes = [
        helper.make_node("Mul", ["x", "factor"], ["scaled"]),
        helper.make_node("Sigmoid", ["scaled"], ["p"]),
        helper.make_node("Squeeze", ["p", "axes"], ["foreground"]),
    ]
    graph = helper.make_graph(nodes, "unet", [x], [y], [steps, factor])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, {"fewct_unet_size_px": "256"})
    path = folder / "unet.onnx"
    onnx.save(model, path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_name("unet.onnx.sha256").write_text(f"{sha256}  unet.onnx\n")
    return path


def inputs(folder: Path) -> dict[str, Path]:
    """Write the inputs of the runs: one DICOM file, a series, an 8-bit picture, supports, a network."""
    found = {"series": SERIES, "slice": folder / "one.dcm", "picture": folder / "slice.png"}
    shutil.copy(SERIES / "slice_07.dcm", found["slice"])
    with np.load(DATA / "btcv" / "val" / "033.npz") as file:
        Image.fromarray(file["image"][len(file["image"]) // 2]).save(found["picture"])
    found["support"] = folder / "support"
    found["support"].mkdir()
    write_supports(found["support"])
    found["unet"] = write_unet(folder)
    return found


def named_runs(found: dict[str, Path]) -> dict[str, list[str]]:
    """Return the words of `fewct segment` for each of the ten runs, in words that both versions take."""
    series, one, picture = (str(found[name]) for name in ("series", "slice", "picture"))
    bam = ["--method", "bam", "--support", str(found["support"])]
    return {
        "mosaic, slice": [one],
        "mosaic, series": [series],
        "mosaic, PNG": [picture],
        "gradients, slice": [one, "--maps", "gradients"],
        "watershed, slice": [one, "--method", "watershed"],
        "unet, slice": [one, "--method", "unet", "--weights", str(found["unet"])],
        "bam, series": [series, *bam],
        "bam over mosaic, PNG": [picture, *bam, "--over", "mosaic"],
        "everything, slice": [one, "--method", "everything"],
        "boxes, PNG": [picture, "--method", "medsam-boxes"],
    }


def run(python: str, words: list[str]) -> float:
    """Run `fewct` and return its wall-clock seconds."""
    start = time.perf_counter()
    subprocess.run(
        [python, "-m", "fewct", *words], check=True, capture_output=True, cwd=tempfile.gettempdir()
    )
    return time.perf_counter() - start


def label_map(python: str, words: list[str], folder: Path) -> np.ndarray:
    """Return the label map that a run of `fewct segment` writes."""
    run(python, ["segment", *words, "-o", str(folder), "--format", "npz"])
    (path,) = folder.glob("*_labels.npz")
    with np.load(path) as arrays:
        return np.asarray(arrays["labels"])


def opens(python: str, words: list[str], support: Path) -> tuple[int, int]:
    """Return how many support files a run opens, and how often the most opened one of them."""
    script = [python, "-c", COUNT_OPENS, json.dumps(words), str(support)]
    done = subprocess.run(script, check=True, capture_output=True, text=True, cwd=tempfile.gettempdir())
    counts = json.loads(done.stdout.splitlines()[-1])
    files = {name: n for name, n in counts.items() if Path(name).is_file()}
    return len(files), max(files.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("before")
    parser.add_argument("after")
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    os.environ.pop("PYTHONPATH", None)
    pythons = {"before": arguments.before, "after": arguments.after}
    rows: list[dict[str, object]] = []

    def tell(what: str, before: object, after: object, ratio: object) -> None:
        rows.append({"what": what, "before": before, "after": after, "after / before": ratio})
        print(*rows[-1].values(), sep=", ", flush=True)

    print(machine())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = inputs(folder)
        runs = named_runs(found)
        for number, (what, words) in enumerate(runs.items()):
            maps = {
                which: label_map(python, words, folder / f"{which}{number}")
                for which, python in pythons.items()
            }
            equal = np.array_equal(maps["before"], maps["after"])
            structures = {which: len(np.unique(labels)) - 1 for which, labels in maps.items()}
            tell(f"label map, {what}: structures", structures["before"], structures["after"], f"{equal}")
        timed = {
            "fewct --help": ["--help"],
            "fewct segment one.dcm": ["segment", *runs["mosaic, slice"], "-o", str(folder / "timed")],
        } | {
            f"fewct segment, {what}": ["segment", *words, "-o", str(folder / "timed")]
            for what, words in runs.items()
        }
        for what, words in timed.items():
            seconds: dict[str, list[float]] = {"before": [], "after": []}
            for _ in range(arguments.runs):
                for which, python in pythons.items():
                    shutil.rmtree(folder / "timed", ignore_errors=True)
                    seconds[which].append(run(python, words))
            ratio = statistics.median(a / b for a, b in zip(seconds["after"], seconds["before"], strict=True))
            medians = [f"{statistics.median(seconds[which]):.2f}" for which in pythons]
            tell(f"seconds, {what}", *medians, f"{ratio:.2f}")
        counted = {}
        for which, python in pythons.items():
            words = ["segment", *runs["bam, series"], "-o", str(folder / f"opens_{which}")]
            counted[which] = opens(python, words, found["support"])
        tell("bam, series: support files", counted["before"][0], counted["after"][0], "")
        tell("bam, series: most often opened", counted["before"][1], counted["after"][1], "")
    command = f"python benchmarks/before_after.py BEFORE AFTER --runs {arguments.runs}"
    save_results(RESULTS / "before_after.csv", rows, command)


if __name__ == "__main__":
    main()
