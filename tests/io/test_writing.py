"""Writing in any format: suffixes, defaults, and nothing partial when the disk is full."""

import errno
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from pydicom.data import get_testdata_file

from fewct.errors import InputError, OutputError, UsageError
from fewct.io import default_format, label_suffix, read, read_labels, write
from fewct.types import Format, Geometry, LabelMap, Provenance

LABELS = LabelMap(
    np.random.default_rng(1).choice(np.array([0, 1, 2, 300, 40_000], np.int32), (200, 300)),
    Geometry.from_spacing((5.0, 0.8, 0.7)),
)
WRITTEN_HERE = [name for name in get_args(Format) if name != "dicom-seg"]


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Make the system refuse to let files grow further, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    ("source_format", "format"),
    [
        ("dicom", "dicom-seg"),
        ("nifti", "nifti"),
        ("nrrd", "nrrd"),
        ("metaimage", "metaimage"),
        ("image", "png"),
        ("numpy", "npz"),
    ],
)
def test_default_format_is_the_inputs_own(source_format: Any, format: str) -> None:
    assert default_format(Provenance(Path("x"), source_format, "x")) == format


@pytest.mark.parametrize("format", [name for name in WRITTEN_HERE if name != "coco"])
def test_labels_return_from_every_format(tmp_path: Path, format: Format) -> None:
    path = write(LABELS, str(tmp_path / f"a{label_suffix(format)}"), format)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    np.testing.assert_array_equal(read_labels(path).labels, LABELS.labels)


@pytest.mark.parametrize("name", ["a.nii", "A.NII.GZ", "a.b.npz"])
def test_suffix_tells_the_format(tmp_path: Path, name: str) -> None:
    np.testing.assert_array_equal(read_labels(write(LABELS, tmp_path / name)).labels, LABELS.labels)


@pytest.mark.parametrize(
    ("name", "format", "match"),
    [
        ("a.tiff", None, r"a\.tiff: expected a name that ends on \.dcm, \.nii\.gz, .*\.json"),
        ("a", None, "a: expected a name that ends on"),
        ("a.png", "nifti", r"a\.png: expected a name that ends on \.nii\.gz, found 'a\.png'"),
        ("a.png", "tiff", "format: expected dicom-seg, nifti, .*, found 'tiff'"),
    ],
)
def test_suffix_and_format_must_agree(tmp_path: Path, name: str, format: Any, match: str) -> None:
    with pytest.raises(UsageError, match=match):
        write(LABELS, tmp_path / name, format)


@pytest.mark.parametrize("format", WRITTEN_HERE)
def test_negative_labels(tmp_path: Path, format: Format) -> None:
    with pytest.raises(
        InputError, match=r"labels: expected labels of 0 .* or more, found a smallest label of -1"
    ):
        write(LabelMap(np.array([[0, -1]], np.int32)), tmp_path / f"a{label_suffix(format)}")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("format", WRITTEN_HERE)
def test_disk_full(tmp_path: Path, format: Format) -> None:
    path = tmp_path / f"a{label_suffix(format)}"
    path.write_text("the old file")
    with (
        files_of_at_most(4096),
        pytest.raises(OutputError, match=rf"{path.name}: expected a file that can be written"),
    ):
        write(LABELS, path)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert path.read_text() == "the old file"


def test_disk_full_for_a_dicom_segmentation(tmp_path: Path) -> None:
    image = read(get_testdata_file("CT_small.dcm"))
    labels = LabelMap(np.ones((128, 128), np.int32), image.geometry, image.source)
    with (
        files_of_at_most(1024),
        pytest.raises(OutputError, match=r"a\.dcm: expected a file that can be written"),
    ):
        write(labels, tmp_path / "a.dcm")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("format", WRITTEN_HERE)
def test_missing_folder(tmp_path: Path, format: Format) -> None:
    with pytest.raises(OutputError, match=rf"a{label_suffix(format)}: expected a file that can be written"):
        write(LABELS, tmp_path / "absent" / f"a{label_suffix(format)}")


def test_no_space_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", refuse)
    with pytest.raises(OutputError, match=r"a\.nii\.gz: .*found no space left on device. Free some space"):
        write(LABELS, tmp_path / "a.nii.gz")
    assert list(tmp_path.iterdir()) == []


def test_labels_of_another_integer_type(tmp_path: Path) -> None:
    wide = replace(LABELS, labels=LABELS.labels.astype(np.int64))
    np.testing.assert_array_equal(read_labels(write(wide, tmp_path / "a.nii")).labels, LABELS.labels)
