"""Two runs of the commands that write files give the same bytes: but for times, which are named here.

The runs differ in the clock (by years), time zone, hash seed, working folder and, where that must not matter,
number of threads.
"""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dicom_builder import write_ct
from fewct.phantom import phantom_slice
from fewct.segmentation import segment
from fewct.training.checkpoints import load_weights
from fewct.types import CTVolume

SIZE = 96
FORMATS = ("dicom-seg", "nifti", "nrrd", "metaimage", "npz", "coco")
TIMED_METRICS = ("seconds", "peak_memory_mb")
SHOWS_TIMES = {"benchmark/report.html", "benchmark/figures/score_against_time.png"}
SHORT = (
    *("--size-px", 32, "--widths", 2, 4, 4, "--batch-size", 2, "--validation-share", 0.25),
    *("--steps", 4, "--validate-every", 2, "--warmup-steps", 2, "--workers", 0, "--no-bfloat16"),
)


def write_inputs(folder: Path) -> None:
    """Write a DICOM series, labelled pictures, labelled NPZ files, and two images of 512 x 512 pixels."""
    for part in ("series", "pairs/images", "pairs/labels", "patients", "test"):
        (folder / part).mkdir(parents=True)
    for seed in range(4):
        ct, truth = phantom_slice(seed, size=SIZE)
        stored, labels = ct.pixels.round().astype(np.int16), truth.labels.astype(np.uint8)
        dates = {"StudyDate": "20200102", "ContentDate": "20200103", "ContentTime": "040506"}
        write_ct(folder / "series" / f"{seed}.dcm", stored + 1024, (0, 0, 2 * seed), **dates)
        grey = ((ct.pixels + 160) / 400 * 255).clip(0, 255).astype(np.uint8)
        Image.fromarray(grey).save(folder / "pairs" / "images" / f"{seed}.png")
        Image.fromarray(labels).save(folder / "pairs" / "labels" / f"{seed}.png")
        np.savez(folder / "patients" / f"p{seed}.npz", image=stored[None], label=labels[None])
        if seed < 2:
            enlarged = np.kron(grey, np.ones((6, 6), np.uint8))[32:-32, 32:-32]
            Image.fromarray(enlarged).save(folder / "test" / f"{seed}.png")


