"""Each kind of bad input gets an error that names it and the way out; the other inputs are done."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from dicom_builder import ramp, write_ct, write_series
from fewct.cli import main
from fewct.phantom import phantom_slice


def grey(side: int = 64) -> np.ndarray:
    ct, _ = phantom_slice(3, size=side)
    return ((ct.pixels + 160) / 400 * 255).clip(0, 255).astype(np.uint8)


def truncated_picture(folder: Path) -> Path:
    path = folder / "bad.png"
    Image.fromarray(grey()).save(path)
    path.write_bytes(path.read_bytes()[:300])
    return path


def truncated_dicom(folder: Path) -> Path:
    path = write_ct(folder / "bad.dcm", ramp(64, 64))
    path.write_bytes(path.read_bytes()[:-4000])
    return path


def truncated_nifti(folder: Path) -> Path:
    path = folder / "bad.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.arange(4096, dtype=np.int16).reshape(16, 16, 16), np.eye(4)), path)
    path.write_bytes(path.read_bytes()[:-500])
    return path


def empty_file(folder: Path) -> Path:
    path = folder / "bad.nii"
    path.touch()
    return path


def text_named_dcm(folder: Path) -> Path:
    path = folder / "bad.dcm"
    path.write_text("This is no DICOM file.\n" * 20)
    return path


def dicom_without_pixels(folder: Path) -> Path:
    return write_ct(folder / "bad.dcm", ramp(), PixelData=None)


def dicom_of_zero_spacing(folder: Path) -> Path:
    return write_ct(folder / "bad.dcm", ramp(), PixelSpacing=[0, 0.7])


def dicom_of_negative_spacing(folder: Path) -> Path:
    return write_ct(folder / "bad.dcm", ramp(), PixelSpacing=[0.7, -0.7])


def nifti_of_zero_spacing(folder: Path) -> Path:
    path = folder / "bad.nii"
    image = nibabel.Nifti1Image(np.arange(64, dtype=np.int16).reshape(4, 4, 4), np.eye(4))
    image.header["pixdim"][1:4] = 0
    image.header["sform_code"] = image.header["qform_code"] = 0
    nibabel.save(image, path)
    content = bytearray(path.read_bytes())
    content[80:92] = bytes(12)  # pixdim[1..3]
    content[252:256] = bytes(4)  # qform and sform codes
    path.write_bytes(content)
    return path


def only_nan(folder: Path) -> Path:
    path = folder / "bad.npy"
    np.save(path, np.full((8, 8), np.nan))
    return path


def infinite(folder: Path) -> Path:
    path = folder / "bad.npy"
    np.save(path, np.where(np.eye(8) > 0, np.inf, np.arange(8.0)))
    return path


def four_dimensions(folder: Path) -> Path:
    path = folder / "bad.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.arange(256.0).reshape(4, 4, 4, 4), np.eye(4)), path)
    return path


def colour_photo(folder: Path) -> Path:
    path = folder / "bad.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)).save(path)
    return path


def mask_as_image(folder: Path) -> Path:
    path = folder / "bad.png"
    Image.fromarray(np.where(np.eye(64) > 0, 255, 0).astype(np.uint8)).save(path)
    return path


def mixed_sizes(folder: Path) -> Path:
    series = folder / "bad"
    files = write_series(series, [0, 5, 10])
    write_ct(files[1], ramp(4, 4), (-10, -20, 5), InstanceNumber=2)
    return series


def several_series(folder: Path) -> Path:
    series = folder / "bad"
    for number in (1, 2):
        for path in write_series(series / f"{number}", [0, 5], SeriesInstanceUID=f"1.2.{number}"):
            path.rename(series / f"{number}_{path.name}")
    return series


def nothing_readable(folder: Path) -> Path:
    path = folder / "bad"
    path.mkdir()
    (path / "notes.txt").write_text("nothing here")
    return path


MAKERS: dict[Callable[[Path], Path], str] = {
    truncated_picture: "truncated",
    truncated_dicom: "cut short",
    truncated_nifti: "cut short|truncated|complete",
    empty_file: "empty",
    text_named_dcm: "text|DICOM",
    dicom_without_pixels: "pixels",
    dicom_of_zero_spacing: "spacing",
    dicom_of_negative_spacing: "spacing",
    nifti_of_zero_spacing: "spacing",
    only_nan: "NaN|finite",
    infinite: "infinit|finite",
    four_dimensions: "4|dimensions",
    colour_photo: "colour",
    mask_as_image: "mask",
    mixed_sizes: "size",
    several_series: "--series",
    nothing_readable: "readable|image",
}


@pytest.mark.parametrize(("make", "says"), MAKERS.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_segment(
    make: Callable[[Path], Path], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad, out = make(tmp_path), tmp_path / "out"
    Image.fromarray(grey()).save(tmp_path / "good.png")
    words = ["segment", str(bad), str(tmp_path / "good.png"), "-o", str(out), "--method", "felzenszwalb"]
    assert main(words) == 1
    message = capsys.readouterr().err
    assert message.count("failed:") == 1
    assert "Traceback" not in message
    assert "bad" in message
    assert "expected" in message
    assert "found" in message
    assert any(part in message for part in says.split("|")), message
    assert sorted(path.name for path in out.iterdir()) == [
        f"good_{part}" for part in ("labels.png", "manifest.json", "overlay.png", "structures.csv")
    ]


def test_disk_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.fromarray(grey()).save(tmp_path / "good.png")
    out = tmp_path / "out"

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert main(["segment", str(tmp_path / "good.png"), "-o", str(out), "--method", "felzenszwalb"]) == 1
    assert "no space left on device" in capsys.readouterr().err
    assert list(out.iterdir()) == []


def evaluate(tmp_path: Path, prediction: np.ndarray, truth: np.ndarray) -> int:
    for name, array in (("prediction", prediction), ("truth", truth)):
        np.save(tmp_path / f"{name}.npy", array)
    return main(["evaluate", str(tmp_path / "prediction.npy"), "--truth", str(tmp_path / "truth.npy")])


@pytest.mark.parametrize(
    ("prediction", "says"),
    [
        (np.zeros((4, 5), int), "same shape"),
        (np.full((4, 4), -1), "-1"),
        (np.full((4, 4), 0.5), "whole"),
        (np.zeros((2, 2, 2, 2), int), "(2, 2, 2, 2)"),
    ],
)
def test_evaluate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], prediction: np.ndarray, says: str
) -> None:
    assert evaluate(tmp_path, prediction, np.eye(4, dtype=int)) == 1
    message = capsys.readouterr().err
    assert "prediction" in message
    assert says in message
