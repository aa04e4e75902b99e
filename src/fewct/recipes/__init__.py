"""What `fewct train` does: read data, train, export. Needs the extra `torch`."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, Protocol

from fewct.recipes.bam import TrainBAM
from fewct.recipes.labelled import TrainSam, TrainUNet
from fewct.recipes.packed import TrainMosaic, TrainPromptSmall
from fewct.training.loop import Progress


class Training(Protocol):
    """A recipe with its data; its fields are the options of the command line."""

    name: ClassVar[str]
    use: ClassVar[str]
    """Options of `fewct segment` beside `--weights` with which its result is used."""

    def run(self, folder: Path, progress: Progress | None = None) -> Path | None:
        """Train into a folder, or go on there, and return the exported network.

        Of several processes that train together, only the main process exports it.
        """
        ...


TRAININGS: Mapping[str, type[Training]] = MappingProxyType(
    {training.name: training for training in (TrainUNet, TrainMosaic, TrainSam, TrainPromptSmall, TrainBAM)}
)
"""What `fewct train` can train, by name."""
