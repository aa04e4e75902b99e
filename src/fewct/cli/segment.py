"""`fewct segment`: images in, label maps, pictures and tables out."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Generic, TypeVar

import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fewct.cli.options import Json, Out, Series
from fewct.cli.progress import progress_of_slices
from fewct.errors import UsageError
from fewct.imaging.slice_linking import Linking
from fewct.methods import Method, Mosaic, get_method
from fewct.methods.mosaic.method import is_adapted
from fewct.types import Format, UnitChoice, WindowName

if TYPE_CHECKING:
    from fewct.batch import Outcome

M = TypeVar("M", bound=Method)

DEFAULT_METHOD = "mosaic"


@dataclass(frozen=True)
class Segment(Generic[M]):
    """Segment every structure on CT slices and scans, without naming organs.

    For an input called NAME, DIR gets NAME_labels, NAME_overlay.png, NAME_structures.csv and
    NAME_manifest.json. A scan that was interrupted goes on where it stopped. Each method has options of its
    own: `fewct segment --method watershed --help` shows those of watershed.
    """

    inputs: Annotated[
        tuple[Path, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="INPUT...", help_behavior_hint="(one or more)"),
    ]
    """DICOM file, folder or zip; NIfTI, NRRD, MetaImage; PNG, JPEG, TIFF, BMP; NPY, NPZ; a folder of such."""
    settings: Annotated[M, tyro.conf.arg(name="")]
    """Options of the method."""
    linking: Linking = field(default_factory=Linking)
    """When two structures on neighbouring slices are the same."""
    out: Out = Path("out")
    """Folder for the results."""
    method: Annotated[str, tyro.conf.arg(metavar="NAME")] = DEFAULT_METHOD
    """How to find structures; `fewct methods` tells about each."""
    format: Format | None = None
    """Format of the label map; None: the input's own kind."""
    window: WindowName | None = None
    """Window of the picture, for Hounsfield data; None: soft-tissue."""
    series: Series = None
    unit: UnitChoice = "auto"
    """Whether values are Hounsfield units (hu) or windowed in an unknown way (grey); auto looks at them."""
    json: Json = False

    def run(self) -> int:
        """Segment each input and return 0, or 1 if some failed."""
        from fewct.batch import segment_files

        if not self.inputs:
            raise UsageError(
                "INPUT",
                expected="at least one",
                found="none",
                fix="Name a file or folder: fewct segment scan/ -o out",
            )
        console = Console(stderr=True, soft_wrap=True)
        with progress_of_slices(console) as progress:
            outcomes = []
            for outcome in segment_files(
                self.inputs,
                self.settings,
                self.out,
                linking=self.linking,
                format=self.format,
                window=self.window,
                series=self.series,
                unit=self.unit,
                progress=progress,
            ):
                outcomes.append(outcome)
                if outcome.error is not None:
                    console.print(f"[bold red]failed:[/] {escape(str(outcome.error))}", highlight=False)
        if self.json:
            print(json.dumps([_as_dict(outcome) for outcome in outcomes], indent=1))
        else:
            _print_table(outcomes)
        return int(any(outcome.error for outcome in outcomes))


def named_method(words: Sequence[str]) -> type[Method]:
    """Return the method that a command line names with --method, the default one if none.

    Raises:
        UsageError: If no method has that name.
    """
    return get_method(named_option(words, "method", DEFAULT_METHOD))


def named_option(words: Sequence[str], option: str, default: str) -> str:
    """Return the last value that a command line gives an option, such as "weights"; `default` if none."""
    value = default
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word == f"--{option}":
            value = following
        elif word.startswith(f"--{option}="):
            value = word.removeprefix(f"--{option}=")
    return value


def with_adapted_settings(words: Sequence[str]) -> list[str]:
    """Return a command line with the settings of the adapted folder that it names as weights of mosaic.

    They stand before all other options: of an option given twice the last counts, so the user's own win.

    Raises:
        UsageError: If no method has the name that is given.
        InputError: If the folder's settings are damaged.
    """
    weights = named_option(words, "weights", "")
    named = named_method(words)
    if words[:1] not in (["segment"], ["challenge"]) or named is not Mosaic or not is_adapted(weights):
        return list(words)
    first = next(k for k, word in enumerate(words) if word.startswith("-"))
    adapted = settings_as_words(Mosaic.adapted(weights))
    given = [word for word in words[first:] if word != f"--weights={weights}"]
    if "--weights" in given:
        place = given.index("--weights")
        given[place : place + 2] = []
    return [*words[:first], *adapted, *given]


def settings_as_words(method: Mosaic) -> list[str]:
    """Return the settings of mosaic as options of the command line.

    Example:
        >>> settings_as_words(Mosaic(level=0.3))[4:6]
        ['--level', '0.3']
    """
    settings = asdict(method)
    words = []
    for name, value in (settings | settings.pop("cleanup")).items():
        option = name.replace("_", "-")
        words += (
            [f"--{option}" if value else f"--no-{option}"]
            if isinstance(value, bool)
            else [
                f"--{option}",
                f"{value}",
            ]
        )
    return words


def _as_dict(outcome: "Outcome") -> dict[str, Any]:
    return {
        "input": str(outcome.input),
        "name": outcome.name,
        "shape": outcome.shape,
        "structures": outcome.structures,
        "seconds": outcome.seconds,
        "files": [str(file) for file in outcome.files],
        "error": None if outcome.error is None else str(outcome.error),
    }


def _print_table(outcomes: Sequence["Outcome"]) -> None:
    table = Table("name", "size", "structures", "seconds", "label map")
    for outcome in outcomes:
        if outcome.error is None:
            size = " x ".join(map(str, outcome.shape))
            row = (
                outcome.name,
                size,
                f"{outcome.structures}",
                f"{outcome.seconds:.1f}",
                f"{outcome.files[0]}",
            )
            table.add_row(*map(escape, row))
    if table.row_count:
        Console().print(table)
