import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fewct.challenge import example as example_module
from fewct.challenge.editions import Edition
from fewct.challenge.example import write_example
from fewct.challenge.score import read_annotated
from fewct.challenge.validate import validate
from fewct.imaging.labelmap import relabel_sequential
from fewct.io.label_table.table import read_table
from fewct.phantom import phantom_slice
from fewct.types import CTSlice, LabelMap


def test_it_has_the_layout_of_the_real_one(example: Path, small_edition: Edition) -> None:
    assert sorted(path.name for path in example.iterdir()) == ["Y_test.csv", "Y_train.csv", "test", "train"]
    assert validate(example / "Y_test.csv", small_edition, images=example / "test").valid
    train = validate(example / "Y_train.csv", small_edition, images=example / "train", allow_empty=True)
    assert train.valid
    labelled = [labels.any() for labels in read_table(example / "Y_train.csv").labels]
    assert labelled == [True, True, True, False, False, False]
    with Image.open(example / "test" / "3.png") as picture:
        assert (picture.mode, picture.size) == ("L", (128, 128))


def test_labels_count_up_without_gaps_in_each_image(example: Path) -> None:
    for labels in read_table(example / "Y_test.csv").labels:
        assert np.array_equal(np.unique(labels), np.arange(labels.max() + 1))
        assert labels.max() >= 5


def test_the_edition_with_classes_is_rotated_and_partially_annotated(
    tmp_path: Path, small_edition: Edition
) -> None:
    edition = replace(small_edition, side=64, n_classes=54)
    write_example(tmp_path, edition, seed=1)
    annotated = read_annotated(tmp_path / "annotated_labels.json")
    train = read_table(tmp_path / "Y_train.csv").labels
    assert [list(classes) for classes in annotated] == [np.unique(m[m > 0]).tolist() for m in train]
    assert annotated[3:] == ((), (), ())
    report = validate(tmp_path / "Y_test.csv", edition, images=tmp_path / "test")
    assert report.valid, str(report)
    spine_rows, spine_columns = np.nonzero(read_table(tmp_path / "Y_test.csv").labels[0] == 18)
    assert abs(spine_rows.mean() - 32) < 6 < abs(spine_columns.mean() - 32), "the back is at the side"


def test_one_seed_is_one_edition(tmp_path: Path, small_edition: Edition) -> None:
    edition = replace(small_edition, side=32)
    contents = []
    for folder in ("one", "two"):
        write_example(tmp_path / folder, edition, seed=5)
        files = sorted(path for path in (tmp_path / folder).rglob("*") if path.is_file())
        contents.append([hashlib.sha256(path.read_bytes()).hexdigest() for path in files])
    assert contents[0] == contents[1]
    assert len(contents[0]) == 12


def test_seven_of_ten_classes_are_annotated(
    tmp_path: Path, small_edition: Edition, monkeypatch: pytest.MonkeyPatch
) -> None:
    edition = replace(small_edition, side=64, n_classes=54)
    write_example(tmp_path / "partial", edition)
    monkeypatch.setattr(example_module, "ANNOTATED_SHARE", 1.0)
    write_example(tmp_path / "whole", edition)
    partial, whole = (read_table(tmp_path / part / "Y_train.csv").labels for part in ("partial", "whole"))
    kept = [
        len(set(some[some > 0])) / len(set(every[every > 0]))
        for some, every in zip(partial[:3], whole, strict=False)
    ]
    assert np.mean(kept) == pytest.approx(0.7, abs=0.1)
    assert np.array_equal(partial[partial > 0], whole[partial > 0])


@pytest.mark.parametrize("n_classes", [None, 5])
def test_pairs_are_slices_of_different_phantoms(
    n_classes: int | None, tmp_path: Path, small_edition: Edition, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds, levels, truths = [], [], []

    def phantom(seed: int, *, level: float, size: int) -> tuple[CTSlice, LabelMap]:
        ct, truth = phantom_slice(seed, level=level, size=size)
        seeds.append(seed)
        levels.append(level)
        truths.append(truth.labels)
        return ct, truth

    monkeypatch.setattr(example_module, "phantom_slice", phantom)
    write_example(tmp_path, replace(small_edition, side=48, n_classes=n_classes))
    assert len(set(seeds)) == 10
    assert all(0.15 <= level <= 0.9 for level in levels)
    for truth, written in zip(truths[6:], read_table(tmp_path / "Y_test.csv").labels, strict=True):
        expected = (
            relabel_sequential(truth)[0] if n_classes is None else np.rot90(np.where(truth > 5, 0, truth))
        )
        np.testing.assert_array_equal(written, expected)
