"""Trainings on labelled slices of any kind, which are parted by patient."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, NamedTuple

from fewct.data.cases import Case, parse_data, read_cases
from fewct.data.examples import TrainingExample, labelled_example
from fewct.data.splits import Kind, Split, split_by_patient, split_by_similarity
from fewct.data.unlabelled import check_apart, read_unlabelled
from fewct.errors import InputError, UsageError
from fewct.imaging.intensity import to_display
from fewct.imaging.similarity import similarity_groups
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


class Known(NamedTuple):
    """A slice with its truth, and whether that is complete."""

    case: Case
    complete: bool

    def example(self) -> TrainingExample:
        """Return what a network learns from it."""
        return labelled_example(self.case.image, self.case.truth, complete=self.complete)


@dataclass(frozen=True)
class OnSlices:
    """Labelled slices of any kind, some of which a training is watched on.

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
    """Data of other patients that the loss is watched on."""
    validation_share: float = 0.2
    """Without --validation: share of the slices that is kept for it, by patient; 0 for none."""

    def __post_init__(self) -> None:
        if not 0 <= self.validation_share < 1:
            raise UsageError(
                "validation_share",
                expected="a share in [0, 1)",
                found=f"{self.validation_share}",
                fix="0 trains on all slices and watches none.",
            )

    def parted(self, seed: int) -> tuple[Split, dict[str, Known]]:
        """Return which slices are for training and which for validation, and the slices by name.

        Raises:
            InputError: If the data cannot be read, or has a patient on both sides.
        """
        training, held_out = self._read("data", self.data), self._read("validation", self.validation)
        return part(training, held_out, self.validation_share, seed), training | held_out

    def _read(self, option: str, descriptions: Sequence[str]) -> dict[str, Known]:
        """Return the slices that an option describes, named so that the data may be moved."""
        found = {}
        for number, text in enumerate(descriptions, start=1):
            data = parse_data(text, self.truth, self.step)
            for case in read_cases(data):
                found[f"{option} {number}: {case.name}"] = Known(case, data.truth == "complete")
        return found


@dataclass(frozen=True)
class TrainUNet(OnSlices):
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
        with process_group(loop.device, *batch_sizes) as is_main:
            split, known = self.parted(loop.seed)
            others = [one for text in self.unlabelled for one in read_unlabelled(text, self.step)]
            check_apart(others, [known[name].case for name in split.parts["val"]])
            examples = _examples(split, known)
            if is_main:
                _keep(self, folder, split)
            images = [one.image for one in others]
            train_unet(self.recipe, examples["train"], examples["val"], folder, images, progress)
            return self.export(folder) if is_main else None


@dataclass(frozen=True)
class TrainSam(OnSlices):
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
        with process_group(self.recipe.loop.device, self.recipe.loop.batch_size) as is_main:
            split, known = self.parted(self.recipe.loop.seed)
            examples = _examples(split, known)
            if is_main:
                _keep(self, folder, split)
            train_sam(self.recipe, examples["train"], examples["val"], folder, progress)
            return self.export(folder) if is_main else None


def _keep(training: OnSlices, folder: Path, split: Split) -> None:
    """Write what a folder is trained with, and how its data is parted; see `training.runs` for errors."""
    make_folder(folder)
    keep_settings(training.name, training, folder)
    keep_split(split, folder)


def _examples(split: Split, known: Mapping[str, Known]) -> dict[str, list[TrainingExample]]:
    return {side: [known[name].example() for name in names] for side, names in split.parts.items()}


def part(slices: Mapping[str, Known], held_out: Mapping[str, Known], share: float, seed: int) -> Split:
    """Part slices into "train" and "val", no patient on both sides.

    Where the patient of any slice is unknown, groups of slices that look alike stand for patients.

    Args:
        slices: What to train on, or to part, by name.
        held_out: What to validate on; if there is any, nothing is drawn.
        share: Share of `slices` that is drawn for validation; 0 for none.
        seed: Another seed, another draw.

    Raises:
        InputError: If a patient is on both sides, or there is only one to draw from.
    """
    cases = {name: known.case for name, known in (*slices.items(), *held_out.items())}
    patients = {name: case.patient for name, case in cases.items()}
    unknown = None in patients.values()
    images = {name: to_display(case.image) for name, case in cases.items()} if unknown else {}
    if unknown:
        numbers = similarity_groups(images.values())
        groups = {name: f"{number}" for name, number in zip(images, numbers.tolist(), strict=True)}
    else:
        groups = {name: f"{patient}" for name, patient in patients.items()}
    kind: Kind = "similarity" if unknown else "patient"
    if held_out or share == 0:
        parts = {"train": tuple(slices), "val": tuple(held_out)}
        return Split(kind, seed, parts, groups)
    if len(set(groups.values())) < 2:
        raise InputError(
            "data",
            expected=f"two or more groups by {kind}, of which one is kept for validation",
            found=f"{len(slices)} slices of one",
            fix="Name other patients with --validation, or train without any: --validation-share 0.",
        )
    shares = {"train": 1 - share, "val": share}
    return split_by_similarity(images, shares, seed) if unknown else split_by_patient(groups, shares, seed)
