"""Tables as CSV and records as JSON: the table of structures, the manifest."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any

from fewct.errors import OutputError
from fewct.io.atomic import write_text
from fewct.types import Manifest, Structure


def write_structures_csv(structures: Sequence[Structure], path: str | Path) -> None:
    """Write one row a structure; what is unknown (NaN) stays empty.

    Raises:
        OutputError: If the file cannot be written.
    """
    write_csv([column.name for column in fields(Structure)], map(astuple, structures), path)


def write_csv(columns: Sequence[str], rows: Iterable[Iterable[Any]], path: str | Path) -> None:
    """Write a table, whole or not at all; NaN stays empty.

    Raises:
        OutputError: If the file cannot be written.
    """
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(columns)
    table.writerows(["" if value != value else value for value in row] for row in rows)
    write_text(text.getvalue(), path)


def json_text(value: object) -> str:
    """Return mappings, lists, texts and numbers as strict JSON: NaN becomes null.

    Example:
        >>> json.loads(json_text({"score": float("nan"), "ids": (1, 2)}))
        {'score': None, 'ids': [1, 2]}
    """

    def known(part: object) -> object:
        if isinstance(part, Mapping):
            return {key: known(one) for key, one in part.items()}
        if isinstance(part, list | tuple):
            return [known(one) for one in part]
        return None if part != part else part

    return json.dumps(known(value), indent=1, allow_nan=False)


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
