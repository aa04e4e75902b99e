"""`fewct train` and `fewct models export` as a user meets them."""

import json
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from deadline import DEADLINE_S
from fewct.cli import main, parse
from fewct.data.splits import load_split
from fewct.errors import InputError, OutputError, UsageError
from fewct.methods import METHODS
from fewct.methods.mosaic.network import MapLogits, MosaicNet
from fewct.methods.mosaic.recipe import MosaicRecipe
from fewct.phantom import phantom_slice
from fewct.recipes import RECIPES
from fewct.recipes.export import export_folder
from fewct.runtime.onnx_session import load_network
from fewct.training.checkpoints import load_weights, save_weights
from fewct.training.curves import CURVES, EVENTS
from fewct.training.loop import CHECKPOINT

SIZE = 48
SMALL = [
    *("--size-px", "32", "--widths", "2", "4", "4", "--batch-size", "2"),
    *("--warmup-steps", "2", "--workers", "0", "--no-bfloat16"),
]


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many threads only wait for each other on images this small."""
    monkeypatch.setenv("FEWCT_NUM_THREADS", "1")


@pytest.fixture
def no_export(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the export, which takes seconds."""
    for name in ("unet", "mosaic"):
        monkeypatch.setattr(RECIPES[name], "export", staticmethod(lambda folder: folder / "model.onnx"))


def write_patients(folder: Path, seeds: range) -> Path:
    """Write a slice of some patients, each in an NPZ with image and label."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        ct, truth = phantom_slice(seed, size=SIZE)
        image, label = ct.pixels.astype(np.int16), truth.labels.astype(np.uint8)
        np.savez(folder / f"p{seed}.npz", image=image[None], label=label[None])
    return folder


@pytest.fixture(scope="module")
def patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_patients(tmp_path_factory.mktemp("data") / "patients", range(4))


def words(data: Path, folder: Path, *more: object) -> list[str]:
    return ["train", "unet", "--data", str(data), "-o", str(folder), *SMALL, *map(str, more)]


@pytest.fixture(scope="module")
def trained(patients: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train by the command, with an export."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEWCT_NUM_THREADS", "1")
        options = ("--steps", 4, "--validate-every", 2, "--validation-share", 0.25)
        assert main(words(patients, folder, *options)) == 0
    return folder


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    ct, _ = phantom_slice(9, size=64)
    path = tmp_path_factory.mktemp("pictures") / "slice.png"
    Image.fromarray(((ct.pixels + 160) / 400 * 255).clip(0, 255).astype(np.uint8)).save(path)
    return path


@pytest.mark.parametrize("name", sorted(RECIPES.builtin))
def test_what_is_printed_names_a_method(name: str) -> None:
    option, method, *_ = RECIPES[name].use.split()
    assert option == "--method"
    assert method in METHODS


class TestTrained:
    def test_patients_are_parted(self, trained: Path) -> None:
        split = load_split(trained / "split.json")
        assert split.kind == "patient"
        assert [len(split.parts[side]) for side in ("train", "val")] == [3, 1]

    def test_curves_tell_both_losses(self, trained: Path) -> None:
        header, *rows = (trained / CURVES).read_text().splitlines()
        assert header == "step,minutes,bce,val_bce"
        assert [row.split(",")[0] for row in rows] == ["2", "4"]

    def test_export_gives_the_same_file_again(
        self, trained: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        first = (trained / "model.onnx").read_bytes()
        assert main(["models", "export", str(trained)]) == 0
        assert capsys.readouterr().out.strip() == str(trained / "model.onnx")
        assert (trained / "model.onnx").read_bytes() == first

    def test_what_is_trained_segments_and_torch_is_not_needed(
        self, trained: Path, picture: Path, tmp_path: Path
    ) -> None:
        script = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "onnx", "onnxscript", "transformers"):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
import fewct
from fewct.cli import main
found = ["--threshold", "0.1", "--opening-px", "0", "--min-area", "0px"]
codes = [
    main(["segment", {str(picture)!r}, "-o", {str(tmp_path / "unet")!r}, "--method", "unet",
          "--weights", {str(trained)!r}, *found]),
    main(["segment", {str(picture)!r}, "-o", {str(tmp_path / "default")!r}]),
    main(["train", "unet", "--data", "x"]),
    main(["models", "export", "x"]),
]
print(codes, "torch" in sys.modules)
print(main(["--help"]))
"""
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert "[0, 0, 1, 1] False" in done.stdout
        assert done.stdout.strip().endswith("0")
        assert "fewct train: expected the package torch" in done.stderr
        assert "fewct models export: expected the package torch" in done.stderr
        assert "pip install 'fewct[torch]'" in done.stderr
        for name in ("unet", "default"):
            assert (tmp_path / name / "slice_labels.png").exists()
        manifest = json.loads((tmp_path / "unet" / "slice_manifest.json").read_text())
        assert manifest["configuration"]["weights"] == str(trained)

    def test_another_training_does_not_go_on_there(self, trained: Path, patients: Path) -> None:
        with pytest.raises(UsageError, match=r"learning_rate was 0\.0001"):
            parse(words(patients, trained, "--learning-rate", 1)).run()

    def test_other_data_does_not_go_on_there(self, trained: Path, tmp_path: Path) -> None:
        other = write_patients(tmp_path / "other", range(4, 6))
        with pytest.raises(UsageError, match=r"other slices than in split\.json"):
            parse(words(other, trained, "--validation-share", 0.25, "--validate-every", 2)).run()


