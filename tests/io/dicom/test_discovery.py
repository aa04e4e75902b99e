"""From DICOM files to images: what is found, how it is named, what is refused."""

import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid

from dicom_builder import ct_dataset, ramp, write_ct, write_enhanced, write_series
from fewct.errors import FewctWarning, InputError
from fewct.io.dicom.detection import is_dicom
from fewct.io.dicom.discovery import find_dicom
from fewct.types import CTSlice, CTVolume

OTHER = {"SeriesInstanceUID": "1.2.3.4.99", "SeriesDescription": "Lung / B60"}


def in_folder(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


@pytest.mark.parametrize(
    "name",
    ["CT_small.dcm", "ExplVR_LitEndNoMeta.dcm", "ExplVR_BigEndNoMeta.dcm", "rtstruct.dcm", "rtplan.dcm"],
)
def test_dicom_is_told_by_content(name: str) -> None:
    assert is_dicom(Path(get_testdata_file(name)))


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"DICM", b"\x08\x00", b"Dear colleague, " * 20, b"\x89PNG\r\n\x1a\n" + bytes(200), bytes(200)),
        b"\x08\x00\x19\x00CS\x04\x00" + bytes(200),  # a late element
        b"\x10\x00\x10\x00PN\x04\x00" + bytes(200),  # another group
        b"\x08\x00\x18\x00ui\x41\x00" + bytes(200),  # no value representation, and too long without
        b"\x08\x00\x18\x00UI\x41",  # cut short
    ],
)
def test_other_content_is_no_dicom_whatever_its_name(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "letter.dcm"
    file.write_bytes(content)
    assert not is_dicom(file)


@pytest.mark.parametrize("start", [b"\x08\x00\x18\x00UI\x41\x00", b"\x02\x00\x00\x00\x40\x00\x00\x00"])
def test_files_without_a_preamble_start_with_an_early_element(tmp_path: Path, start: bytes) -> None:
    file = tmp_path / "image"
    for content in (start, start + bytes(200)):
        file.write_bytes(content)
        assert is_dicom(file)


def test_missing_file_is_no_dicom(tmp_path: Path) -> None:
    assert not is_dicom(tmp_path / "none.dcm")


def test_one_file_is_a_slice(tmp_path: Path) -> None:
    file = write_ct(tmp_path / "slice 7.dcm", ramp(), (1, 2, 3))
    (found,) = find_dicom([file], file, alone=True)
    ct = found.open()
    assert isinstance(ct, CTSlice)
    assert (found.name, found.path) == ("slice_7", file)
    assert found.description == "DICOM CT image, 6 x 5, 'Chest 5.0'"
    assert ct.source is not None
    assert (ct.source.path, ct.source.format, ct.source.name) == (file, "dicom", "slice_7")
    assert ct.source.files == (file,)
    assert ct.geometry is not None
    assert ct.geometry.frame_of_reference_uid == "1.2.3.4.6"
    np.testing.assert_allclose(
        ct.geometry.affine, [[0, 0, 0.7, 1], [0, 0.8, 0, 2], [5, 0, 0, 3], [0, 0, 0, 1]], atol=1e-12
    )


def test_file_names_of_numbers_keep_their_last_number(tmp_path: Path) -> None:
    file = write_ct(tmp_path / "1.2.840.17", ramp())
    assert find_dicom([file], file)[0].name == "1.2.840.17"


def test_a_folder_with_one_series_is_a_volume_in_order_of_position(tmp_path: Path) -> None:
    files = write_series(tmp_path / "thorax", [0, 2.5, 5, 7.5])
    (found,) = find_dicom(sorted(files), tmp_path / "thorax")
    volume = found.open()
    assert isinstance(volume, CTVolume)
    assert found.name == "thorax"
    assert found.description == "DICOM CT series, 4 slices of 6 x 5, 'Chest 5.0'"
    assert volume.shape == (4, 6, 5)
    assert volume.source is not None
    assert volume.source.files == tuple(files)
    for k in range(4):
        np.testing.assert_array_equal(volume[k].pixels, ramp(start=100 * k) - 1024.0)
    assert volume.geometry is not None
    np.testing.assert_allclose(volume.geometry.affine[:3, 3], [-10, -20, 0])
    assert volume.spacing_mm == pytest.approx((2.5, 0.8, 0.7))


def test_a_folder_with_a_series_of_one_image_is_a_slice(tmp_path: Path) -> None:
    (file,) = write_series(tmp_path / "one", [3])
    (found,) = find_dicom([file], tmp_path / "one")
    assert found.name == "one"
    assert isinstance(found.open(), CTSlice)


def test_a_zip_is_read_like_a_folder(tmp_path: Path) -> None:
    files = write_series(tmp_path / "series", [0, 1, 2])
    packed = tmp_path / "packed.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for file in files:
            archive.write(file, f"deep/{file.name}")
    members = sorted(zipfile.Path(packed, "deep/").iterdir(), key=lambda member: member.name)
    assert all(is_dicom(member) for member in members)
    (found,) = find_dicom(members, packed)
    volume = found.open()
    assert (found.name, found.path) == ("packed", packed)
    np.testing.assert_array_equal(volume[2].pixels, ramp(start=200) - 1024.0)


def test_multi_frame_file_is_a_volume_and_one_frame_a_slice(tmp_path: Path) -> None:
    stored = np.stack([ramp(start=100 * k) for k in range(3)])
    many = write_enhanced(tmp_path / "many.dcm", stored, [5, 0, 2.5], [0, 0, 0])
    (found,) = find_dicom([many], many, alone=True)
    volume = found.open()
    assert found.description == "DICOM CT multi-frame image, 3 slices of 6 x 5, 'Chest 5.0'"
    assert isinstance(volume, CTVolume)
    assert volume.source is not None
    assert volume.source.files == (many,)
    for k, frame in enumerate([1, 2, 0]):
        np.testing.assert_array_equal(volume[k].pixels, 2.0 * stored[frame])
    assert volume.geometry is not None
    np.testing.assert_allclose(volume.geometry.affine[:3, 3], [-10, -20, 0])
    one = write_enhanced(tmp_path / "one.dcm", stored[:1], [5], [0])
    ct = find_dicom([one], one)[0].open()
    assert isinstance(ct, CTSlice)
    assert ct.geometry is not None
    assert ct.geometry.spacing_mm == pytest.approx((2.5, 0.8, 0.7))


def test_several_multi_frame_files_are_images_of_their_own(tmp_path: Path) -> None:
    stored = np.stack([ramp(), ramp()])
    files = [write_enhanced(tmp_path / f"{k}.dcm", stored, [0, 1], [0, 0]) for k in "ab"]
    assert [found.name for found in find_dicom(files, tmp_path)] == ["a", "b"]
    assert [found.name for found in find_dicom(files, tmp_path, series="1.2.3.4.5")] == ["a", "b"]


def test_several_series_are_listed(tmp_path: Path) -> None:
    write_series(tmp_path, [0, 1, 2])
    write_ct(tmp_path / "other.dcm", ramp(), **OTHER)
    with pytest.raises(InputError, match="expected one DICOM series, found 2 series") as error:
        find_dicom(in_folder(tmp_path), tmp_path)
    assert "1.2.3.4.5  Chest 5.0  3 images" in str(error.value)
    assert "1.2.3.4.99  Lung / B60  1 image\n" in str(error.value)
    assert "--series" in str(error.value)


@pytest.mark.parametrize("wanted", ["1.2.3.4.5", "chest 5.0", " Chest 5.0 "])
def test_series_is_chosen_by_uid_or_description(tmp_path: Path, wanted: str) -> None:
    write_series(tmp_path, [0, 1, 2])
    write_ct(tmp_path / "other.dcm", ramp(), **OTHER)
    (found,) = find_dicom(in_folder(tmp_path), tmp_path, series=wanted)
    assert found.name == "Chest_5.0"
    assert found.open().shape == (3, 6, 5)


def test_series_is_chosen_by_the_start_of_its_uid(tmp_path: Path) -> None:
    write_series(tmp_path, [0, 1, 2])
    write_ct(tmp_path / "other.dcm", ramp(), **OTHER)
    (found,) = find_dicom(in_folder(tmp_path), tmp_path, series="1.2.3.4.9")
    assert found.name == "Lung_B60"
    with pytest.raises(InputError, match=r"(?s)expected one series.*'1\.2\.3', found 2 series"):
        find_dicom(in_folder(tmp_path), tmp_path, series="1.2.3")
    with pytest.raises(InputError, match=r"(?s)expected one series.*'liver', found none among 2 series"):
        find_dicom(in_folder(tmp_path), tmp_path, series="liver")


def test_unrelated_slices_are_found_one_by_one(tmp_path: Path) -> None:
    for name in ("b", "a"):
        write_ct(tmp_path / f"{name}.dcm", ramp(), SeriesInstanceUID=generate_uid())
    found = find_dicom(in_folder(tmp_path), tmp_path)
    assert [image.name for image in found] == ["a", "b"]
    assert [image.path for image in found] == in_folder(tmp_path)
    assert all(isinstance(image.open(), CTSlice) for image in found)


def test_alone_takes_each_file_on_its_own(tmp_path: Path) -> None:
    write_series(tmp_path, [0, 1, 2])
    found = find_dicom(in_folder(tmp_path), tmp_path, alone=True)
    assert [image.name for image in found] == ["001", "002", "003"]
    assert all(isinstance(image.open(), CTSlice) for image in found)


def test_images_without_a_series_uid_go_by_what_else_they_tell(tmp_path: Path) -> None:
    write_series(tmp_path, [0, 1, 2], SeriesInstanceUID="", StudyInstanceUID="")
    assert find_dicom(in_folder(tmp_path), tmp_path)[0].open().shape == (3, 6, 5)
    write_ct(tmp_path / "other.dcm", ramp(), SeriesInstanceUID="", StudyInstanceUID="", SeriesNumber=2)
    with pytest.raises(InputError, match=r"(?s)found 2 series.*\(no UID\)  Chest 5.0  3 images"):
        find_dicom(in_folder(tmp_path), tmp_path)


@pytest.mark.parametrize("uid", ["1.2.3.4.5", "1.2.3.4.77"])
def test_localizers_do_not_break_a_series(tmp_path: Path, uid: str) -> None:
    write_series(tmp_path, [0, 1, 2])
    scout = {
        "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"],
        "ImageOrientationPatient": [1, 0, 0, 0, 0, -1],
    }
    write_ct(tmp_path / "scout.dcm", ramp(9, 9), SeriesInstanceUID=uid, **scout)
    with pytest.warns(FewctWarning, match=r"left out localizers: scout\.dcm"):
        (found,) = find_dicom(in_folder(tmp_path), tmp_path)
    assert found.open().shape == (3, 6, 5)
    assert find_dicom([tmp_path / "scout.dcm"], tmp_path / "scout.dcm")[0].open().shape == (9, 9)


