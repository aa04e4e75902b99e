"""RawImage DICOM values to Hounsfield units."""

import threading
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gdcm
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import RLELossless

from dicom_builder import ct_dataset, ramp, write_ct, write_enhanced
from fewct.errors import InputError
from fewct.io.dicom.discovery import find_dicom
from fewct.io.dicom.header import library_warnings_suppressed, read_header
from fewct.io.dicom.pixels import opener
from fewct.types import CTSlice, CTVolume


def open_one(path: Path) -> CTSlice | CTVolume:
    (found,) = find_dicom([path], path)
    return found.open()


def test_pixels_are_rescaled_to_hounsfield_units(tmp_path: Path) -> None:
    path = write_ct(tmp_path / "a.dcm", ramp(), RescaleSlope=2, RescaleIntercept=-100.5)
    ct = open_one(path)
    assert ct.unit == "hu"
    assert ct.pixels.dtype == np.float32
    np.testing.assert_array_equal(ct.pixels, 2 * ramp() - 100.5)


@pytest.mark.parametrize(
    ("changes", "unit"),
    [
        ({}, "hu"),
        ({"RescaleType": "HU"}, "hu"),
        ({"RescaleType": "HU", "Modality": "OT", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "hu"),
        ({"RescaleType": "US"}, "grey"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "grey"),
        ({"RescaleSlope": None}, "grey"),
        ({"RescaleIntercept": None}, "grey"),
        ({"SOPClassUID": None, "Modality": "OT"}, "hu"),  # CT by the file's meta information
        ({"RescaleSlope": None, "RescaleIntercept": None}, "grey"),
    ],
)
def test_unit_is_what_the_header_tells(tmp_path: Path, changes: dict[str, object], unit: str) -> None:
    assert open_one(write_ct(tmp_path / "a.dcm", ramp(), **changes)).unit == unit


def test_padding_becomes_nan(tmp_path: Path) -> None:
    stored = ramp()
    stored[0, 0], stored[5, 4] = -2000, -1999
    pixels = open_one(write_ct(tmp_path / "a.dcm", stored, PixelPaddingValue=-2000)).pixels
    assert np.isnan(pixels[0, 0])
    assert np.isnan(pixels).sum() == 1
    assert pixels[5, 4] == -1999 - 1024


def test_padding_range_becomes_nan(tmp_path: Path) -> None:
    stored = ramp().astype(np.uint16)
    path = write_ct(tmp_path / "a.dcm", stored, PixelPaddingValue=3, PixelPaddingRangeLimit=1)
    np.testing.assert_array_equal(np.isnan(open_one(path).pixels), (stored >= 1) & (stored <= 3))


def test_negative_padding_value_written_as_unsigned_is_understood(tmp_path: Path) -> None:
    stored = ramp()
    stored[2, 2] = -2000
    path = write_ct(tmp_path / "a.dcm", stored)
    dataset = dcmread(path)
    dataset.add_new("PixelPaddingValue", "US", 65536 - 2000)
    dataset.save_as(path)
    pixels = open_one(path).pixels
    assert np.isnan(pixels[2, 2])
    assert np.isnan(pixels).sum() == 1


def test_monochrome1_keeps_hounsfield_units_and_inverts_grey_values(tmp_path: Path) -> None:
    inverse = {"PhotometricInterpretation": "MONOCHROME1"}
    hu = open_one(write_ct(tmp_path / "hu.dcm", ramp(), **inverse))
    np.testing.assert_array_equal(hu.pixels, ramp() - 1024.0)
    grey = {**inverse, "RescaleSlope": None, "RescaleIntercept": None}
    signed = open_one(write_ct(tmp_path / "signed.dcm", ramp(), **grey))
    np.testing.assert_array_equal(signed.pixels, -1.0 - ramp())
    unsigned = open_one(write_ct(tmp_path / "unsigned.dcm", ramp().astype(np.uint8), **grey))
    np.testing.assert_array_equal(unsigned.pixels, 255.0 - ramp())


@pytest.mark.parametrize(
    "name", ["MR_small_jp2klossless.dcm", "MR_small_RLE.dcm", "MR_small_jpeg_ls_lossless.dcm"]
)
def test_lossless_compression_gives_the_uncompressed_pixels(name: str) -> None:
    compressed = open_one(Path(get_testdata_file(name)))
    plain = open_one(Path(get_testdata_file("MR_small.dcm")))
    np.testing.assert_array_equal(compressed.pixels, plain.pixels)


def test_jpeg_lossless(tmp_path: Path) -> None:
    plain = write_ct(tmp_path / "plain.dcm", ramp(64, 64).astype(np.uint16))
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(plain))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFileName(str(tmp_path / "lossless.dcm"))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    assert dcmread(tmp_path / "lossless.dcm").file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.4.70"
    np.testing.assert_array_equal(open_one(tmp_path / "lossless.dcm").pixels, open_one(plain).pixels)


