"""`fewct train bam`: from labelled patients to a trained network, with tiny networks."""

import json
from pathlib import Path

import numpy as np
import pytest

from fewct.cli import main
from fewct.errors import InputError, UsageError
from fewct.methods.bam import recipe as recipes
from fewct.methods.bam.recipe import BAMRecipe, load_trained
from fewct.recipes.bam import TrainBAM, fill_unlabelled
from fewct.result import SliceSegmentation
from fewct.training.checkpoints import save_weights
from methods.bam.tiny import body_slice, tiny_network

SMALL = [
    *("--size-px", "48", "--steps", "4", "--batch-size", "2"),
    *("--workers", "0", "--validate-every", "1"),
]


@pytest.fixture(autouse=True)
def small_and_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train tiny networks in one thread, and leave out the export, which takes seconds."""
    monkeypatch.setenv("FEWCT_NUM_THREADS", "1")
    monkeypatch.setattr(TrainBAM, "export", staticmethod(lambda folder: folder / "model.onnx"))
    monkeypatch.setattr(
        recipes, "BAMNet", lambda n_base, _, with_base: tiny_network(n_base, with_base=with_base)
    )


@pytest.fixture
def patients(tmp_path: Path) -> Path:
    """Return a folder of three patients, one slice each."""
    folder = tmp_path / "patients"
    folder.mkdir()
    for seed in range(3):
        image, labels = body_slice(seed)
        np.savez(folder / f"p{seed}.npz", image=image.pixels[None], label=labels[None].astype(np.uint8))
    return folder


def test_training_by_the_command_line(patients: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["train", "bam", "--data", f"{patients}", "--regions", "gradients", "-o", f"{out}", *SMALL]
    assert main(words) == 0
    assert json.loads((out / "training.json").read_text())["recipe"] == "bam"
    assert load_trained(BAMRecipe(), out).n_base == 2


def test_hidden_structures_are_no_base_structures(patients: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["train", "bam", "--data", f"{patients}", "--regions", "none", "--hidden", "2", *SMALL]
    assert main([*words, "-o", f"{out}"]) == 0
    assert load_trained(BAMRecipe(), out).n_base == 1


def test_ids_that_mean_nothing(patients: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["train", "bam", "--data", f"{patients}", "--regions", "gradients", "--no-named", *SMALL]
    assert main([*words, "-o", f"{out}"]) == 0
    assert load_trained(BAMRecipe(), out).n_base == 0


def test_labelled_structures_come_before_found_ones() -> None:
    truth = np.array([[4, 4, 0, 0, 0, 0]], np.int32)
    found = SliceSegmentation(np.array([[1, 1, 1, 2, 2, 0]], np.int32), np.ones(2, np.float32))
    assert fill_unlabelled(truth, found).tolist() == [[4, 4, 0, 5, 5, 0]]


def test_hiding_what_has_no_name() -> None:
    with pytest.raises(UsageError, match="hidden: expected ids that mean the same on all slices"):
        TrainBAM(("patients",), named=False, hidden=(2,))


def test_a_damaged_training(tmp_path: Path) -> None:
    (tmp_path / "meta").mkdir()
    save_weights({"average": {}}, tmp_path / "meta" / "checkpoint.pt")
    with pytest.raises(InputError, match="expected the second stage of a training of BAM"):
        load_trained(BAMRecipe(), tmp_path)
