"""`fewct challenge`: the ENS x Raidium data challenge, from its files to a valid submission and its score."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Generic, Self, TypeAlias, TypeVar

import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fewct.challenge.editions import EditionName, get_edition
from fewct.cli.evaluate import number_cell
from fewct.cli.options import Json, Out
from fewct.cli.terminal import progress_of_slices
from fewct.methods import Method

if TYPE_CHECKING:
    from fewct.challenge.score import ChallengeScores
    from fewct.challenge.validate import Report

M = TypeVar("M", bound=Method)

EditionOption: TypeAlias = Annotated[
    EditionName, tyro.conf.arg(help="Year in which the edition of the challenge opened.")
]
Images: TypeAlias = Annotated[
    Path | None, tyro.conf.arg(metavar="DIR", help="Folder of the images that the table labels.")
]
TableFile: TypeAlias = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="TABLE")]
AllowEmpty: TypeAlias = Annotated[
    bool,
    tyro.conf.FlagCreatePairsOff,
    tyro.conf.arg(help="Accept images without any label, each in a column of zeros."),
]


@dataclass(frozen=True)
class Unpack:
    """Write the label maps of a label table (CSV) as PNG files, or as one NPZ."""

    table: TableFile
    """The label table."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="OUT")]
    """Folder for 0.png, 1.png, ...; or a file that ends on .npz."""

    def run(self) -> int:
        """Write the label maps and return 0."""
        from fewct.challenge.maps import unpack

        content = unpack(self.table, self.out)
        print(f"{len(content.numbers)} label maps in {self.out}")
        return 0


