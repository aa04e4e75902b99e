"""Training of BAM on labelled slices and pseudo-labels."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from fewct.data.cases import parse_data, read_cases
from fewct.errors import UsageError
from fewct.methods import Mosaic
from fewct.methods.bam.episodes import EpisodeSlice, episode_slice, without_structures
from fewct.methods.bam.method import overlay_named
from fewct.methods.bam.onnx_export import export_folder
from fewct.methods.bam.recipe import BAMRecipe, train
from fewct.outputs import make_folder
from fewct.result import SliceSegmentation
from fewct.training.distributed import process_group
from fewct.training.loop import Progress
from fewct.training.runs import keep_settings
from fewct.types import Labels


@dataclass(frozen=True)
class TrainBAM:
    """Train BAM on labelled slices, and on regions as pseudo-labels.

    Raises:
        UsageError: If structures are to be hidden though ids mean nothing.
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
    """Ids of structures that count as background in training."""
    regions: Literal["mosaic", "gradients", "none"] = "mosaic"
    """Pseudo-labels from mosaic, with its network or with gradients; none: no episodes of pseudo-labels."""
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
        with process_group(
            self.recipe.loop.device, self.recipe.loop.batch_size, bfloat16=self.recipe.loop.bfloat16
        ) as is_main:
            slices = without_structures(self._slices(), self.hidden)
            base = sorted({int(i) for one in slices for i in np.unique(one.example.labels) if i > 0})
            if is_main:
                make_folder(folder)
                keep_settings(self.name, self, folder)
            train(self.recipe, slices, base, folder, progress)
            return self.export(folder) if is_main else None

    def _slices(self) -> list[EpisodeSlice]:
        """Return the slices, with regions unless there are to be none."""
        source: Literal["network", "gradients"] = "network" if self.regions == "mosaic" else "gradients"
        segmenter = None if self.regions == "none" else Mosaic(boundary_source=source).load()
        slices = []
        for text in self.data:
            for case in read_cases(parse_data(text, "partial", self.step)):
                segmented = None if segmenter is None else segmenter.segment(case.image)
                truth, regions = case.truth, None if segmented is None else segmented.labels
                if not self.named:
                    regions = truth if segmented is None else fill_unlabelled(truth, segmented)
                    truth = np.zeros_like(truth)
                slices.append(episode_slice(case.image, truth, case.patient, regions))
        return slices


def fill_unlabelled(truth: Labels, segmented: SliceSegmentation) -> Labels:
    """Return labelled structures, and segmented ones where nothing is labelled, int32 (rows, columns)."""
    largest = int(truth.max())
    return overlay_named(
        SliceSegmentation(truth, np.full(largest, np.nan, np.float32), n_fixed_ids=largest), segmented
    ).labels
