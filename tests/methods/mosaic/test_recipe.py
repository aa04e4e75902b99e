"""A training from a pack: the same batches as from the folder, stopped and continued, and bad input."""

import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fewct.cli import main
from fewct.data.pack import EVERY
from fewct.data.training_data import read_training_data
from fewct.errors import InputError, UsageError
from fewct.methods.mosaic.network import MosaicNet
from fewct.methods.mosaic.recipe import MosaicRecipe, batches, train, training_sources
from fewct.recipes import RECIPES
from fewct.training.checkpoints import load_weights
from fewct.training.loop import CHECKPOINT
from fewct.training.runs import load_trained
from fewct.training.synthetic_ct import anatomy_of
from training_tree import write_tree

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tree(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def pack(tree: Path) -> Path:
    path = tree / "training.pack"
    assert main(["pack", str(tree), "-o", str(path)]) == 0
    return path


def words(data: Path, out: Path, *options: object) -> list[str]:
    fixed = ("train", "mosaic", "--data", data, "--encoder", "", "--size-px", 64, "--validation-batches", 1)
    loop = (
        "--batch-size",
        2,
        "--workers",
        0,
        "--validate-every",
        1,
        "--steps",
        2,
        "--no-bfloat16",
        "-o",
        out,
    )
    return [str(word) for word in (*fixed, *loop, *options)]


def test_a_pack_gives_the_batches_of_the_folder(tree: Path, pack: Path) -> None:
    """But for the sources that are thinned out, and steps of 2 HU."""
    recipe = MosaicRecipe(size_px=64, neighbour_share=0.5)
    built = []
    for path in (tree, pack):
        data = read_training_data(path)
        stacks = [stack for stack in data.training if stack.source not in EVERY]
        sources = training_sources(stacks, [anatomy_of(one) for one in data.anatomies], CPU)
        built.append(batches(recipe, sources, 1, CPU, 0)[0])
    one, other = built
    for name in ("border", "border_weight", "structure", "structure_weight", "labels", "labels_above"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name
    assert (one.channels - other.channels).abs().mean() < 0.02


def test_a_training_from_a_pack_is_stopped_and_goes_on(
    pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RECIPES["mosaic"], "export", staticmethod(lambda folder: folder / "model.onnx"))
    stopped = tmp_path / "stopped"
    with monkeypatch.context() as patch:

        def die(*_: object) -> None:
            if (stopped / CHECKPOINT).exists():
                raise KeyboardInterrupt

        patch.setattr("fewct.training.loop.learning_rate", lambda *_: die() or 1e-3)
        with pytest.raises(KeyboardInterrupt):
            main(words(pack, stopped))
    assert load_weights(stopped / CHECKPOINT)["step"] == 1
    assert all(path.stat().st_size <= 15_000_000 for path in stopped.iterdir())
    assert main(words(pack, stopped, "--budget-minutes", 30)) == 0
    network = load_trained(MosaicNet(), stopped)
    assert all(bool(torch.isfinite(weight).all()) for weight in network.parameters())
    assert load_weights(stopped / CHECKPOINT)["step"] == 2


def without_a_part(path: Path) -> None:
    with zipfile.ZipFile(path) as old:
        content = {name: old.read(name) for name in old.namelist() if name != "anatomy_0"}
    with zipfile.ZipFile(path, "w") as new:
        for name, data in content.items():
            new.writestr(name, data)


def damaged(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("change", [without_a_part, damaged])
def test_bad_packs(pack: Path, tmp_path: Path, change: Callable[[Path], None]) -> None:
    copy = tmp_path / "copy.pack"
    copy.write_bytes(pack.read_bytes())
    change(copy)
    with pytest.raises(InputError, match=r"copy\.pack: expected a whole pack of training data"):
        train(MosaicRecipe(data=copy, encoder=""), tmp_path / "run")


def test_a_damaged_encoder(pack: Path, tmp_path: Path) -> None:
    (tmp_path / "lite0.pth").write_bytes(b"no encoder")
    with pytest.raises(InputError, match=r"lite0\.pth: expected"):
        train(MosaicRecipe(data=pack, encoder=str(tmp_path / "lite0.pth")), tmp_path / "run")


def test_labels_without_the_flags_of_what_is_annotated(tmp_path: Path) -> None:
    tree = write_tree(tmp_path / "data")
    path = tree / "more" / "openkbp" / "train_pats.npz"
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files if name != "annotated"}
    np.savez(path, **arrays)
    assert main(["pack", str(tree), "-o", str(tmp_path / "training.pack")]) == 1
    assert not (tmp_path / "training.pack").exists()


def test_organs_that_may_be_hidden() -> None:
    assert replace(MosaicRecipe(), without=("spleen",)).without == ("spleen",)
    with pytest.raises(UsageError, match=r"without: expected names among spleen, .*, found heart"):
        MosaicRecipe(without=("heart",))
