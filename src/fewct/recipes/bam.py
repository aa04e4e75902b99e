"""What `fewct train bam` does: read labelled slices, find regions, train, export."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from fewct.data.cases import parse_data, read_cases
from fewct.errors import UsageError
from fewct.methods import Mosaic
from fewct.methods.bam.episodes import EpisodeSlice, episode_slice, without_structures
from fewct.methods.bam.method import lay_over
from fewct.methods.bam.onnx_export import export_folder
from fewct.methods.bam.recipe import BAMRecipe, train
from fewct.outputs import make_folder
from fewct.training.distributed import process_group
from fewct.training.loop import Progress
from fewct.training.runs import keep_settings
from fewct.types import Labels, SliceSegmentation


@dataclass(frozen=True)
class TrainBAM:
    """Train BAM on labelled slices, and on regions without meaning.

    Raises:
        UsageError: If structures are to be hidden whose ids mean nothing.
    """

    name: ClassVar[str] = "bam"
    use: ClassVar[str] = "--method bam --support SUPPORTS"
    export = staticmethod(export_folder)

    data: tuple[str, ...]
    """What `fewct benchmark --data` takes; a structure that is labelled is labelled whole."""
    step: int = 1
    """Take every n-th slice. A JSON file tells its own."""
    named: bool = True
    """Whether an id means the same on all slices. If not (--no-named), there are no base structures, and each
    episode is of one slice: of a labelled structure, or of a region elsewhere."""
    hidden: tuple[int, ...] = ()
    """Ids that training must not see as structures: they count as background."""
    regions: Literal["mosaic", "gradients", "none"] = "mosaic"
    """What finds regions for episodes without names: mosaic's network, gradients; none: no such episodes."""
    recipe: BAMRecipe = field(default_factory=BAMRecipe)

    def __post_init__(self) -> None:
        if self.hidden and not self.named:
            raise UsageError(
                "hidden",
                expected="ids that mean the same on all slices",
                found="--no-named",
                fix="Leave out one of the two.",
            )

    def run(self, folder: Path, progress: Progress | None = None) -> Path | None:
        """Train into a folder, or go on there, and return the exported encoder; see `Recipe`.

        Raises:
            InputError: If the data cannot be read or shows no structure on slices of two patients.
            UsageError: If the folder holds another training.
            OutputError: If a file cannot be written; the last good checkpoint is kept.
        """
        with process_group(self.recipe.loop.device, self.recipe.loop.batch_size) as is_main:
            slices = without_structures(self._slices(), self.hidden)
            base = sorted({int(i) for one in slices for i in np.unique(one.example.labels) if i > 0})
            if is_main:
                make_folder(folder)
                keep_settings(self.name, self, folder)
            train(self.recipe, slices, base, folder, progress)
            return self.export(folder) if is_main else None

    def _slices(self) -> list[EpisodeSlice]:
        """Return the slices, on demand with regions."""
        method = (
            None
            if self.regions == "none"
            else Mosaic(maps="network" if self.regions == "mosaic" else "gradients")
        )
        slices = []
        for text in self.data:
            for case in read_cases(parse_data(text, "partial", self.step)):
                found = None if method is None else method.segment(case.image)
                if self.named:
                    regions = None if found is None else found.labels
                    slices.append(episode_slice(case.image, case.truth, case.patient, regions))
                else:
                    nothing = np.zeros_like(case.truth)
                    regions = case.truth if found is None else labelled_first(case.truth, found)
                    slices.append(episode_slice(case.image, nothing, case.patient, regions))
        return slices


def labelled_first(truth: Labels, found: SliceSegmentation) -> Labels:
    """Return labelled structures, and found ones where nothing is labelled.

    Args:
        truth: int32 (rows, columns): structures, 0 for the rest.
        found: Of the same slice.
    """
    largest = int(truth.max())
    return lay_over(
        SliceSegmentation(truth, np.full(largest, np.nan, np.float32), named=largest), found
    ).labels
