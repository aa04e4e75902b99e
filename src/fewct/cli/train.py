"""`fewct train`: a network from few labelled slices."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, ClassVar, Generic, TypeVar

import tyro
from rich.console import Console

from fewct.cli.options import Out
from fewct.cli.terminal import progress_of_training
from fewct.errors import needs_extra
from fewct.recipes import RECIPES, Recipe

R = TypeVar("R")


@dataclass(frozen=True)
class NoRecipe:
    """Stands where no recipe is named, so that `fewct train --help` needs no PyTorch."""

    name: ClassVar[str] = ""


@dataclass(frozen=True)
class Train(Generic[R]):
    """Train a network on few labelled slices, then export it for `fewct segment --weights DIR`.

    DIR gets checkpoints, curves.csv, the split by patient and model.onnx with its hash. An interrupted
    training goes on where it stopped. Each recipe has options of its own: `fewct train unet --help` shows
    those of unet. Needs PyTorch: pip install 'fewct[torch]'.
    """

    recipe: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar=f"{{{','.join(RECIPES.builtin)}}}")]
    """What to train; installed packages may add recipes."""
    settings: Annotated[R, tyro.conf.arg(name="")]
    out: Out = Path("training")
    """Folder for the training."""

    def run(self) -> int:
        """Train, export and return 0; of several processes that train together, the first one tells."""
        training: Any = self.settings
        with progress_of_training(Console(stderr=True)) as progress:
            path = training.run(self.out, progress)
        if path is None:
            return 0
        console = Console()
        console.print(f"Network: {path}", highlight=False, soft_wrap=True)
        console.print(
            f"Use it: fewct segment INPUT {training.use} --weights {self.out}",
            highlight=False,
            soft_wrap=True,
        )
        return 0


def named_recipe(words: Sequence[str]) -> type[Recipe] | type[NoRecipe]:
    """Return the recipe that a command line names; `NoRecipe` if there is none to look up.

    Raises:
        UsageError: If there is no recipe of that name.
        InputError: If the recipe is another package's and cannot be loaded.
        MissingExtraError: If PyTorch or what exports networks is not installed.
    """
    named = next((word for word in words[1:] if word in RECIPES), words[1] if len(words) > 1 else "-")
    if named.startswith("-"):
        return NoRecipe
    if named in RECIPES.builtin:
        check_torch("fewct train")
    return RECIPES.find(named, "fewct train")


def check_torch(subject: str) -> None:
    """Raise unless PyTorch and what exports networks are installed.

    Args:
        subject: How the error calls what needs them.

    Raises:
        MissingExtraError: If one is absent.
    """
    with needs_extra(subject, "torch"):
        for package in ("torch", "onnx", "onnxscript"):
            import_module(package)
