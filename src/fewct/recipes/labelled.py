"""Trainings on labelled slices of any kind, split by patient into training and validation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from fewct.data.cases import LabelledCase, group_cases, parse_data, read_cases
from fewct.data.examples import TrainingExample, labelled_example
from fewct.data.splits import Split, draw_split
from fewct.data.unlabelled import check_disjoint, read_unlabelled
from fewct.errors import InputError, UsageError
from fewct.methods.sam.finetuning.recipe import SamRecipe
from fewct.methods.sam.finetuning.recipe import export_folder as export_sam
from fewct.methods.sam.finetuning.recipe import train as train_sam
from fewct.methods.unet.recipe import UNetRecipe
from fewct.methods.unet.recipe import export_folder as export_unet
from fewct.methods.unet.recipe import train as train_unet
from fewct.metrics.catalog import TruthKind
from fewct.outputs import make_folder
from fewct.training.distributed import process_group
from fewct.training.loop import Progress
from fewct.training.runs import keep_settings, keep_split


@dataclass(frozen=True)
class LabelledData:
    """Labelled slices of any kind, some of which are kept for the validation loss.

    Raises:
        UsageError: If a setting is out of its range.
    """

    name: ClassVar[str]

    data: tuple[str, ...]
    """What `fewct benchmark --data` takes: NPZ, folders, pairs, scans, a challenge folder, JSON."""
    truth: TruthKind = "complete"
    """partial: truth holds only some of the structures and 0 means unknown. A JSON file tells its own."""
    step: int = 1
    """Take every n-th slice. A JSON file tells its own."""
    validation: tuple[str, ...] = ()
    """Data of other patients for the validation loss."""
    validation_share: float = 0.2
    """Without --validation: share of the slices that is kept for it, by patient; 0 for none."""

    def __post_init__(self) -> None:
        if not 0 <= self.validation_share < 1:
            raise UsageError(
                "validation_share",
                expected="a share in [0, 1)",
                found=f"{self.validation_share}",
                fix="0 trains on all slices and validates on none.",
            )

    def read(self, seed: int) -> tuple[dict[str, LabelledCase], Split]:
        """Return the cases by name, and which of them are for training and which for validation.

        Raises:
            InputError: If the data cannot be read, or has a patient on both sides.
        """
        training, validation = self._cases("data", self.data), self._cases("validation", self.validation)
        split = split_cases(training, validation, self.validation_share, seed)
        return training | validation, split

    def keep(self, folder: Path, split: Split) -> None:
        """Write the settings and the split to the folder of a training; see `fewct.training.runs`."""
        make_folder(folder)
        keep_settings(self.name, self, folder)
        keep_split(split, folder)

    def _cases(self, option: str, descriptions: Sequence[str]) -> dict[str, LabelledCase]:
        """Return the cases that an option describes, by names that stay when the data is moved."""
        return {
            f"{option} {number}: {case.name}": case
            for number, text in enumerate(descriptions, start=1)
            for case in read_cases(parse_data(text, self.truth, self.step))
        }


@dataclass(frozen=True)
class TrainUNet(LabelledData):
    """Train a U-Net that tells structure from the rest, on labelled slices of any kind.

    Raises:
        UsageError: If a setting is out of its range.
    """

    name: ClassVar[str] = "unet"
    use: ClassVar[str] = "--method unet"
    export = staticmethod(export_unet)

    unlabelled: tuple[str, ...] = ()
    """Slices to learn from without labels (self-training): what --data takes; labels are not needed."""
    recipe: UNetRecipe = field(default_factory=UNetRecipe)

    def run(self, folder: Path, progress: Progress | None = None) -> Path | None:
        """Train into a folder, or go on there, and return the exported network; see `Recipe`.

        Raises:
            InputError: If the data cannot be read, holds no labels, or has a patient on both sides.
            UsageError: If the folder holds another training.
            OutputError: If a file cannot be written; the last good checkpoint is kept.
        """
        loop = self.recipe.loop
        batch_sizes = (loop.batch_size, *([loop.unlabelled_batch_size] if self.unlabelled else []))
        with process_group(loop.device, *batch_sizes, bfloat16=loop.bfloat16) as is_main:
            cases, split = self.read(loop.seed)
            unlabelled = [one for text in self.unlabelled for one in read_unlabelled(text, self.step)]
            check_disjoint(unlabelled, [cases[name] for name in split.parts["val"]])
            training, validation = _examples(cases, split)
            if is_main:
                self.keep(folder, split)
            images = [one.image for one in unlabelled]
            train_unet(self.recipe, training, validation, folder, images, progress)
            return self.export(folder) if is_main else None


@dataclass(frozen=True)
class TrainSam(LabelledData):
    """Fine-tune a checkpoint of Segment Anything on labelled slices of any kind.

    Raises:
        UsageError: If a setting is out of its range.
    """

    name: ClassVar[str] = "sam"
    use: ClassVar[str] = "--method everything"
    export = staticmethod(export_sam)

    recipe: SamRecipe = field(default_factory=SamRecipe)

    def run(self, folder: Path, progress: Progress | None = None) -> Path | None:
        """Train into a folder, or go on there, and return the exported network; see `Recipe`.

        Raises:
            InputError: If the data or the checkpoint cannot be read, nothing is labelled, or a patient is on
                both sides.
            UsageError: If the folder holds another training, or the network cannot be trained so.
            OutputError: If a file cannot be written; the last good checkpoint is kept.
        """
        with process_group(
            self.recipe.loop.device, self.recipe.loop.batch_size, bfloat16=self.recipe.loop.bfloat16
        ) as is_main:
            cases, split = self.read(self.recipe.loop.seed)
            training, validation = _examples(cases, split)
            if is_main:
                self.keep(folder, split)
            train_sam(self.recipe, training, validation, folder, progress)
            return self.export(folder) if is_main else None


def _examples(cases: Mapping[str, LabelledCase], split: Split) -> tuple[list[TrainingExample], ...]:
    """Return the examples of training, and those of validation."""
    sides = ([cases[name] for name in split.parts[side]] for side in ("train", "val"))
    return tuple([labelled_example(c.image, c.truth, complete=c.complete) for c in side] for side in sides)


def split_cases(
    training: Mapping[str, LabelledCase], validation: Mapping[str, LabelledCase], share: float, seed: int
) -> Split:
    """Split cases into "train" and "val", no patient on both sides.

    Args:
        training: Cases to train on, or to split, by name.
        validation: Cases to validate on; if there are any, none is drawn from `training`.
        share: Share of `training` that is drawn for validation; 0 for none.
        seed: Of the draw.

    Raises:
        InputError: If a patient is on both sides, or there is only one to draw from.
    """
    cases = {**training, **validation}
    groups, kind = group_cases(list(cases.values()))
    group_of = dict(zip(cases, groups, strict=True))
    if validation or share == 0:
        return Split(kind, seed, {"train": tuple(training), "val": tuple(validation)}, group_of)
    if len(set(groups)) < 2:
        raise InputError(
            "data",
            expected=f"two or more groups by {kind}, of which one is kept for validation",
            found=f"{len(cases)} slices of one",
            fix="Name other patients with --validation, or train without any: --validation-share 0.",
        )
    return draw_split(kind, group_of, {"train": 1 - share, "val": share}, seed)
