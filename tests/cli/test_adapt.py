"""`fewct adapt`, and what `segment` and `benchmark` make of its folder."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fewct.cli import main, parse
from fewct.cli.benchmark import parse_method
from fewct.errors import InputError
from fewct.methods import Mosaic
from fewct.phantom import phantom_slice

GRADIENTS = ["--boundary-source", "gradients"]
PEOPLE = 5


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEWCT_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with few/, images/ and labels/ of five people, and site/, what was adapted to it.

    Truth is what mosaic finds at another level.
    """
    folder = tmp_path_factory.mktemp("made")
    few, out = folder / "few", folder / "out"
    for part in ("images", "labels"):
        (few / part).mkdir(parents=True)
    for seed in range(PEOPLE):
        ct, _ = phantom_slice(seed, size=96)
        grey = ((ct.pixels + 160) / 400 * 255).clip(0, 255).astype(np.uint8)
        Image.fromarray(grey).save(few / "images" / f"{seed}.png")
    assert main(["segment", f"{few / 'images'}", *GRADIENTS, "--level", "0.15", "-o", f"{out}"]) == 0
    for seed in range(PEOPLE):
        shutil.copy(out / f"{seed}_labels.png", few / "labels" / f"{seed}.png")
    assert adapt("--data", few, "-o", folder / "site") == 0
    return folder


@pytest.fixture
def few(made: Path, tmp_path: Path) -> Path:
    """Return labelled slices of the test's own."""
    return Path(shutil.copytree(made / "few", tmp_path / "few"))


@pytest.fixture
def site(made: Path, tmp_path: Path) -> Path:
    """Return an adapted folder of the test's own."""
    return Path(shutil.copytree(made / "site", tmp_path / "site"))


def adapt(*words: object) -> int:
    return main(["adapt", *GRADIENTS, *map(str, words)])


