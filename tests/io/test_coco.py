"""COCO JSON: masks are decoded here by hand, as COCO's documentation tells."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fewct.io import write
from fewct.result import Segmentation
from fewct.types import LabelMap, Manifest, Provenance, Structure

NAN = float("nan")


def decode(segmentation: dict[str, Any]) -> np.ndarray:
    """Runs of zeros and ones in turn, column by column."""
    flat = [value for i, run in enumerate(segmentation["counts"]) for value in [i % 2] * run]
    rows, columns = segmentation["size"]
    return np.array(flat).reshape(columns, rows).T


@settings(max_examples=30)
@given(labels=hnp.arrays(np.int32, (2, 4, 5), elements=st.integers(0, 3)))
def test_annotations_rebuild_the_labels(tmp_path_factory: pytest.TempPathFactory, labels: np.ndarray) -> None:
    file = write(LabelMap(labels), tmp_path_factory.mktemp("c") / "a.json")
    content = json.loads(file.read_text())
    assert [(image["id"], image["width"], image["height"]) for image in content["images"]] == [
        (1, 5, 4),
        (2, 5, 4),
    ]
    ids = [annotation["id"] for annotation in content["annotations"]]
    assert ids == list(range(1, len(ids) + 1))
    rebuilt = np.zeros_like(labels)
    for annotation in content["annotations"]:
        mask = decode(annotation["segmentation"]).astype(bool)
        rebuilt[annotation["image_id"] - 1][mask] = annotation["structure_id"]
        rows, columns = np.nonzero(mask)
        x, y, width, height = annotation["bbox"]
        assert (x, x + width - 1, y, y + height - 1) == (columns.min(), columns.max(), rows.min(), rows.max())
        assert annotation["area"] == mask.sum()
        assert annotation["category_id"] == content["categories"][0]["id"]
    np.testing.assert_array_equal(rebuilt, labels)


def test_scores_where_there_are_any(tmp_path: Path) -> None:
    rows = tuple(
        Structure(i, 1, NAN, NAN, 0, 0, 0, 1, 1, 1, 0.0, 0.0, 0.0, 0.0, score, NAN)
        for i, score in ((1, 0.5), (2, NAN))
    )
    result = Segmentation(
        np.array([[1, 2]]), structures=rows, manifest=Manifest("0", "m", {}, None, "", "hu")
    )
    first, second = json.loads(write(result, tmp_path / "a.json").read_text())["annotations"]
    assert first["score"] == 0.5
    assert "score" not in second


@pytest.mark.parametrize(
    ("files", "names"),
    [(("b.dcm", "a.dcm"), ["b.dcm", "a.dcm"]), (("scan.nii",), ["scan_0000", "scan_0001"])],
)
def test_file_names(tmp_path: Path, files: tuple[str, ...], names: list[str]) -> None:
    source = Provenance(tmp_path, "dicom", "scan", tuple(map(Path, files)))
    result = LabelMap(np.ones((2, 1, 1), np.int32), None, source)
    images = json.loads(write(result, tmp_path / "a.json").read_text())["images"]
    assert [image["file_name"] for image in images] == names


def test_slice_from_an_array(tmp_path: Path) -> None:
    content = json.loads(write(LabelMap(np.eye(2, dtype=np.int32)), tmp_path / "a.json").read_text())
    assert content["images"] == [{"id": 1, "file_name": "image", "width": 2, "height": 2}]
