"""The ```sh blocks of the documents run, page by page, on small data of the names that the pages use.

Trainings are cut short, and GPUs and processes left out; nothing is fetched. The commands of model cards,
which made the weights in hours, are parsed alone. All else runs as it stands.
"""

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dicom_builder import write_ct
from fewct.cli import main, parse
from fewct.phantom import phantom_slice, phantom_volume
from fewct.recipes import RECIPES
from fewct.runtime.official_weights import DOWNLOADS
from methods.sam.reference import write_checkpoint
from training_tree import write_tree

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.DOTALL | re.MULTILINE)
PAGES = {
    path.relative_to(ROOT).as_posix(): BLOCK.findall(path.read_text("utf-8"))
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    if path.name != "extending.md"  # needs its package: see test_extending
}
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
DROPPED = {"--budget-minutes", "--steps", "--warmup-steps", "--validate-every", "--batch-size", "--device"}
SHORT = {
    "unet": ["--size-px", "64", "--widths", "8", "16", "32"],
    "mosaic": ["--size-px", "64", "--validation-batches", "1", "--encoder", ""],
    "sam": ["--augmented-views", "1", "--prompts", "2"],
    "bam": ["--size-px", "48", "--regions", "gradients"],
}
SLICES = {
    "few": range(1, 6),
    "supports": range(1, 3),
    "other_patients": range(6, 8),
    "patients": range(8, 11),
    "site/train": range(8, 12),
    "site/labelled": range(8, 12),
    "site/rest": range(12, 14),
    "site/val": range(14, 15),
}
NAMED = {"sam_vit_b": "sam_vit_b_01ec64.pth", "medsam-vit-base": "medsam_vit_b.pth"}


