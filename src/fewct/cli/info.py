"""`fewct info`: what an input holds, before anything is done with it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fewct.cli.options import Json, Series
from fewct.types import CTSlice, CTVolume, UnitChoice


@dataclass(frozen=True)
class Info:
    """Tell what an input holds: images, sizes, spacing, place in the patient, intensities."""

    input: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="INPUT")]
    """A file, folder or zip that `fewct segment` would read."""
    series: Series = None
    unit: UnitChoice = "auto"
    """How to read the values: Hounsfield units (hu), an unknown window (grey); auto looks at them."""
    json: Json = False

    def run(self) -> int:
        """Print the facts of each image and return 0."""
        from fewct.io import discover

        facts = [
            {"name": found.name, "what": found.description, **_facts(found.open())}
            for found in discover(self.input, series=self.series, unit=self.unit)
        ]
        if self.json:
            print(json.dumps(facts, indent=1))
            return 0
        for image in facts:
            table = Table(show_header=False, title=escape(str(image["name"])), title_justify="left")
            for key, value in image.items():
                table.add_row(key, escape(_text(value)))
            Console().print(table)
        return 0


def _facts(image: CTSlice | CTVolume) -> dict[str, Any]:
    middle = image if isinstance(image, CTSlice) else image[len(image) // 2]
    known = middle.pixels[~np.isnan(middle.pixels)]
    facts: dict[str, Any] = {
        "shape": list(image.shape),
        "unit": image.unit,
        "spacing_mm": None if image.geometry is None else [round(s, 4) for s in image.geometry.spacing_mm],
        "origin_lps_mm": None if image.geometry is None else image.geometry.affine[:3, 3].round(3).tolist(),
        "frame_of_reference": None if image.geometry is None else image.geometry.frame_of_reference_uid,
        "middle_slice_range": [float(known.min()), float(known.max())],
        "padding_px": int(middle.pixels.size - known.size),
    }
    if image.source is not None:
        facts |= {"format": image.source.format, "files": len(image.source.files)}
    return facts


def _text(value: Any) -> str:
    if value is None:
        return "unknown"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