class TestAdapt:
    def test_it_tells_what_was_gained_and_how_to_use_it(
        self, few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert adapt("--data", few, "-o", tmp_path / "site") == 0
        text = capsys.readouterr().out
        assert "5 slices, cross-validated by similarity (5)" in text
        assert "Kept: tuned settings, a gain of" in text
        assert "--level 0.15" in text
        assert f"Use it: fewct segment INPUT --weights {tmp_path / 'site'}" in text
        assert Mosaic.adapted(tmp_path / "site").level == 0.15

    def test_json(self, few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert adapt("--data", few, "-o", tmp_path / "site", "--json") == 0
        content = json.loads(capsys.readouterr().out)
        assert content == json.loads((tmp_path / "site" / "adapted.json").read_text())
        assert [one["name"] for one in content["candidates"]] == ["unchanged", "tuned settings"]
        assert content["kept"] == "tuned settings"
        assert content["settings"]["level"] == 0.15

    def test_one_slice(self, few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert adapt("--data", few, "--step", PEOPLE, "-o", tmp_path / "site", "--json") == 0
        content = json.loads(capsys.readouterr().out)
        assert "One slice is too little to tell" in content["verdict"]
        assert content["candidates"][0]["low"] is None
        assert content["settings"]["level"] == Mosaic().level

    def test_the_shipped_network(self, few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        words = [
            "--data",
            f"{few}",
            "--step",
            f"{PEOPLE}",
            "--budget-minutes",
            "0",
            "-o",
            f"{tmp_path / 'site'}",
        ]
        assert main(["adapt", *words]) == 0
        assert "Kept: unchanged." in capsys.readouterr().out
        assert Mosaic.adapted(tmp_path / "site").load().weights_sha256 == Mosaic().load().weights_sha256

    def test_without_torch_settings_are_tuned_and_that_is_said(
        self, few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("fewct.cli.adapt.find_spec", lambda _: None)
        assert main(["adapt", "--data", f"{few}", "--step", f"{PEOPLE}", "-o", f"{tmp_path / 'site'}"]) == 0
        assert "PyTorch is not installed: settings are tuned" in capsys.readouterr().err


class TestBadInput:
    def test_another_adaptation_in_the_folder(
        self, few: Path, site: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert adapt("--data", few, "-o", site) == 0
        assert adapt("--data", few, "--truth", "partial", "-o", site) == 2
        assert "found one with other truth" in capsys.readouterr().err

    def test_no_labels(self, few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for file in (few / "labels").iterdir():
            Image.fromarray(np.zeros((96, 96), np.uint8)).save(file)
        assert adapt("--data", few, "-o", tmp_path / "site") == 1
        assert "expected slices with labelled structures" in capsys.readouterr().err
        assert not (tmp_path / "site").exists()

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["--budget-minutes", "-1"], "budget_minutes: expected 0 or more"),
            (["--budget-minutes", "nan"], "budget_minutes: expected 0 or more"),
            ([*GRADIENTS, "--budget-minutes", "2"], "has no network to train"),
        ],
    )
    def test_time(
        self, few: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
    ) -> None:
        assert main(["adapt", "--data", f"{few}", *words]) == 2
        assert message in capsys.readouterr().err

    def test_time_without_torch(
        self, few: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def absent(name: str) -> None:
            raise ModuleNotFoundError(f"No module named '{name}'")

        monkeypatch.setattr("fewct.cli.train.import_module", absent)
        assert main(["adapt", "--data", f"{few}", "--budget-minutes", "2"]) == 1
        assert "pip install 'fewct[torch]'" in capsys.readouterr().err

    def test_unreadable_data(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "few.npz").write_bytes(b"nothing")
        assert adapt("--data", tmp_path / "few.npz", "-o", tmp_path / "site") == 1
        assert "a whole NPZ file of numbers" in capsys.readouterr().err

    def test_weights_of_nothing(self, few: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["adapt", "--data", f"{few}", "--start", "nowhere", "--budget-minutes", "0"]) == 1
        assert "expected a file or folder of weights" in capsys.readouterr().err


class TestUse:
    def test_segment_takes_the_settings_and_tells_of_them(
        self, few: Path, site: Path, tmp_path: Path
    ) -> None:
        words = [
            "segment",
            f"{few / 'images' / '0.png'}",
            "--weights",
            f"{site}",
            "-o",
            f"{tmp_path / 'out'}",
        ]
        assert main(words) == 0
        configuration = json.loads((tmp_path / "out" / "0_manifest.json").read_text())["configuration"]
        assert configuration["level"] == 0.15
        assert configuration["boundary_source"] == "gradients"
        assert configuration["weights"] == f"{site / 'model.onnx'}"
        found, truth = (
            np.asarray(Image.open(path))
            for path in (tmp_path / "out" / "0_labels.png", few / "labels" / "0.png")
        )
        np.testing.assert_array_equal(found, truth)

    @pytest.mark.parametrize("after", [True, False])
    def test_the_users_own_settings_win(self, site: Path, *, after: bool) -> None:
        weights, level = ["--weights", f"{site}"], ["--level", "0.7", "--no-body-only"]
        words = [*weights, *level] if after else [*level, *weights]
        method = parse(["segment", "x.png", *words]).settings  # type: ignore[attr-defined]
        assert (method.level, method.cleanup.body_only) == (0.7, False)
        assert method.boundary_source == "gradients"

    def test_inputs_after_two_dashes(self, site: Path) -> None:
        parsed = parse(["segment", "--weights", f"{site}", "--", "x.png"])
        assert parsed.settings == Mosaic.adapted(site)  # type: ignore[attr-defined]
        assert parsed.inputs == (Path("x.png"),)  # type: ignore[attr-defined]

    def test_other_weights_bring_no_settings(self, tmp_path: Path) -> None:
        method = parse(["segment", "x.png", f"--weights={tmp_path}"]).settings  # type: ignore[attr-defined]
        assert method == Mosaic(weights=f"{tmp_path}")

    def test_other_methods_do_not_look_at_them(self, site: Path) -> None:
        words = ["segment", "x.png", "--method", "unet", "--weights", f"{site}"]
        assert parse(words).settings.weights == f"{site}"  # type: ignore[attr-defined]

    def test_the_challenge_takes_them(self, site: Path) -> None:
        words = ["challenge", "submit", "--images", "test", "--weights", f"{site}"]
        assert parse(words).action.settings == Mosaic.adapted(site)  # type: ignore[attr-defined]

    def test_the_benchmark_takes_them(self, site: Path) -> None:
        assert parse_method(f"mosaic:weights={site}") == Mosaic.adapted(site)
        assert parse_method(f"mosaic:level=0.7,weights={site}").level == 0.7  # type: ignore[attr-defined]

    @pytest.mark.parametrize("content", ["{", "{}", '{"settings": {"level": 7, "cleanup": {}}}'])
    def test_damaged_settings(self, site: Path, content: str, capsys: pytest.CaptureFixture[str]) -> None:
        (site / "adapted.json").write_text(content)
        with pytest.raises(InputError, match="the settings of an adapted mosaic"):
            Mosaic.adapted(site)
        assert main(["segment", "x.png", "--weights", f"{site}"]) == 1
        assert "expected the settings of an adapted mosaic" in capsys.readouterr().err