def grey(seed: int, size: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """Slice of a made patient, 8 bits, and its labels from 1."""
    ct, truth = phantom_slice(seed, size=size)
    labels = np.unique(truth.labels, return_inverse=True)[1].astype(np.uint8)
    return ((ct.pixels + 160) / 400 * 255).clip(0, 255).astype(np.uint8), labels


def write_pairs(folder: Path, seeds: range) -> None:
    for side in ("images", "labels"):
        (folder / side).mkdir(parents=True)
    for seed in seeds:
        for side, pixels in zip(("images", "labels"), grey(seed), strict=True):
            Image.fromarray(pixels).save(folder / side / f"{seed}.png")


def write_packed(folder: Path, seeds: range) -> None:
    """Write patients as the real data is packed: slices with organs, and the same with weak contrast."""
    folder.mkdir(parents=True)
    for seed in seeds:
        image, label = (part[None] for part in grey(seed))
        organs = np.where(label <= 13, label, 0).astype(np.uint8)
        dense = {"dense_image": image, "dense_label": organs, "dense_segments": label, "dense_z": np.zeros(1)}
        np.savez(folder / f"{seed:03}.npz", image=image, label=organs, z=np.zeros(1), **dense)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all inputs that the blocks speak of."""
    folder = tmp_path_factory.mktemp("inputs")
    volume, _ = phantom_volume(0, slices=2, size=64)
    (folder / "scan").mkdir()
    for index, plane in enumerate(volume):
        assert plane.geometry is not None
        stored = (plane.pixels + 1024).clip(0, 4000).astype(np.int16)
        position, (_, row_mm, _) = plane.geometry.affine[:3, 3].tolist(), plane.geometry.spacing_mm
        write_ct(folder / "scan" / f"{index}.dcm", stored, position, PixelSpacing=[row_mm, row_mm])
    for name, seeds in SLICES.items():
        write_pairs(folder / name, seeds)
    write_packed(folder / "btcv" / "train", range(2))
    write_packed(folder / "btcv" / "val", range(2, 4))
    write_tree(folder / "data")
    for name in NAMED.values():
        write_checkpoint(folder / name)
    Image.fromarray(grey(0)[0]).save(folder / "slice.png")
    return folder


def commands(block: str, folder: Path) -> Iterator[list[str]]:
    """Give the commands of a block as words; $(...) is run, and what it prints put in."""
    known: dict[str, str] = {}
    for line in block.replace("\\\n", " ").splitlines():
        stored = re.fullmatch(r"(\w+)=\$\((.*)\)", line)
        if stored:
            program, *words = shlex.split(stored[2])
            assert program == "python"
            known[stored[1]] = subprocess.run(
                [sys.executable, *words], cwd=folder, check=True, capture_output=True, text=True
            ).stdout.strip()
            continue
        for command in line.split(" && "):
            words = shlex.split(re.sub(r"\$(\w+)", lambda found: known[found[1]], command), comments=True)
            if words:
                yield words


def shortened(words: list[str]) -> list[str]:
    """The words of a training, with two steps of two small pictures on the CPU instead of its own."""
    if words[0] == "adapt":
        return [*words, "--budget-minutes", "0"]  # settings alone
    if words[:2] == ["prepare", "medsam"]:
        small = ["--min-original-px", "20", "--min-resized-px", "20"]
        return [*words[: words.index("--weights")], *small]  # embeddings are of networks of SAM's size alone
    if words[0] != "train":
        return words
    small = SHORT[words[1]]
    dropped = DROPPED | {word for word in small if word.startswith("--")}
    kept, keep = [], True
    for word in words:
        keep = word not in dropped if word.startswith("-") else keep
        kept += [word] * keep
    steps = [
        "--steps",
        "2",
        "--batch-size",
        "2",
        "--warmup-steps",
        "1",
        "--validate-every",
        "2",
        "--workers",
        "0",
    ]
    return [*kept, *steps, *small, "--no-bfloat16"]


def run(words: list[str], parse_only: bool) -> None:
    """Run one command of a page, or check what it names where it cannot run here."""
    program, *rest = words
    if program == "torchrun":  # one process does what several would
        assert rest[rest.index("-m") + 1] == "fewct"
        program, rest = "fewct", rest[rest.index("-m") + 2 :]
    if program == "fewct":
        if rest[:2] == ["models", "download"]:
            assert rest[2] in DOWNLOADS or "/" in rest[2]
        else:
            assert parse(rest)
            assert parse_only or main(shortened(rest)) == 0, shlex.join(words)
    elif program == "pip":
        assert rest[0] == "install"
        assert set(re.findall(r"\w+", rest[1].partition("[")[2])) <= set(EXTRAS)
    elif program == "python":
        assert (ROOT / rest[0]).is_file()
    elif program == "tensorboard":
        assert list(Path(rest[rest.index("--logdir") + 1]).rglob("events.out.tfevents.*"))
    else:
        assert words == ["export", "OMP_WAIT_POLICY=passive"]


@pytest.mark.parametrize("page", [page for page, found in PAGES.items() if found])
def test_blocks_run(page: str, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = tmp_path / "work"
    work.mkdir()
    for name in (*SLICES, *NAMED.values(), "scan", "slice.png", "btcv", "data"):
        if re.search(rf"(?<![\w/.-]){re.escape(name)}(?![\w.])", "".join(PAGES[page])):
            copy = shutil.copytree if (inputs / name).is_dir() else shutil.copy
            copy(inputs / name, work / name)
    monkeypatch.chdir(work)
    monkeypatch.setenv("FEWCT_NUM_THREADS", "1")
    if (
        page == "docs/how-to/train.md"
    ):  # exports take most of the time, and nothing there reads what they write
        for recipe in ("sam", "mosaic"):
            monkeypatch.setattr(RECIPES[recipe], "export", staticmethod(lambda folder: folder / "model"))
    monkeypatch.setenv("FEWCT_CACHE_DIR", str(tmp_path / "cache"))
    for name, file in NAMED.items():
        assert main(["models", "import", str(inputs / file), "--as", name]) == 0
    for block in PAGES[page]:
        for words in commands(block, work):
            run(words, parse_only="model-cards" in page)
        for folder in (*Path().glob("runs/*"), *Path().glob("out")):  # the next block writes the same again
            shutil.rmtree(folder)


def test_most_pages_have_blocks() -> None:
    assert sum(map(len, PAGES.values())) >= 24
