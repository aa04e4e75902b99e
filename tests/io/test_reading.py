"""Finding images: files, folders, zips, and what is said where there is none."""

import errno
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.data import get_testdata_file

from fewct.errors import InputError, UsageError
from fewct.io import discover, read, read_labels
from fewct.types import CTSlice

GREY = np.random.default_rng(2).integers(0, 256, (12, 15)).astype(np.uint8)
CT_SMALL = Path(get_testdata_file("CT_small.dcm"))


def save_png(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(GREY).save(file, format="PNG")
    return file


def names(path: Path) -> list[str]:
    return [image.name for image in discover(path)]


def test_folder_in_natural_order_without_what_is_no_image(tmp_path: Path) -> None:
    for name in ("10.png", "2.png", "deep/1.png", "B.png", "a.png", ".hidden.png", ".cache/3.png"):
        save_png(tmp_path / name)
    for name in ("2_labels.png", "2_overlay.png", "a_labels.nii.gz", "2_structures.csv", "2_manifest.json"):
        (tmp_path / name).write_text("")
    (tmp_path / "README.txt").write_text("BMI of all patients: see the table")
    assert names(tmp_path) == ["2", "10", "a", "B", "1"]


def test_folder_of_dicom_and_others(tmp_path: Path) -> None:
    (tmp_path / "ct").write_bytes(CT_SMALL.read_bytes())
    save_png(tmp_path / "1.png")
    dicom, picture = discover(tmp_path)
    assert (dicom.open().unit, picture.open().unit) == ("hu", "grey")


def test_bad_files_in_a_folder_are_found_and_tell_when_opened(tmp_path: Path) -> None:
    save_png(tmp_path / "1.png")
    (tmp_path / "2.png").write_text("Dear colleague")
    (tmp_path / "3.dcm").write_text("Dear colleague")
    (tmp_path / "4.nii.gz").write_bytes(b"")
    good, text, no_dicom, empty = discover(tmp_path)
    assert good.open().shape == (12, 15)
    with pytest.raises(InputError, match=r"2\.png: expected a whole PNG, JPEG, BMP or TIFF"):
        text.open()
    with pytest.raises(InputError, match=r"3\.dcm: expected a DICOM file, as its name says, found other"):
        no_dicom.open()
    with pytest.raises(
        InputError, match=r"4\.nii\.gz: expected an image or a label map, found an empty file"
    ):
        empty.open()


@pytest.mark.parametrize("files", [[], ["notes.txt"], ["a_labels.png"], [".hidden.png"]])
def test_folder_with_nothing_readable(tmp_path: Path, files: list[str]) -> None:
    for name in files:
        (tmp_path / name).write_text("nothing")
    with pytest.raises(
        InputError, match=r"expected at least one image, found nothing readable. Give DICOM files"
    ):
        discover(tmp_path)


def test_content_goes_before_the_suffix(tmp_path: Path, rng: np.random.Generator) -> None:
    np.save(tmp_path / "a.npy", rng.normal(size=(4, 5)))
    (tmp_path / "a.npy").rename(tmp_path / "a.png")
    image = read(tmp_path / "a.png")
    assert image.source is not None
    assert image.source.format == "numpy"
    save_png(tmp_path / "picture")
    assert read(tmp_path / "picture").shape == (12, 15)


@pytest.mark.parametrize(
    "name", ["a.png", "a.jpg", "a.tif", "a.nii", "a.nii.gz", "a.npy", "a.npz", "a.nrrd", "a.mha"]
)
@pytest.mark.parametrize("content", [b"", b"Dear colleague, " * 40], ids=["empty", "text"])
def test_file_that_is_not_what_its_name_says(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    for opened in (read, read_labels):
        with pytest.raises(
            InputError, match=rf"{name}: expected .*, found .*\. Check that the file is whole"
        ):
            opened(tmp_path / name)


def test_text_named_dcm(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_text("Dear colleague")
    with pytest.raises(
        InputError, match=r"a\.dcm: expected a DICOM file, as its name says, found other content"
    ):
        read(tmp_path / "a.dcm")


def test_unknown_content_and_suffix(tmp_path: Path) -> None:
    (tmp_path / "a.docx").write_text("Dear colleague")
    with pytest.raises(
        InputError, match=r"a\.docx: expected at least one image.*files that end on \.dcm, .*\.png"
    ):
        read(tmp_path / "a.docx")
    with pytest.raises(InputError, match=r"a\.docx: expected a file that ends on \.dcm"):
        read_labels(tmp_path / "a.docx")


def test_name_keeps_dots_that_are_no_suffix(tmp_path: Path) -> None:
    for name in ("a.v1.nii", "b.v2.nii.gz", "c.3.png"):
        (tmp_path / name).write_bytes(b"")
    assert names(tmp_path) == ["a.v1", "b.v2", "c.3"]


def test_missing_file(tmp_path: Path) -> None:
    for opened in (read, read_labels):
        with pytest.raises(
            InputError, match=r"absent\.png: expected a file or a folder, found nothing of that name"
        ):
            opened(tmp_path / "absent.png")


def test_file_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    save_png(tmp_path / "a.png")
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(
        InputError, match=r"a\.png: expected a file that can be read, found Permission denied"
    ):
        read(tmp_path / "a.png")


def test_read_lists_what_it_found_instead_of_one(tmp_path: Path) -> None:
    for index in range(12):
        save_png(tmp_path / f"{index}.png")
    with pytest.raises(
        InputError, match=r"expected one image, found 12: .*0\.png.*1\.png.*and 2 more.*Name one"
    ):
        read(tmp_path)


def test_read_accepts_text_as_path(tmp_path: Path) -> None:
    assert isinstance(read(str(save_png(tmp_path / "1.png"))), CTSlice)


def test_unit_as_the_user_says(tmp_path: Path) -> None:
    save_png(tmp_path / "1.png")
    (tmp_path / "a.dcm").write_bytes(CT_SMALL.read_bytes())
    assert read(tmp_path / "1.png", unit="hu").unit == "hu"
    assert read(tmp_path / "a.dcm", unit="grey").unit == "grey"
    assert read(tmp_path / "a.dcm").unit == "hu"
    with pytest.raises(UsageError, match="unit: expected auto, hu or grey, found 'HU'"):
        read(tmp_path / "1.png", unit="HU")


def test_series_of_an_input_without_dicom(tmp_path: Path) -> None:
    save_png(tmp_path / "1.png")
    for path in (tmp_path, tmp_path / "1.png"):
        with pytest.raises(
            UsageError, match=r"series: expected an input with DICOM, found .* Leave the option out"
        ):
            discover(path, series="1.2")


def test_series_leaves_other_files_out(tmp_path: Path) -> None:
    save_png(tmp_path / "1.png")
    (tmp_path / "a.dcm").write_bytes(CT_SMALL.read_bytes())
    uid = "1.3.6.1.4.1.5962.1.3.1.1.20040119072730.12322"
    (found,) = discover(tmp_path, series=uid)
    assert found.open().unit == "hu"


def test_zip_of_dicom(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "scan.zip", "w") as archive:
        archive.write(CT_SMALL, "DICOM/IM0")
        archive.writestr("DICOM/README", "see www")
        archive.writestr("__MACOSX/DICOM/._IM0", "x")
    image = read(tmp_path / "scan.zip")
    np.testing.assert_array_equal(image.pixels, read(CT_SMALL).pixels)
    assert names(tmp_path) == names(tmp_path / "scan.zip")


@pytest.mark.parametrize(
    ("members", "found"), [([], "an empty zip"), (["notes.txt", "1.png"], r"1\.png, notes\.txt")]
)
def test_zip_without_dicom(tmp_path: Path, members: list[str], found: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for member in members:
            archive.writestr(member, "x")
    with pytest.raises(InputError, match=rf"a\.zip: expected a zip of DICOM files, found {found}. Unpack it"):
        read(tmp_path / "a.zip")


def test_bad_zip(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(CT_SMALL, "IM0")
    content = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.zip").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"a\.zip: expected a whole zip, found File is not a zip file"):
        read(tmp_path / "a.zip")


def test_bad_zip_in_a_folder_leaves_the_other_files(tmp_path: Path) -> None:
    save_png(tmp_path / "1.png")
    (tmp_path / "2.zip").write_bytes(b"PK\x03\x04 and no more")
    good, bad = discover(tmp_path)
    assert good.open().shape == (12, 15)
    with pytest.raises(InputError, match=r"2\.zip: expected a whole zip"):
        bad.open()


def test_encrypted_zip(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(CT_SMALL, "IM0")
    content = bytearray((tmp_path / "a.zip").read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.zip: expected a zip without password.*Unpack it first"):
        read(tmp_path / "a.zip")


def test_labels_from_a_folder_or_a_dicom_image(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a label map in one file, found a folder"):
        read_labels(tmp_path)
    with pytest.raises(InputError, match=r"expected a DICOM segmentation, found a DICOM object of"):
        read_labels(CT_SMALL)


def test_labels_from_a_zip(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(CT_SMALL, "IM0")
    with pytest.raises(InputError, match=r"a\.zip: expected"):
        read_labels(tmp_path / "a.zip")
