"""Recipes: what `fewct train` trains, by name. Running one needs the extra `torch`, listing them does not."""

from dataclasses import is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Protocol

from fewct.runtime.entry_points import Registry

if TYPE_CHECKING:
    from fewct.training.loop import Progress


class Recipe(Protocol):
    """A training: where its data is and how it trains.

    A recipe is a frozen dataclass; its fields are the options of the command line and are kept in
    training.json.
    """

    name: ClassVar[str]
    use: ClassVar[str]
    """Options of `fewct segment` beside `--weights` with which the network is used."""

    def run(self, folder: Path, progress: "Progress | None" = None) -> Path | None:
        """Train in a folder, or go on there, and return the exported network.

        Of several processes that train together, only the main process exports it.
        """
        ...

    @staticmethod
    def export(folder: Path) -> Path:
        """Export the network of a training again, of the best weights so far, and return it."""
        ...


def _check(recipe: type[Recipe]) -> None:
    if not (isinstance(recipe, type) and is_dataclass(recipe)):
        raise TypeError(f"{recipe!r} is no dataclass")
    for attribute in ("name", "use", "run", "export"):
        getattr(recipe, attribute)


RECIPES: Registry[type[Recipe]] = Registry(
    "fewct.recipes",
    {
        "unet": "fewct.recipes.labelled:TrainUNet",
        "mosaic": "fewct.recipes.packed:TrainMosaic",
        "sam": "fewct.recipes.labelled:TrainSam",
        "prompt-small": "fewct.recipes.packed:TrainPromptSmall",
        "bam": "fewct.recipes.bam:TrainBAM",
    },
    _check,
)
"""What `fewct train` can train, by name; other packages add to it by entry points."""