def test_objects_without_grey_pixels_are_left_out(tmp_path: Path) -> None:
    write_series(tmp_path, [0, 1, 2])
    for name in ("rtstruct.dcm", "test-SR.dcm", "SC_rgb_rle.dcm", "liver_1frame.dcm"):
        (tmp_path / name).write_bytes(Path(get_testdata_file(name)).read_bytes())
    with pytest.warns(FewctWarning, match=r"left out DICOM objects that are no grey images: SC_rgb_rle\.dcm"):
        (found,) = find_dicom(in_folder(tmp_path), tmp_path)
    assert found.open().shape == (3, 6, 5)


def test_the_directory_of_a_cd_is_left_out_in_silence(tmp_path: Path) -> None:
    write_series(tmp_path, [0, 1, 2])
    directory = ct_dataset(ramp(), "1.2.840.10008.1.3.10")
    directory.save_as(tmp_path / "DICOMDIR", enforce_file_format=True)
    assert len(find_dicom(in_folder(tmp_path), tmp_path)) == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rtstruct.dcm", r"rtstruct\.dcm: expected a DICOM image, found no pixels .*modality RTSTRUCT"),
        ("SC_rgb_rle.dcm", r"expected a grey DICOM image .* found colours \(RGB\)"),
        ("examples_palette.dcm", r"expected a grey DICOM image .* found colours \(PALETTE COLOR\)"),
        ("liver_1frame.dcm", r"expected an image, found a DICOM segmentation.*read_labels"),
        ("badVR.dcm", "expected 1 finite number as NumberOfFrames, found 1A"),
        ("no_meta.dcm", "expected a readable DICOM file, found no DICOM attributes"),
    ],
)
def test_files_that_are_no_grey_images_are_refused(name: str, message: str) -> None:
    path = Path(get_testdata_file(name))
    with pytest.raises(InputError, match=message):
        find_dicom([path], path)