@pytest.mark.parametrize("name", ["MR_small_implicit.dcm", "MR_small_bigendian.dcm"])
def test_other_encodings_give_the_same_pixels(name: str) -> None:
    plain = open_one(Path(get_testdata_file("MR_small.dcm")))
    np.testing.assert_array_equal(open_one(Path(get_testdata_file(name))).pixels, plain.pixels)


def test_file_without_preamble_and_meta_information(tmp_path: Path) -> None:
    dataset = ct_dataset(ramp())
    path = tmp_path / "bare"
    dataset.preamble = None
    del dataset.file_meta
    dataset.save_as(path, implicit_vr=False, little_endian=True)
    np.testing.assert_array_equal(open_one(path).pixels, ramp())


def test_real_ct_slice_has_hounsfield_units() -> None:
    path = Path(get_testdata_file("CT_small.dcm"))
    ct = open_one(path)
    expected = dcmread(path).pixel_array - 1024.0
    assert ct.unit == "hu"
    np.testing.assert_array_equal(ct.pixels, np.where(expected == -2000 - 1024, np.nan, expected))


def test_each_frame_of_an_enhanced_file_has_its_own_rescale(tmp_path: Path) -> None:
    stored = np.stack([ramp(start=100 * k) for k in range(3)])
    path = write_enhanced(tmp_path / "e.dcm", stored, [0, 2.5, 5], [-1000, -1001, -1002])
    volume = open_one(path)
    assert isinstance(volume, CTVolume)
    assert volume.unit == "hu"
    for k in range(3):
        np.testing.assert_array_equal(volume[k].pixels, 2.0 * stored[k] - 1000 - k)


def test_compressed_enhanced_file_in_a_zip_is_read_frame_by_frame(tmp_path: Path) -> None:
    stored = np.stack([ramp(start=100 * k) for k in range(3)])
    path = write_enhanced(tmp_path / "e.dcm", stored, [0, 2.5, 5], [0, 0, 0])
    dataset = dcmread(path)
    dataset.compress(RLELossless)
    dataset.save_as(path)
    with zipfile.ZipFile(tmp_path / "e.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(path, "deep/e.dcm")
    (found,) = find_dicom([zipfile.Path(tmp_path / "e.zip", "deep/e.dcm")], tmp_path / "e.zip")
    volume = found.open()
    np.testing.assert_array_equal(volume[2].pixels, 2.0 * stored[2])
    np.testing.assert_array_equal(volume[0].pixels, 2.0 * stored[0])


def test_frames_in_a_zip_are_unpacked_once(tmp_path: Path) -> None:
    stored = np.stack([ramp(), ramp(start=100)])
    many = write_enhanced(tmp_path / "many.dcm", stored, [0, 1], [0, 0])
    with zipfile.ZipFile(tmp_path / "e.zip", "w") as archive:
        archive.write(many, "many.dcm")
    open_file = opener(read_header(zipfile.Path(tmp_path / "e.zip", "many.dcm")))
    (tmp_path / "e.zip").unlink()
    for _ in range(2):
        with open_file() as stream:
            assert stream.read() == many.read_bytes()


def test_truncated_pixels_are_an_error(tmp_path: Path) -> None:
    path = write_ct(tmp_path / "a.dcm", ramp())
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(
        InputError, match=r"a\.dcm: expected a DICOM image with complete pixels, found .*less than"
    ):
        open_one(path)


def test_image_without_pixels_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"expected a DICOM image with complete pixels, found .*no 'Pixel Data'"
    ):
        open_one(write_ct(tmp_path / "a.dcm", ramp(), PixelData=None))


def test_pixels_that_contradict_the_header_are_an_error(tmp_path: Path) -> None:
    path = Path(get_testdata_file("MR_small_jp2klossless.dcm"))
    dataset = dcmread(path)
    dataset.Rows = 32
    dataset.save_as(tmp_path / "a.dcm")
    with pytest.raises(InputError, match="expected a DICOM image with complete pixels"):
        open_one(tmp_path / "a.dcm")


def test_reading_in_threads_leaves_the_filters_of_warnings() -> None:
    before = list(warnings.filters)
    barrier = threading.Barrier(4)

    def read() -> list[object]:
        with library_warnings_suppressed:
            barrier.wait()
            return list(warnings.filters)

    with ThreadPoolExecutor(4) as pool:
        during = [future.result() for future in [pool.submit(read) for _ in range(4)]]
    assert during == [[during[0][0], *before]] * 4
    assert list(warnings.filters) == before
