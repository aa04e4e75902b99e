"""`fewct segment`: images in, label maps, pictures and tables out."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Generic, Self, TypeVar

import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fewct.cli.options import Json, Out, Series, new_method_name, with_new_names
from fewct.cli.terminal import progress_of_slices, tell
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

    @classmethod
    def starting_from(cls, settings: M) -> Self:
        """Return the options where the user names none."""
        return cls(inputs=tyro.MISSING, settings=settings)

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
                    tell("failed", outcome.error, console)
        if self.json:
            print(json.dumps([vars(outcome) for outcome in outcomes], indent=1, default=str))
        else:
            _print_table(outcomes)
        return int(any(outcome.error for outcome in outcomes))


def named_method(words: Sequence[str]) -> type[Method]:
    """Return the method that a command line names with --method, the default one if none.

    Raises:
        UsageError: If no method has that name.
    """
    return get_method(new_method_name(_named_option(words, "method", DEFAULT_METHOD)))


def method_options(method: type[Method], words: Sequence[str]) -> tuple[Any, list[str]]:
    """Return the settings of a method that stand where the user names none, and the words to parse.

    They are the method's own, or for `mosaic` those of the folder of `fewct adapt` that --weights names.

    Raises:
        InputError: If the folder's settings are damaged.
    """
    words = with_new_names(words, method.name)
    weights = _named_option(words, "weights", "")
    if method is not Mosaic or not is_adapted(weights):
        return tyro.MISSING_NONPROP, words
    adapted = Mosaic.adapted(weights)
    end = words.index("--") if "--" in words else len(words)  # of an option given twice the last counts
    return adapted, [*words[:end], f"--weights={adapted.weights}", *words[end:]]


def _named_option(words: Sequence[str], option: str, default: str) -> str:
    """Return the last value that a command line gives an option, such as "weights"; `default` if none."""
    value = default
    for word, following in pairwise([*words, ""]):
        if word == f"--{option}":
            value = following
        elif word.startswith(f"--{option}="):
            value = word.removeprefix(f"--{option}=")
    return value


def _print_table(outcomes: Sequence["Outcome"]) -> None:
    table = Table("name", "size", "structures", "seconds", "label map")
    for outcome in outcomes:
        if outcome.error is None:
            size, count = " x ".join(map(str, outcome.shape)), str(outcome.structures)
            file = escape(str(outcome.files[0]))
            table.add_row(escape(outcome.name), size, count, f"{outcome.seconds:.1f}", file)
    if table.row_count:
        Console().print(table)