def test_importing_the_command_line_loads_no_torch() -> None:
    script = "import sys, fewct.cli; fewct.cli.parse(['segment', 'x']); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


class TestData:
    @pytest.mark.usefixtures("no_export")
    def test_one_slice_of_one_structure(self, tmp_path: Path) -> None:
        ct, truth = phantom_slice(0, size=SIZE)
        label = (truth.labels == truth.labels.max()).astype(np.uint8)
        np.savez(tmp_path / "one.npz", image=ct.pixels[None].astype(np.int16), label=label[None])
        options = ("--validation-share", 0, "--steps", 3)
        assert main(words(tmp_path / "one.npz", tmp_path / "run", *options)) == 0
        assert load_weights(tmp_path / "run" / CHECKPOINT)["step"] == 3
        assert all(np.isfinite(float(x)) for x in (tmp_path / "run" / CURVES).read_text().split(",")[3:])

    def test_one_patient_cannot_be_parted(self, tmp_path: Path) -> None:
        data = write_patients(tmp_path / "data", range(1))
        with pytest.raises(InputError, match=r"two or more groups by patient.*--validation-share 0"):
            parse(words(data, tmp_path / "run")).run()

    def test_no_labels(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "a.npz", image=np.zeros((2, 32, 32)), label=np.zeros((2, 32, 32), np.uint8))
        with pytest.raises(InputError, match="2 slices, all labels 0"):
            parse(words(tmp_path / "a.npz", tmp_path / "run", "--validation-share", 0)).run()

    def test_labels_of_another_shape(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "a.npz", image=np.zeros((2, 32, 32)), label=np.zeros((2, 16, 32), np.uint8))
        with pytest.raises(InputError, match="labels of the image's shape, 2 x 32 x 32, found 2 x 16 x 32"):
            parse(words(tmp_path / "a.npz", tmp_path / "run")).run()

    def test_a_patient_on_both_sides(self, patients: Path, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="patient p2 in train and in val"):
            parse(words(patients, tmp_path / "run", "--validation", patients / "p2.npz")).run()

    @pytest.mark.usefixtures("no_export")
    def test_validation_of_other_patients(self, patients: Path, tmp_path: Path) -> None:
        other = write_patients(tmp_path / "other", range(5, 6))
        assert main(words(patients, tmp_path / "run", "--validation", other, "--steps", 1)) == 0
        parts = load_split(tmp_path / "run" / "split.json").parts
        assert [len(parts[side]) for side in ("train", "val")] == [4, 1]

    def test_slices_that_look_alike_stay_together_where_patients_are_unknown(self, tmp_path: Path) -> None:
        folder = tmp_path / "pairs"
        for part in ("images", "labels"):
            (folder / part).mkdir(parents=True)
        for seed, name in ((0, "a"), (0, "b"), (1, "c")):
            ct, truth = phantom_slice(seed, size=SIZE)
            grey = ((ct.pixels + 160) / 400 * 255).clip(0, 255).astype(np.uint8)
            Image.fromarray(grey).save(folder / "images" / f"{name}.png")
            Image.fromarray(truth.labels.astype(np.uint8)).save(folder / "labels" / f"{name}.png")
        with pytest.raises(InputError, match="similarity 0 in train and in val"):
            parse(
                words(folder, tmp_path / "run", "--validation", write_copy(folder, tmp_path / "copy"))
            ).run()

    def test_share_out_of_range(self, patients: Path, tmp_path: Path) -> None:
        assert main(words(patients, tmp_path / "run", "--validation-share", 1)) == 2

    def test_mosaic_is_trained_by_its_own_recipe(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def pretend(recipe: MosaicRecipe, folder: Path, _: object) -> None:
            assert recipe.loop.steps == 7
            save_weights({"average": MosaicNet().state_dict()}, folder / CHECKPOINT)

        monkeypatch.setattr("fewct.recipes.packed.train_mosaic", pretend)
        for part in ("btcv/train", "btcv/val", "anatomy"):
            (tmp_path / part).mkdir(parents=True)
            (tmp_path / part / "a.npz").touch()
        run = tmp_path / "run"
        assert main(["train", "mosaic", "--data", str(tmp_path), "-o", str(run), "--steps", "7"]) == 0
        outputs = [output.name for output in load_network(run / "model.onnx").session.get_outputs()]
        assert outputs == list(MapLogits._fields)

    def test_mosaic_without_its_data(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="packed patients or anatomies"):
            parse(["train", "mosaic", "--data", str(tmp_path), "-o", str(tmp_path / "run")]).run()

    def test_recipes_are_listed_where_none_is_named(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit, match="0"):
            main(["train", "--help"])
        assert "{unet,mosaic,sam,prompt-small,bam}" in capsys.readouterr().out
        assert [RECIPES[name].name for name in RECIPES.builtin] == list(RECIPES.builtin)

    def test_unknown_recipe(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["train", "nothing", "--data", "here"]) == 2
        assert "fewct train: expected one of unet, mosaic, " in capsys.readouterr().err


def write_copy(folder: Path, copy: Path) -> Path:
    """Write the pairs of a folder under other names."""
    for file in sorted(folder.rglob("*.png")):
        target = copy / file.parent.name / f"copy_{file.name}"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
    return copy


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def edit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


class TestSelfTraining:
    @pytest.mark.usefixtures("no_export")
    def test_labels_are_not_needed(self, patients: Path, tmp_path: Path) -> None:
        for seed in range(10, 13):
            ct, _ = phantom_slice(seed, size=SIZE)
            np.savez(tmp_path / f"u{seed}.npz", image=ct.pixels[None].astype(np.int16))
        options = ("--steps", 4, "--validate-every", 2, "--unlabelled-batch-size", 3)
        with_them, without = tmp_path / "with", tmp_path / "without"
        assert main(words(patients, with_them, *options, "--unlabelled", tmp_path)) == 0
        assert main(words(patients, without, *options)) == 0
        header, *rows = (with_them / CURVES).read_text().splitlines()
        assert header == "step,minutes,bce,unlabelled,val_bce"
        assert all(float(row.split(",")[3]) > 0 for row in rows)
        assert not same(with_them, without)

    @pytest.mark.usefixtures("no_export")
    def test_a_stopped_training_ends_with_the_same_weights(self, patients: Path, tmp_path: Path) -> None:
        other = write_patients(tmp_path / "other", range(10, 13))
        options = ("--validate-every", 2, "--unlabelled", other, "--validation-share", 0.25, "--steps")
        whole, stopped = tmp_path / "whole", tmp_path / "stopped"
        assert main(words(patients, whole, *options, 8)) == 0
        killed = words(patients, stopped, *options, 8)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("fewct.training.loop.save_weights", count_down(3))
            with pytest.raises(KeyboardInterrupt):
                parse(killed).run()
        assert load_weights(stopped / CHECKPOINT)["step"] < 8
        assert main(killed) == 0
        assert same(whole, stopped)

    def test_a_patient_of_validation(self, patients: Path, tmp_path: Path) -> None:
        options = ("--validation", patients / "p1.npz", "--unlabelled", patients)
        with pytest.raises(
            InputError, match=r"--unlabelled: expected slices of other patients.*patient p1 on both"
        ):
            parse(words(patients / "p0.npz", tmp_path / "run", *options)).run()
        assert not (tmp_path / "run").exists()

    def test_a_patient_drawn_for_validation(self, patients: Path, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="--unlabelled: expected slices of other patients"):
            parse(words(patients, tmp_path / "run", "--unlabelled", patients)).run()

    @pytest.mark.usefixtures("no_export")
    def test_other_ways_do_not_go_on_there(self, patients: Path, tmp_path: Path) -> None:
        other = write_patients(tmp_path / "other", range(10, 12))
        run = tmp_path / "run"
        options = ("--validation-share", 0, "--steps", 1)
        assert main(words(patients, run, *options, "--unlabelled", other)) == 0
        with pytest.raises(UsageError, match=r"unlabelled was \['.*other'\]"):
            parse(words(patients, run, *options)).run()


def count_down(calls: int) -> Callable[..., None]:
    """Return a stand-in for `save_weights` that stops the training at one of its calls."""
    left = iter(range(calls))

    def save(content: dict[str, object], path: Path) -> None:
        if next(left) == calls - 1:
            raise KeyboardInterrupt
        save_weights(content, path)

    return save


@pytest.mark.usefixtures("no_export")
def test_tensorboard(patients: Path, tmp_path: Path) -> None:
    options = ("--validation-share", 0, "--validate-every", 2, "--steps")
    assert main(words(patients, tmp_path, *options, 2)) == 0
    assert not (tmp_path / EVENTS).exists()
    assert main(words(patients, tmp_path, *options, 4, "--tensorboard")) == 0  # nothing else changes
    assert len(list((tmp_path / EVENTS).iterdir())) == 1


class TestExport:
    def test_no_training(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"a training, as `fewct train` makes it"):
            export_folder(tmp_path)

    @pytest.mark.parametrize("text", ["{", "[]", '{"recipe": "unet", "settings": {"recipe": {"net": 1}}}'])
    def test_damaged_settings(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "training.json").write_text(text)
        with pytest.raises(InputError, match=r"training\.json: expected a training"):
            export_folder(tmp_path)

    def test_nothing_trained_yet(self, trained: Path, tmp_path: Path) -> None:
        (tmp_path / "training.json").write_bytes((trained / "training.json").read_bytes())
        with pytest.raises(InputError, match=r"neither best\.pt nor checkpoint\.pt"):
            export_folder(tmp_path)

    @pytest.mark.parametrize("damage", [cut_short, edit])
    def test_damaged_weights(self, trained: Path, tmp_path: Path, damage: Callable[[Path], None]) -> None:
        for name in ("training.json", "best.pt"):
            (tmp_path / name).write_bytes((trained / name).read_bytes())
        damage(tmp_path / "best.pt")
        with pytest.raises(InputError, match=r"best\.pt: expected a whole file of weights"):
            export_folder(tmp_path)

    def test_weights_of_another_network(self, trained: Path, tmp_path: Path) -> None:
        (tmp_path / "best.pt").write_bytes((trained / "best.pt").read_bytes())
        (tmp_path / "training.json").write_text('{"recipe": "mosaic", "settings": {}}')
        with pytest.raises(InputError, match=r"best\.pt: expected a training"):
            export_folder(tmp_path)


def same(one: Path, other: Path) -> bool:
    """Tell whether two trainings have the same weights and averages."""
    contents = [load_weights(folder / CHECKPOINT) for folder in (one, other)]
    return all(
        torch.equal(value, contents[1][part][name])
        for part in ("network", "average")
        for name, value in contents[0][part].items()
    )


KILLED = f"""
import os, signal, sys
from fewct.cli import main

written = []

def die(event, args):
    if event == "os.rename" and str(args[1]).endswith("{CHECKPOINT}"):
        written.append(args)
        if len(written) == 3:  # the third checkpoint is whole but has not taken the place of the second
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(die)
main(sys.argv[1:])
"""


@pytest.mark.usefixtures("no_export")
def test_after_kill_9_it_ends_with_the_same_weights(patients: Path, tmp_path: Path) -> None:
    options = ("--steps", 60, "--validate-every", 5)
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    command = [sys.executable, "-c", KILLED, *words(patients, killed, *options)]
    child = subprocess.run(command, capture_output=True, text=True, check=False, timeout=DEADLINE_S)
    assert child.returncode == -signal.SIGKILL, child.stderr
    assert load_weights(killed / CHECKPOINT)["step"] == 10
    for folder in (killed, whole):
        assert main(words(patients, folder, *options)) == 0
    assert same(killed, whole)


@contextmanager
def full_disk(limit: int) -> Iterator[None]:
    """Refuse to write more than so many bytes to a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("no_export")
def test_a_full_disk_leaves_the_last_checkpoint(patients: Path, tmp_path: Path) -> None:
    options = ("--validation-share", 0, "--validate-every", 2, "--steps")
    assert main(words(patients, tmp_path, *options, 2)) == 0
    before = (tmp_path / CHECKPOINT).read_bytes()
    names = {file.name for file in tmp_path.iterdir()}
    (part,) = tmp_path.glob("checkpoint-*.part")
    with (
        full_disk(part.stat().st_size // 2),
        pytest.raises(OutputError, match="expected a file that can be written"),
    ):
        parse(words(patients, tmp_path, *options, 4)).run()
    assert (tmp_path / CHECKPOINT).read_bytes() == before
    assert {file.name for file in tmp_path.iterdir()} == names
    assert main(words(patients, tmp_path, *options, 4)) == 0
    assert load_weights(tmp_path / CHECKPOINT)["step"] == 4
