"""`fewct prepare`: labelled data in the layouts that other programs train on."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from fewct.cli.options import Json, Out
from fewct.cli.terminal import tell
from fewct.prepare import MedSAMSettings

if TYPE_CHECKING:
    from fewct.prepare import Prepared


@dataclass(frozen=True)
class Prepare:
    """Write labelled data as MedSAM's NPZ, one file a scan or picture: pictures beside binary masks.

    Each file holds imgs (n, 256, 256, 3) and gts (n, 256, 256), one entry for each structure on each slice,
    never one for background; names, slice numbers and labels of the originals beside them.
    """

    layout: Annotated[Literal["medsam"], tyro.conf.Positional]
    """What to write."""
    data: tuple[str, ...]
    """As for `fewct benchmark`: NPZ with image and label; a folder of such; images/ and labels/; NAME.png
    with NAME_labels.png; a scan beside labels.nii.gz; a challenge folder; or JSON that lists such."""
    settings: Annotated[MedSAMSettings, tyro.conf.arg(name="")] = field(default_factory=MedSAMSettings)
    out: Out = Path("medsam")
    """Folder for the files; it must hold no NPZ yet."""
    step: int = 1
    """Take every n-th slice. A JSON file tells its own."""
    json: Json = False

    def run(self) -> int:
        """Write the files and return 0, or 1 if some data could not be read."""
        from fewct.data.cases import parse_data
        from fewct.prepare import prepare_medsam

        data = [parse_data(text, step=self.step) for text in self.data]
        outcomes = []
        for outcome in prepare_medsam(data, self.out, self.settings):
            outcomes.append(outcome)
            if outcome.error is not None:
                tell("failed", outcome.error)
            elif not self.json:
                print(_line(outcome))
        if self.json:
            print(json.dumps([vars(outcome) for outcome in outcomes], indent=1, default=str))
        return int(any(outcome.error is not None for outcome in outcomes))


def _line(outcome: "Prepared") -> str:
    """Return what a person is told of a scan or picture."""
    small = f", {outcome.dropped} smaller than the thresholds" if outcome.dropped else ""
    if outcome.file is None:
        return f"{outcome.name}: nothing to write{small or ', no labels'}"
    masks, entries = _counted(outcome.masks, "mask", "masks"), _counted(outcome.entries, "entry", "entries")
    return f"{outcome.file}: {masks} in {entries}{small}"


def _counted(number: int, one: str, several: str) -> str:
    return f"{number} {one if number == 1 else several}"
