import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deadline import DEADLINE_S
from fewct.challenge.editions import Edition, get_edition
from fewct.challenge.submit import fit_to_table, submit
from fewct.errors import FewctWarning, InputError, UsageError
from fewct.io.label_table.table import read_table
from fewct.methods import Watershed
from fewct.result import SliceSegmentation
from fewct.segmentation import RESUME_FOLDER
from fewct.types import CTSlice

KILLED = """
import os, signal, sys
from pathlib import Path
from fewct.challenge.editions import Edition
from fewct.challenge.submit import submit
from fewct.methods import Watershed

def die(done, total):
    if done == 2:
        os.kill(os.getpid(), signal.SIGKILL)

edition = Edition("2023", side=128, n_train=6, n_labelled=3, n_test=4)
submit(Path(sys.argv[1]), Watershed(), Path(sys.argv[2]), edition, progress=die)
"""


@dataclass(frozen=True)
class Counted(Watershed):
    """Watershed that notes each slice that it works on; the same method by name and settings."""

    def segment(self, image: CTSlice) -> SliceSegmentation:
        assert image.source is not None
        SEEN.append(image.source.path.name)
        return super().segment(image)


SEEN: list[str] = []


@pytest.fixture(autouse=True)
def nothing_seen() -> None:
    SEEN.clear()


@pytest.fixture
def images(example: Path, tmp_path: Path) -> Path:
    """The made edition's test images, to change at will."""
    return Path(shutil.copytree(example / "test", tmp_path / "images"))


def kept_files(table: Path) -> list[Path]:
    return sorted((table.parent / RESUME_FOLDER / table.name).glob("[0-9a-f]*.png"))


def test_predictions_stand_in_the_columns_of_their_images(
    images: Path, tmp_path: Path, small_edition: Edition
) -> None:
    progress: list[tuple[int, int]] = []
    report = submit(
        images,
        Watershed(),
        tmp_path / "y.csv",
        small_edition,
        progress=lambda done, total: progress.append((done, total)),
    )
    assert report.valid
    assert progress == [(1, 4), (2, 4), (3, 4), (4, 4)]
    table = read_table(tmp_path / "y.csv")
    for number, labels in zip(table.numbers, table.labels, strict=True):
        pixels = np.asarray(Image.open(images / f"{number}.png").copy(), dtype=np.float32)
        np.testing.assert_array_equal(labels, Watershed().load().segment(CTSlice(pixels, "grey")).labels)
    assert not (tmp_path / RESUME_FOLDER).exists()


def test_a_killed_run_goes_on_and_ends_the_same(images: Path, tmp_path: Path, small_edition: Edition) -> None:
    killed = tmp_path / "killed.csv"
    run = subprocess.run(
        [sys.executable, "-c", KILLED, str(images), str(killed)], check=False, timeout=DEADLINE_S
    )
    assert run.returncode == -signal.SIGKILL
    assert len(kept_files(killed)) == 2
    assert not killed.exists()
    submit(images, Counted(), killed, small_edition)
    assert sorted(SEEN) == ["2.png", "3.png"]
    submit(images, Watershed(), tmp_path / "whole.csv", small_edition)
    assert killed.read_bytes() == (tmp_path / "whole.csv").read_bytes()


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:60])


def test_a_failed_image_is_an_error_that_names_it_and_the_others_are_kept(
    images: Path, tmp_path: Path, small_edition: Edition
) -> None:
    whole = (images / "2.png").read_bytes()
    damage(images / "2.png")
    with pytest.raises(
        InputError, match=r"1 of 4 images: expected a prediction for each image, found .*2\.png"
    ):
        submit(images, Counted(), tmp_path / "y.csv", small_edition)
    assert not (tmp_path / "y.csv").exists()
    assert sorted(SEEN) == ["0.png", "1.png", "3.png"]
    (images / "2.png").write_bytes(whole)
    assert submit(images, Counted(), tmp_path / "y.csv", small_edition).valid
    assert SEEN[3:] == ["2.png"]


def test_a_failed_image_may_be_allowed_to_be_empty(
    images: Path, tmp_path: Path, small_edition: Edition
) -> None:
    damage(images / "2.png")
    with pytest.warns(FewctWarning, match=r"2\.png: expected .* Its column is empty\."):
        report = submit(images, Watershed(), tmp_path / "y.csv", small_edition, allow_empty=True)
    assert [labels.any() for labels in read_table(tmp_path / "y.csv").labels] == [True, True, False, True]
    assert "2.png" in str(report)


@pytest.mark.parametrize(
    "change",
    [lambda method: replace(method, flat_range=25), lambda method: method],
    ids=["settings", "image"],
)
def test_what_other_settings_or_pixels_gave_is_never_taken(
    change: Callable[[Counted], Counted], images: Path, tmp_path: Path, small_edition: Edition
) -> None:
    damage(images / "3.png")
    with pytest.raises(InputError, match=r"3\.png"):
        submit(images, Counted(), tmp_path / "y.csv", small_edition)
    SEEN.clear()
    for number in (0, 3):
        with Image.open(images / "1.png") as picture:
            picture.rotate(90 + number).save(images / f"{number}.png")
    method = change(Counted())
    submit(images, method, tmp_path / "y.csv", small_edition)
    again = ["0.png", "3.png"] if method == Counted() else ["0.png", "1.png", "2.png", "3.png"]
    assert sorted(SEEN) == again


def test_an_image_in_which_nothing_is_found_is_an_error(
    images: Path, tmp_path: Path, small_edition: Edition, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nothing(_: Watershed, image: CTSlice) -> SliceSegmentation:
        return SliceSegmentation(np.zeros(image.shape, np.int32), np.zeros(0, np.float32))

    monkeypatch.setattr(Watershed, "segment", nothing)
    message = r"4 of 4 images: .*0\.png: expected an image in which the method finds a structure, found none"
    with pytest.raises(InputError, match=message):
        submit(images, Watershed(), tmp_path / "y.csv", small_edition)


def test_images_of_another_size_are_named(images: Path, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"0\.png: expected an image of 512 x 512 pixels, .*, found 128 x 128"
    ):
        submit(images, Watershed(), tmp_path / "y.csv", get_edition("2023"))


def test_no_method_names_the_classes_of_2025(images: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="found 2025, which asks for 54 named classes"):
        submit(images, Watershed(), tmp_path / "y.csv", get_edition("2025"))


def test_more_than_255_structures_lose_the_smallest_with_a_warning() -> None:
    labels = np.repeat(np.arange(1, 301, dtype=np.int32), np.arange(1, 301))[np.newaxis]
    with pytest.warns(FewctWarning, match=r"7\.png: 300 structures, but a table holds 255; the smallest"):
        fitted = fit_to_table(labels, "7.png")
    assert fitted.dtype == np.uint8
    assert np.array_equal(np.bincount(fitted[0])[1:], np.arange(46, 301))
    assert np.array_equal(fitted > 0, labels > 45)


def test_a_table_holds_255_structures() -> None:
    labels = np.arange(256, dtype=np.int32)[np.newaxis]
    assert np.array_equal(fit_to_table(labels, "7.png"), labels)


def test_the_columns_are_those_of_the_images(images: Path, tmp_path: Path, small_edition: Edition) -> None:
    for number in (3, 2, 1, 0):
        (images / f"{number}.png").rename(images / f"{number + 7}.png")
    assert submit(images, Watershed(), tmp_path / "y.csv", small_edition).valid
    assert read_table(tmp_path / "y.csv").numbers == (7, 8, 9, 10)
