"""Every function that users hand a path takes text as well."""

from pathlib import Path

import numpy as np
import pytest

from fewct.io import discover, read, read_labels, write
from fewct.io.boxes import read_boxes
from fewct.io.coco import read_proposals
from fewct.io.images import write_picture
from fewct.io.label_table.table import read_table, write_table
from fewct.io.medsam.reading import read_medsam
from fewct.io.medsam.writing import SquareSlice, write_medsam
from fewct.io.tables import write_manifest, write_structures_csv
from fewct.types import LabelMap, Manifest

LABELS = np.eye(256, dtype=np.int32)


@pytest.mark.parametrize("kind", [str, Path])
def test_text_and_paths(tmp_path: Path, kind: type) -> None:
    def path(name: str) -> str | Path:
        made: str | Path = kind(tmp_path / name)
        return made

    for name in ("a.png", "a.json", "a.nii.gz", "a.npz"):
        assert write(LabelMap(LABELS), path(name)) == tmp_path / name
    assert np.array_equal(read_labels(path("a.npz")).labels, LABELS)
    assert len(read_proposals(path("a.json"))[0]) == 1
    write_picture(np.arange(256, dtype=np.uint8).reshape(16, 16), path("b.png"))
    assert read(path("b.png")).shape == (16, 16)
    assert [found.name for found in discover(path("b.png"))] == ["b"]
    write_table(path("t.csv"), LABELS[None])
    assert read_table(path("t.csv")).labels.sum() == 256
    write_medsam(path("m.npz"), [SquareSlice("m", 0, (9, 9), np.zeros((256, 256), np.uint8), LABELS)])
    assert read_medsam(path("m.npz")).names.tolist() == ["m"]
    write_structures_csv([], path("s.csv"))
    write_manifest(Manifest("1", "x", {}, None, "ab", "hu"), path("s.json"))
    (tmp_path / "boxes.json").write_text('{"a": [[1, 2, 3, 4]]}')
    assert read_boxes(path("boxes.json")).rows == (("a", None, [1.0, 2.0, 3.0, 4.0]),)
