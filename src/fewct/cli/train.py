"""`fewct train`: a network from few labelled slices."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, TypeVar, get_args

import tyro
from rich.console import Console

from fewct.cli.options import Out
from fewct.cli.progress import progress_of_training
from fewct.errors import needs_extra

if TYPE_CHECKING:
    from fewct.recipes import Training

R = TypeVar("R")
Recipe = Literal["unet", "mosaic", "sam", "prompt-small", "bam"]


@dataclass(frozen=True)
class NoRecipe:
    """Stands where no recipe is named, so that `fewct --help` needs no PyTorch."""


@dataclass(frozen=True)
class Train(Generic[R]):
    """Train a network on few labelled slices, then export it for `fewct segment --weights DIR`.

    DIR gets checkpoints, curves.csv, the split by patient and model.onnx with its hash. An interrupted
    training goes on where it stopped. Each recipe has options of its own: `fewct train unet --help` shows
    those of unet. Needs PyTorch: pip install 'fewct[torch]'.
    """

    recipe: Annotated[Recipe, tyro.conf.Positional]
    """What to train."""
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


def named_training(words: Sequence[str]) -> "type[Training] | type[NoRecipe]":
    """Return the training whose recipe a command line names; `NoRecipe` if there is none to look up.

    Raises:
        MissingExtraError: If PyTorch or what exports networks is not installed.
    """
    if words[:1] != ["train"]:
        return NoRecipe
    for word in words[1:]:
        if word in get_args(Recipe):
            check_torch("fewct train")
            training: type[Training] = import_module("fewct.recipes").TRAININGS[word]
            return training
    return NoRecipe


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
