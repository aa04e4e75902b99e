"""The table of structures as CSV and the manifest as JSON."""

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import astuple, fields
from pathlib import Path

from fewct.errors import OutputError
from fewct.io.atomic import write_text
from fewct.types import Manifest, Structure


def write_structures_csv(structures: Sequence[Structure], path: str | Path) -> None:
    """Write one row a structure; what is unknown (NaN) stays empty.

    Raises:
        OutputError: If the file cannot be written.
    """
    text = io.StringIO(newline="")
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow([column.name for column in fields(Structure)])
    rows.writerows(
        ["" if math.isnan(value) else value for value in astuple(structure)] for structure in structures
    )
    write_text(text.getvalue(), path)


def manifest_json(manifest: Manifest) -> str:
    """Return a manifest as strict JSON.

    Raises:
        OutputError: If the configuration holds what JSON cannot say (NaN, infinity, an object).

    Example:
        >>> manifest = Manifest("1.0", "mosaic", {"level": 0.3}, None, "ab12", "hu")
        >>> json.loads(manifest_json(manifest))["configuration"]
        {'level': 0.3}
    """
    record = {column.name: getattr(manifest, column.name) for column in fields(Manifest)}
    record["configuration"] = dict(manifest.configuration)
    record["seconds"] = dict(manifest.seconds)
    try:
        return json.dumps(record, indent=2, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise OutputError(
            f"manifest of {manifest.method}",
            expected="a configuration of texts, finite numbers, lists and mappings",
            found=str(error),
            fix="Use None for settings that are not set.",
        ) from error


def write_manifest(manifest: Manifest, path: str | Path) -> None:
    """Write a manifest as strict JSON.

    Raises:
        OutputError: If the file cannot be written or the configuration is not JSON.
    """
    write_text(manifest_json(manifest), path)
