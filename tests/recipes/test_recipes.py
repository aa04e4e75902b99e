"""The recipes by name: those of fewct, and those that other packages add by entry points."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fewct.cli import main
from fewct.errors import InputError
from fewct.recipes import RECIPES

PLUGIN = """
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import ClassVar

from fewct.training.runs import keep_settings, read_settings

@dataclass(frozen=True)
class TrainConstant:
    name: ClassVar[str] = "constant"
    use: ClassVar[str] = "--method constant"
    value: int = 3
    \"\"\"What the network answers.\"\"\"

    def run(self, folder, progress=None):
        folder.mkdir(exist_ok=True)
        keep_settings(self.name, self, folder)
        progress("step 1, loss 0.000", 1.0)
        return self.export(folder)

    @staticmethod
    def export(folder):
        path = folder / "model.txt"
        path.write_text(str(read_settings(folder)["settings"]["value"]))
        return path
"""


def test_listing_needs_no_torch() -> None:
    script = (
        "import sys; from fewct.recipes import RECIPES; print(*RECIPES); assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["unet", "mosaic", "sam", "prompt-small", "bam"]


def test_a_recipe_of_another_package_trains_and_exports(
    install_package: Callable[..., None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    install_package("constant_plugin", "fewct.recipes", "constant = constant_plugin:TrainConstant", PLUGIN)
    out = tmp_path / "out"
    assert main(["train", "constant", "--value", "5", "-o", str(out)]) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines() == [
        f"Network: {out / 'model.txt'}",
        f"Use it: fewct segment INPUT --method constant --weights {out}",
    ]
    assert json.loads((out / "training.json").read_text()) == {"recipe": "constant", "settings": {"value": 5}}
    (out / "model.txt").unlink()
    assert main(["models", "export", str(out)]) == 0
    assert (out / "model.txt").read_text() == "5"


def test_a_training_of_a_package_that_is_gone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "training.json").write_text('{"recipe": "constant", "settings": {}}')
    assert main(["models", "export", str(tmp_path)]) == 1
    message = capsys.readouterr().err
    assert "training.json: expected a training of one of the recipes unet, mosaic, " in message
    assert "found 'constant'. Install the package that adds this recipe." in message


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("raise OSError('no licence')", "OSError: no licence"),
        ("TrainConstant = 3", "TypeError: 3 is no dataclass"),
        (PLUGIN.replace("def export", "def save"), "has no attribute 'export'"),
    ],
)
def test_a_faulty_recipe_is_named_and_hides_nothing(
    source: str, found: str, install_package: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    install_package("constant_plugin", "fewct.recipes", "constant = constant_plugin:TrainConstant", source)
    assert main(["train", "constant"]) == 1
    message = capsys.readouterr().err
    assert "entry point constant = constant_plugin:TrainConstant of constant_plugin 1.5" in message
    assert found in message
    recipes, errors = RECIPES.load_all()
    assert list(recipes) == list(RECIPES.builtin)
    assert len(errors) == 1


def test_a_taken_name_is_refused(install_package: Callable[..., None]) -> None:
    install_package("constant_plugin", "fewct.recipes", "unet = constant_plugin:TrainConstant", PLUGIN)
    assert RECIPES["unet"].__module__ == "fewct.recipes.labelled"
    _, errors = RECIPES.load_all()
    with pytest.raises(InputError, match=r"of constant_plugin 1\.5.*found the name of fewct's own unet"):
        raise errors[0]