def test_empty_and_missing_files_are_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty.dcm"
    empty.touch()
    with pytest.raises(
        InputError, match=r"empty\.dcm: expected a readable DICOM file, found no DICOM attributes"
    ):
        find_dicom([empty], empty)
    with pytest.raises(InputError, match=r"gone\.dcm: expected a readable DICOM file, found .*No such file"):
        find_dicom([tmp_path / "gone.dcm"], tmp_path)


def test_undecodable_attribute_is_refused(tmp_path: Path) -> None:
    path = write_ct(tmp_path / "a.dcm", ramp())
    path.write_bytes(path.read_bytes().replace(b"\x28\x00\x10\x00US", b"\x28\x00\x10\x00XX"))
    with pytest.raises(InputError, match=r"a\.dcm: expected a valid Rows in the DICOM header"):
        find_dicom([path], path)


def test_member_of_a_series_cut_within_its_header_is_named(tmp_path: Path) -> None:
    files = write_series(tmp_path, [0, 1, 2])
    files[1].write_bytes(files[1].read_bytes()[:500])
    with pytest.raises(
        InputError, match=rf"{files[1].name}: expected a DICOM image, found no pixels.*cut short"
    ):
        find_dicom(in_folder(tmp_path), tmp_path)


def test_member_of_a_series_cut_within_its_pixels_is_named(tmp_path: Path) -> None:
    files = write_series(tmp_path, [0, 1, 2])
    files[1].write_bytes(files[1].read_bytes()[:-10])
    volume = find_dicom(in_folder(tmp_path), tmp_path)[0].open()
    with pytest.raises(InputError, match=rf"{files[1].name}: expected a DICOM image with complete pixels"):
        volume[1]
    assert volume[2].shape == (6, 5)


