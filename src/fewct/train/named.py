"""What `fewct train bam` does: read slices whose ids mean the same, find regions, train, export."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from fewct.benchmark.data import parse_data, read_cases
from fewct.methods import Mosaic
from fewct.methods.bam.episodes import NamedSlice, hide, named_slice
from fewct.methods.bam.recipe import BAMRecipe, train
from fewct.outputs import make_folder
from fewct.trained import export_folder, keep_settings
from fewct.training.distributed import joined


@dataclass(frozen=True)
class TrainBAM:
    """Train BAM on labelled slices whose ids mean the same on all of them, and on regions without meaning."""

    name: ClassVar[str] = "bam"
    use: ClassVar[str] = "--method bam --support SUPPORTS"

    data: tuple[str, ...]
    """What `fewct benchmark --data` takes; a structure that is labelled is labelled whole."""
    step: int = 1
    """Take every n-th slice. A JSON file tells its own."""
    hidden: tuple[int, ...] = ()
    """Ids that training must not see as structures: they count as background."""
    regions: Literal["mosaic", "gradients", "none"] = "mosaic"
    """What finds regions for episodes without names: mosaic's network, gradients; none: no such episodes."""
    recipe: BAMRecipe = field(default_factory=BAMRecipe)

    def run(self, folder: Path) -> Path | None:
        """Train into a folder, or go on there, and return the exported encoder; see `Training`.

        Raises:
            InputError: If the data cannot be read or shows no structure on slices of two patients.
            UsageError: If the folder holds another training.
            OutputError: If a file cannot be written; the last good checkpoint is kept.
        """
        with joined(self.recipe.loop.device, self.recipe.loop.batch_size) as first:
            slices = hide(self._slices(), self.hidden)
            base = sorted({int(i) for one in slices for i in np.unique(one.example.labels) if i > 0})
            if first:
                make_folder(folder)
                keep_settings(self.name, self, folder)
            train(self.recipe, slices, base, folder)
            return export_folder(folder) if first else None

    def _slices(self) -> list[NamedSlice]:
        """Return the slices, on demand with regions."""
        method = (
            None
            if self.regions == "none"
            else Mosaic(maps="network" if self.regions == "mosaic" else "gradients")
        )
        return [
            named_slice(
                case.image,
                case.truth,
                case.patient,
                None if method is None else method.segment(case.image).labels,
            )
            for text in self.data
            for case in read_cases(parse_data(text, "partial", self.step))
        ]
