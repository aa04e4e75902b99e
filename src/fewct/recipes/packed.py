"""Trainings of the networks that come with fewct, on one folder of packed slices and label maps."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from fewct.errors import InputError
from fewct.methods.mosaic.recipe import MosaicRecipe
from fewct.methods.mosaic.recipe import export_folder as export_mosaic
from fewct.methods.mosaic.recipe import train as train_mosaic
from fewct.methods.sam.finetuning.prompt_small import PromptSmallRecipe
from fewct.methods.sam.finetuning.prompt_small import export_folder as export_prompt_small
from fewct.methods.sam.finetuning.prompt_small import train as train_prompt_small
from fewct.outputs import make_folder
from fewct.training.distributed import process_group
from fewct.training.loop import Progress
from fewct.training.runs import keep_settings


@dataclass(frozen=True)
class TrainMosaic:
    """Train the network of mosaic on labelled slices, dense segments and synthetic CT.

    Its data is one folder with btcv, lidc, more and anatomy, or the file that `fewct pack` made of it.
    """

    name: ClassVar[str] = "mosaic"
    use: ClassVar[str] = "--method mosaic"
    export = staticmethod(export_mosaic)

    recipe: MosaicRecipe = field(default_factory=MosaicRecipe)

    def run(self, folder: Path, progress: Progress | None = None) -> Path | None:
        """Train into a folder, or go on there, and return the exported network; see `Recipe`.

        Raises:
            InputError: If a part of the data is absent, or the folder's checkpoint is of another network.
            UsageError: If the folder holds another training.
            OutputError: If a file cannot be written; the last good checkpoint is kept.
        """
        batch_sizes = (self.recipe.loop.batch_size,)
        return _run(self, batch_sizes, folder, lambda: train_mosaic(self.recipe, folder, progress))


@dataclass(frozen=True)
class TrainPromptSmall:
    """Train the promptable network that comes with fewct on labelled slices, dense segments and synthetic CT.

    Its data is one folder with btcv/train, btcv/val and anatomy, packed as docs/concepts/mosaic.md describes.
    """

    name: ClassVar[str] = "prompt-small"
    use: ClassVar[str] = "--method everything"
    export = staticmethod(export_prompt_small)

    recipe: PromptSmallRecipe = field(default_factory=PromptSmallRecipe)

    def run(self, folder: Path, progress: Progress | None = None) -> Path | None:
        """Train into a folder, or go on there, and return the exported network; see `Recipe`.

        Raises:
            InputError: If a part of the data is absent, or the folder's checkpoint is of another network.
            UsageError: If the folder holds another training.
            OutputError: If a file cannot be written; the last good checkpoint is kept.
        """
        batch_sizes = (self.recipe.loop.batch_size,)
        return _run(self, batch_sizes, folder, lambda: train_prompt_small(self.recipe, folder, progress))


def _run(
    training: TrainMosaic | TrainPromptSmall,
    batch_sizes: tuple[int, ...],
    folder: Path,
    train: Callable[[], object],
) -> Path | None:
    if not (training.name == "mosaic" and training.recipe.data.is_file()):
        _check_packed(training.recipe.data)
    with process_group(
        training.recipe.loop.device, *batch_sizes, bfloat16=training.recipe.loop.bfloat16
    ) as is_main:
        if is_main:
            make_folder(folder)
            keep_settings(training.name, training, folder)
        train()
        return training.export(folder) if is_main else None


def _check_packed(data: Path) -> None:
    for needed in ("btcv/train", "btcv/val", "anatomy"):
        if not any((data / needed).glob("*.npz")):
            raise InputError(
                data / needed,
                expected="packed patients or anatomies (*.npz)",
                found="none",
                fix="Name the folder that holds btcv/train, btcv/val and anatomy with --data.",
            )
