"""CSV of structures, JSON of the manifest."""

import csv
import json
from dataclasses import fields
from pathlib import Path

import pytest

from fewct.errors import OutputError
from fewct.io.tables import json_text, write_manifest, write_structures_csv
from fewct.types import Manifest, Structure

NAN = float("nan")
ROW = Structure(3, 20, NAN, NAN, 1, 2, 0, 5, 7, 1, 2.5, 4.25, 0.0, -100.1234567890123, NAN, 0.5)


def test_csv_has_the_fields_as_header_and_empty_cells_for_nan(tmp_path: Path) -> None:
    write_structures_csv([ROW], tmp_path / "s.csv")
    with (tmp_path / "s.csv").open(newline="") as file:
        header, row = csv.reader(file)
    assert header == [column.name for column in fields(Structure)]
    cells = dict(zip(header, row, strict=True))
    assert (cells["id"], cells["area_px"], cells["area_mm2"], cells["score"]) == ("3", "20", "", "")
    assert float(cells["mean_intensity"]) == ROW.mean_intensity


def test_csv_of_no_structures_is_the_header(tmp_path: Path) -> None:
    write_structures_csv([], tmp_path / "s.csv")
    assert (tmp_path / "s.csv").read_text().splitlines() == [
        ",".join(column.name for column in fields(Structure))
    ]


def test_json_has_null_for_nan_at_any_depth() -> None:
    text = json_text({"rows": [{"mean": NAN, "n": 2}], "ids": (1, NAN), "name": "a"})
    assert json.loads(text) == {"rows": [{"mean": None, "n": 2}], "ids": [1, None], "name": "a"}


def manifest(**configuration: object) -> Manifest:
    return Manifest("0.1.0", "mosaic", configuration, None, "ab", "hu", {"merge": 0.25})


def test_manifest_is_json(tmp_path: Path) -> None:
    write_manifest(manifest(level=0.3, scales=(1, 2), name=None), tmp_path / "m.json")
    assert json.loads((tmp_path / "m.json").read_text()) == {
        "version": "0.1.0",
        "method": "mosaic",
        "configuration": {"level": 0.3, "scales": [1, 2], "name": None},
        "weights_sha256": None,
        "input_sha256": "ab",
        "unit": "hu",
        "seconds": {"merge": 0.25},
    }


@pytest.mark.parametrize("value", [NAN, float("inf"), Path("x")])
def test_manifest_refuses_what_json_cannot_say(tmp_path: Path, value: object) -> None:
    with pytest.raises(OutputError, match=r"manifest of mosaic: expected a configuration of .* Use None"):
        write_manifest(manifest(level=value), tmp_path / "m.json")
    assert list(tmp_path.iterdir()) == []