@dataclass(frozen=True)
class PackTable:
    """Write label maps as a label table (CSV)."""

    maps: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MAPS")]
    """Folder of 0.png, 1.png, ..., or an NPZ that unpack wrote."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="TABLE")]
    """The label table to write."""
    images: Images = None

    def run(self) -> int:
        """Write the table and return 0."""
        from fewct.challenge.maps import pack

        content = pack(self.maps, self.out, images=self.images)
        print(f"{len(content.numbers)} label maps in {self.out}")
        return 0


@dataclass(frozen=True)
class Validate:
    """Tell everything that is wrong with a label table, or that it is valid and what it holds."""

    table: TableFile
    """The label table (CSV)."""
    edition: EditionOption = "2023"
    images: Images = None
    allow_empty: AllowEmpty = False
    json: Json = False

    def run(self) -> int:
        """Print the report; return 0 for a valid table, else 1."""
        from fewct.challenge.validate import validate

        report = validate(
            self.table, get_edition(self.edition), images=self.images, allow_empty=self.allow_empty
        )
        return _print_report(self.table, report, as_json=self.json)


@dataclass(frozen=True)
class Submit(Generic[M]):
    """Predict all images of a folder, write them as a label table, read it back and validate it.

    After an interruption the same command goes on where it stopped. Each method has options of its own:
    `fewct challenge submit --method watershed --help` shows those of watershed.
    """

    images: Annotated[Path, tyro.conf.arg(metavar="DIR")]
    """Folder of the test images, 0.png, 1.png, ..."""
    settings: Annotated[M, tyro.conf.arg(name="")]
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"], metavar="TABLE")] = Path("y.csv")
    """The label table (CSV) to write."""
    method: Annotated[str, tyro.conf.arg(metavar="NAME")] = "mosaic"
    """How to find structures; `fewct methods` tells about each."""
    edition: EditionOption = "2023"
    allow_empty: AllowEmpty = False
    json: Json = False

    def run(self) -> int:
        """Predict and write; return 0 for a valid table, else 1."""
        from fewct.challenge.submit import submit

        with progress_of_slices(Console(stderr=True)) as progress:
            report = submit(
                self.images,
                self.settings,
                self.out,
                get_edition(self.edition),
                allow_empty=self.allow_empty,
                progress=lambda done, total: progress(self.out.name, done, total),
            )
        return _print_report(self.out, report, as_json=self.json)


@dataclass(frozen=True)
class Score:
    """Score a label table against the true one, image by image and on average."""

    prediction: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="PREDICTION")]
    """The label table (CSV) to score."""
    truth: Annotated[Path, tyro.conf.arg(metavar="TRUTH")]
    """The true label table: `fewct challenge score PREDICTION --truth TRUTH`."""
    edition: EditionOption = "2023"
    annotated: Annotated[Path | None, tyro.conf.arg(metavar="JSON")] = None
    """annotated_labels.json, where truth is partially annotated (edition 2025)."""
    json: Json = False

    def run(self) -> int:
        """Print the scores and return 0."""
        from fewct.challenge.score import read_annotated, score_tables
        from fewct.io.label_table.table import read_table
        from fewct.io.tables import json_text

        annotated = None if self.annotated is None else read_annotated(self.annotated)
        truth, prediction = read_table(self.truth), read_table(self.prediction)
        scores = score_tables(truth, prediction, get_edition(self.edition), annotated)
        if self.json:
            print(json_text(scores.as_dict()))
            return 0
        for table in _score_tables(scores):
            Console().print(table)
        return 0


@dataclass(frozen=True)
class MakeExample:
    """Write a tiny made edition, images and truth, in the layout of the real one: no account needed."""

    out: Out
    """Folder to write train/, test/, Y_train.csv and Y_test.csv into."""
    edition: EditionOption = "2023"
    seed: int = 0
    """Which patients are made up."""

    def run(self) -> int:
        """Write the files and return 0."""
        from fewct.challenge.example import write_example

        write_example(self.out, get_edition(self.edition), self.seed)
        print(f"a made edition {self.edition} in {self.out}")
        return 0


@dataclass(frozen=True)
class Challenge(Generic[M]):
    """Files, score and submission of the ENS x Raidium data challenge."""

    action: tyro.conf.OmitSubcommandPrefixes[
        Annotated[MakeExample, tyro.conf.subcommand("example")]
        | Annotated[Submit[M], tyro.conf.subcommand("submit")]
        | Annotated[Validate, tyro.conf.subcommand("validate")]
        | Annotated[Score, tyro.conf.subcommand("score")]
        | Annotated[Unpack, tyro.conf.subcommand("unpack")]
        | Annotated[PackTable, tyro.conf.subcommand("pack")]
    ]

    @classmethod
    def starting_from(cls, settings: M) -> Self:
        """Return the options of `submit` where the user names none."""
        return cls(Submit(images=tyro.MISSING, settings=settings))

    def run(self) -> int:
        """Do what was asked for and return its exit code."""
        return self.action.run()


def _print_report(table: Path, report: "Report", *, as_json: bool) -> int:
    """Print what is wrong with a table; return 0 for a valid one, else 1."""
    if as_json:
        problems = [{"kind": one.kind, "where": one.where, "message": one.message} for one in report.problems]
        facts: dict[str, Any] = {"valid": report.valid, "summary": report.summary}
        print(json.dumps(facts | {"problems": problems, "notes": report.notes}, indent=1))
    else:
        Console(soft_wrap=True).print(escape(f"{table}: {report}"), highlight=False)
    return int(not report.valid)


def _score_tables(scores: "ChallengeScores") -> list[Table]:
    """Return the scores by image and, where there are classes, by class, the means last."""
    images = Table("image", "Rand index", "ARI, all pixels", "ARI, foreground")
    for image in scores.images:
        values = (image.rand_index, image.ari, image.ari_foreground)
        images.add_row(f"{image.number}.png", *map(number_cell, values))
    images.add_section()
    images.add_row(f"mean of {scores.n_scored}", *map(number_cell, scores.mean.values()))
    if scores.dice is None:
        return [images]
    classes = Table("class", "Dice, lower bound", "Dice, upper bound")
    for label, lower, upper in zip(
        scores.dice.classes, scores.dice.lower_by_class, scores.dice.upper_by_class, strict=True
    ):
        if lower == lower:
            classes.add_row(f"{label}", number_cell(lower), number_cell(upper))
    classes.add_section()
    classes.add_row("mean", number_cell(scores.dice.mean_lower), number_cell(scores.dice.mean_upper))
    return [images, classes]