def commands(inputs: Path, out: Path, threads: int) -> list[tuple[int, list[str]]]:
    """Return commands that write files of all kinds, with the number of threads of each."""
    pairs, picture = inputs / "pairs", inputs / "pairs" / "images" / "0.png"
    any_threads: list[tuple[Any, ...]] = [
        ("segment", inputs / "series", "-o", out / name, "--format", name, "--method", "watershed")
        for name in FORMATS
    ]
    any_threads += [
        ("segment", inputs / "series", "-o", out / "own_format", "--method", "watershed"),
        ("challenge", "submit", "--images", inputs / "test", "-o", out / "a.csv", "--method", "watershed"),
        ("challenge", "unpack", out / "a.csv", "-o", out / "unpacked"),
        ("challenge", "unpack", out / "a.csv", "-o", out / "unpacked.npz"),
        ("challenge", "pack", out / "unpacked", "-o", out / "packed.csv"),
        ("join", *sorted((pairs / "labels").iterdir()), "-o", out / "joined.png"),
    ]
    one_thread: list[tuple[Any, ...]] = [
        *(("segment", picture, "-o", out / f"mosaic_{name}", "--format", name) for name in ("png", "npz")),
        ("benchmark", "--data", pairs, "--methods", "watershed", "felzenszwalb", "-o", out / "benchmark"),
        ("prepare", "medsam", "--data", pairs, "-o", out / "medsam", "--min-original-px", 10),
        ("adapt", "--data", pairs, "-o", out / "adapted", "--boundary-source", "gradients"),
        ("train", "unet", "--data", inputs / "patients", "-o", out / "trained", *SHORT),
    ]
    return [
        (number, [str(word) for word in words])
        for number, some in ((threads, any_threads), (1, one_thread))
        for words in some
    ]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return the folders of two runs, which go on at the same time."""
    root = tmp_path_factory.mktemp("same")
    write_inputs(root / "inputs")
    places = (root / "first", root / "elsewhere" / "second")
    running = []
    for number, (place, zone) in enumerate(zip(places, ("UTC", "Asia/Tokyo"), strict=True)):
        place.mkdir(parents=True)
        todo = commands(root / "inputs", Path("out"), threads=1 + number)
        script = Path(__file__).with_name("run_shifted.py")
        environment = {**os.environ, "TZ": zone, "PYTHONHASHSEED": str(number)}
        environment.pop("SOURCE_DATE_EPOCH", None)
        running.append(
            subprocess.Popen(
                [sys.executable, script, str(1e8 * number), json.dumps(todo)],
                cwd=place,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
    for process in running:
        said, _ = process.communicate()
        assert process.returncode == 0, said
    return places[0] / "out", places[1] / "out"


def without_times(file: Path, name: str) -> Any:
    """Return what a file holds besides times: its bytes, if there are none."""
    if file.name.endswith("_manifest.json") or file.name == "adapted.json":
        return without(json.loads(file.read_text()), "seconds")
    if name == "benchmark/manifest.json":
        return without(json.loads(file.read_text()), "timing")
    if name == "benchmark/.fewct_resume/rows.jsonl":
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        return sorted(
            (row["key"], without(row["metrics"], *TIMED_METRICS), row["structures"]) for row in rows
        )
    if file.suffix == ".csv" and file.name in ("rows.csv", "summary.csv", "curves.csv"):
        rows = list(csv.DictReader(io.StringIO(file.read_text())))
        if file.name == "summary.csv":
            return [row for row in rows if row["metric"] not in TIMED_METRICS]
        return [without(row, *(TIMED_METRICS if file.name == "rows.csv" else ["minutes"])) for row in rows]
    if file.name == "checkpoint.pt":
        buffer = io.BytesIO()
        torch.save(without(load_weights(file), "elapsed_s"), buffer)
        return buffer.getvalue()
    if file.suffix == ".part":
        return None  # of the checkpoint
    return file.read_bytes()


def without(record: dict[str, Any], *keys: str) -> dict[str, Any]:
    for key in keys:
        del record[key]
    return record


def files_of(folder: Path) -> dict[str, Path]:
    return {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}


def test_every_file_is_the_same_but_for_times(runs: tuple[Path, Path]) -> None:
    first, second = map(files_of, runs)
    assert set(first) == set(second)
    different = [
        name
        for name in sorted(set(first) - SHOWS_TIMES)
        if without_times(first[name], name) != without_times(second[name], name)
    ]
    assert different == []


@pytest.mark.parametrize(
    "name",
    [
        *("dicom-seg/series_labels.dcm", "nifti/series_labels.nii.gz", "nrrd/series_labels.nrrd"),
        *("metaimage/series_labels.mha", "npz/series_labels.npz", "coco/series_labels.json"),
        *("own_format/series_labels.dcm", "mosaic_png/0_labels.png", "mosaic_npz/0_labels.npz"),
        *("npz/series_overlay.png", "npz/series_structures.csv", "a.csv", "packed.csv", "unpacked.npz"),
        *("joined.png", "benchmark/structures.csv", "benchmark/figures/score_against_size.png"),
        *("medsam/0.npz", "trained/model.onnx", "trained/best.pt"),
    ],
)
def test_results_have_no_times_at_all(runs: tuple[Path, Path], name: str) -> None:
    assert (runs[0] / name).read_bytes() == (runs[1] / name).read_bytes()


def test_the_files_with_times_are_these(runs: tuple[Path, Path]) -> None:
    first, second = map(files_of, runs)
    different = {name for name in first if first[name].read_bytes() != second[name].read_bytes()}
    named = {name.rpartition("/")[2] for name in different if not name.endswith(".part")}
    assert named <= {
        *("series_manifest.json", "0_manifest.json", "manifest.json", "adapted.json"),
        *("rows.csv", "rows.jsonl", "summary.csv", "report.html", "score_against_time.png"),
        *("curves.csv", "checkpoint.pt"),
    }


def test_kept_slices_of_a_scan_are_the_same(tmp_path: Path, rng: np.random.Generator) -> None:
    scan = CTVolume.from_array(rng.normal(0, 300, (2, 32, 32)).astype(np.float32), unit="hu")
    kept = [tmp_path / name for name in ("a", "b")]
    for folder in kept:
        segment(scan, "watershed", resume_dir=folder)
    first, second = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in kept)
    assert len(first) == 2
    assert first == second