def test_broken_file_among_unrelated_slices_does_not_lose_the_others(tmp_path: Path) -> None:
    for name in "abc":
        write_ct(tmp_path / f"{name}.dcm", ramp(), SeriesInstanceUID=generate_uid())
    broken = tmp_path / "b.dcm"
    broken.write_bytes(broken.read_bytes()[:400])
    found = {image.name: image for image in find_dicom(in_folder(tmp_path), tmp_path)}
    assert set(found) == {"a", "b", "c"}
    assert found["b"].description.startswith("DICOM, cannot be read: ")
    assert found["a"].open().shape == (6, 5)
    with pytest.raises(InputError, match=r"b\.dcm: expected a DICOM image, found no pixels"):
        found["b"].open()


def test_broken_files_alone_are_an_error_at_once(tmp_path: Path) -> None:
    files = [write_ct(tmp_path / f"{name}.dcm", ramp()) for name in "ab"]
    for file in files:
        file.write_bytes(file.read_bytes()[:400])
    with pytest.raises(InputError, match=r"a\.dcm: expected a DICOM image, found no pixels"):
        find_dicom(files, tmp_path, alone=True)


def test_a_series_is_described_by_its_first_file(tmp_path: Path) -> None:
    files = write_series(tmp_path, [0, 1, 2])
    write_ct(files[0], ramp(), (-10, -20, 0), SeriesDescription="Chest 5.0 repeated")
    (found,) = find_dicom(in_folder(tmp_path), tmp_path)
    assert found.description == "DICOM CT series, 3 slices of 6 x 5, 'Chest 5.0'"


@pytest.mark.parametrize("changes", [{"Rows": 0}, {"Columns": 0}, {"Rows": None}, {"Columns": None}])
def test_images_without_rows_or_columns_are_none(tmp_path: Path, changes: dict[str, int | None]) -> None:
    path = write_ct(tmp_path / "a.dcm", ramp(), **changes)
    with pytest.raises(InputError, match=r"a\.dcm: expected a DICOM image, found no pixels \("):
        find_dicom([path], path)


@pytest.mark.parametrize("shape", [(6, 1), (1, 5)])
def test_images_of_one_row_or_column(tmp_path: Path, shape: tuple[int, int]) -> None:
    path = write_ct(tmp_path / "a.dcm", ramp(*shape))
    assert find_dicom([path], path)[0].open().shape == shape


def test_secondary_capture_without_place_and_spacing_has_no_geometry(tmp_path: Path) -> None:
    path = write_ct(tmp_path / "a.dcm", ramp(), None, PixelSpacing=None, ImageOrientationPatient=None)
    assert find_dicom([path], path)[0].open().geometry is None


def test_odd_headers_raise_no_warnings_of_pydicom(tmp_path: Path) -> None:
    path = write_ct(tmp_path / "a.dcm", ramp())
    content = (
        path.read_bytes().replace(b"1.2.3.4.5\0", b"1.2.x.4.5\0").replace(b"Chest 5.0 ", b"Chest\xff5.0 ")
    )
    path.write_bytes(content)
    assert find_dicom([path], path)[0].open().shape == (6, 5)


@pytest.mark.shared
def test_real_series_lies_in_the_space_of_its_truth(shared_data: Path) -> None:
    folder = shared_data / "abdomen_series" / "dicom"
    (found,) = find_dicom(sorted(folder.glob("*.dcm"), reverse=True), folder)
    volume = found.open()
    assert found.description == "DICOM CT series, 20 slices of 512 x 512, 'CT Body 3.0'"
    assert isinstance(volume, CTVolume)
    assert volume.geometry is not None
    assert volume.unit == "hu"
    assert volume.spacing_mm == pytest.approx((2, 0.9765625, 0.9765625))
    image = nibabel.load(folder.parent / "labels.nii.gz")
    labels = np.asarray(image.dataobj)
    to_voxel = np.linalg.inv(image.affine) @ np.diag([-1, -1, 1, 1]) @ volume.geometry.affine
    k, row, column = np.meshgrid(np.arange(20), np.arange(0, 512, 4), np.arange(0, 512, 4), indexing="ij")
    voxels = to_voxel @ np.stack([k, row, column, np.ones_like(k)]).reshape(4, -1)
    np.testing.assert_allclose(voxels[:3], np.round(voxels[:3]), atol=1e-3)
    truth = labels[tuple(np.round(voxels[:3]).astype(int))].reshape(k.shape)
    pixels = np.stack([ct.pixels[::4, ::4] for ct in volume])
    liver, aorta, spleen = (float(np.median(pixels[truth == label])) for label in (5, 52, 1))
    assert 60 < liver < 160
    assert 60 < spleen < 180
    assert 100 < aorta < 300
    assert np.quantile(pixels[truth == 5], 0.05) > 0


@pytest.mark.shared
def test_real_slice_matches_pydicom(shared_data: Path) -> None:
    path = shared_data / "abdomen_series" / "dicom" / "slice_07.dcm"
    ct = find_dicom([path], path)[0].open()
    np.testing.assert_array_equal(ct.pixels, dcmread(path).pixel_array - 1024.0)


def test_names_of_folders_keep_what_follows_a_dot(tmp_path: Path) -> None:
    files = write_series(tmp_path / "chest.ct", [0, 1])
    assert find_dicom(sorted(files), tmp_path / "chest.ct")[0].name == "chest.ct"


def test_pixels_of_one_sample_need_not_say_so(tmp_path: Path) -> None:
    path = write_ct(tmp_path / "a.dcm", ramp(), SamplesPerPixel=None)
    assert find_dicom([path], path)[0].description == "DICOM CT image, 6 x 5, 'Chest 5.0'"
    colour = write_ct(tmp_path / "b.dcm", ramp(), SamplesPerPixel=3)
    with pytest.raises(InputError, match="expected a grey DICOM image"):
        find_dicom([colour], colour)
