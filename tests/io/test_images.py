"""PNG, JPEG, BMP and TIFF."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from fewct.errors import InputError, OutputError
from fewct.io import read, read_labels, write
from fewct.io.images import write_picture
from fewct.types import CTSlice, LabelMap

GREY8 = np.random.default_rng(8).integers(0, 256, (12, 15)).astype(np.uint8)
GREY16 = np.random.default_rng(8).integers(0, 65536, (12, 15)).astype(np.uint16)
COLOUR = np.random.default_rng(8).integers(0, 256, (12, 15, 3)).astype(np.uint8)
LABELS = np.repeat(np.arange(3, dtype=np.uint8), 5)[np.newaxis].repeat(12, axis=0)


def pixels(file: Path) -> np.ndarray:
    image = read(file)
    assert isinstance(image, CTSlice)
    assert (image.unit, image.geometry) == ("grey", None)
    return image.pixels


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
def test_8_bits(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(GREY8).save(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(pixels(tmp_path / f"a{suffix}"), GREY8)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bits(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(GREY16).save(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(pixels(tmp_path / f"a{suffix}"), GREY16)


@pytest.mark.parametrize("stored", [GREY8, GREY16], ids=["8 bits", "16 bits"])
@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_deflate", "tiff_adobe_deflate", "packbits"])
def test_compressed_tiff(tmp_path: Path, stored: np.ndarray, compression: str) -> None:
    Image.fromarray(stored).save(tmp_path / "a.tif", compression=compression)
    np.testing.assert_array_equal(pixels(tmp_path / "a.tif"), stored)


@pytest.mark.parametrize("stored", [GREY8, GREY16], ids=["8 bits", "16 bits"])
@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_deflate"])
def test_tiff_whose_0_is_white(tmp_path: Path, stored: np.ndarray, compression: str) -> None:
    Image.fromarray(stored).save(tmp_path / "a.tif", compression=compression)
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as tiff:
        tiff.pages.first.tags["PhotometricInterpretation"].overwrite(0)
    np.testing.assert_array_equal(pixels(tmp_path / "a.tif"), np.iinfo(stored.dtype).max - stored)


def test_tiff_of_signed_and_float_values(tmp_path: Path, rng: np.random.Generator) -> None:
    hu = rng.integers(-1000, 1000, (12, 15)).astype(np.int16)
    tifffile.imwrite(tmp_path / "hu.tif", hu)
    image = read(tmp_path / "hu.tif")
    assert isinstance(image, CTSlice)
    assert image.unit == "hu"
    np.testing.assert_array_equal(image.pixels, hu)
    tifffile.imwrite(tmp_path / "float.tif", GREY8 / 7)
    np.testing.assert_array_equal(pixels(tmp_path / "float.tif"), (GREY8 / 7).astype(np.float32))


def test_grey_jpeg(tmp_path: Path) -> None:
    smooth = np.add.outer(np.arange(64), np.arange(64)).astype(np.uint8)
    Image.fromarray(smooth).save(tmp_path / "a.jpg", quality=95)
    assert np.abs(pixels(tmp_path / "a.jpg") - smooth).max() <= 4


@pytest.mark.parametrize(
    "name", ["rgb.png", "rgb.bmp", "rgb.tif", "rgb16.tif", "planar.tif", "rgba.png", "la.png"]
)
def test_grey_stored_as_colour(tmp_path: Path, name: str) -> None:
    grey = GREY16 if "16" in name else GREY8
    three = np.stack([grey] * 3, axis=-1)
    if name == "planar.tif":
        tifffile.imwrite(tmp_path / name, np.stack([grey] * 3), photometric="rgb", planarconfig="separate")
    elif "16" in name:
        tifffile.imwrite(tmp_path / name, three, photometric="rgb")
    elif name == "la.png":
        Image.merge("LA", [Image.fromarray(grey), Image.new("L", (15, 12), 9)]).save(tmp_path / name)
    else:
        picture = Image.fromarray(three)
        picture.putalpha(200) if name == "rgba.png" else None
        picture.save(tmp_path / name)
    np.testing.assert_array_equal(pixels(tmp_path / name), grey)


def test_grey_jpeg_stored_as_colour(tmp_path: Path) -> None:
    smooth = np.add.outer(np.arange(64), np.arange(64)).astype(np.uint8)
    tinted = np.stack([smooth, smooth, smooth + 3], axis=-1)
    Image.fromarray(tinted).save(tmp_path / "a.jpg", quality=90)
    assert np.abs(pixels(tmp_path / "a.jpg") - smooth).max() <= 8


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.tif", "lzw.tif"])
def test_colour_photo(tmp_path: Path, name: str) -> None:
    options = {"compression": "tiff_lzw"} if name == "lzw.tif" else {}
    Image.fromarray(COLOUR).save(tmp_path / name, **options)
    with pytest.raises(InputError, match=rf"{name}: expected a grey image, found a colour photo.*in grey"):
        read(tmp_path / name)


def test_palette_of_greys_is_resolved(tmp_path: Path) -> None:
    picture = Image.fromarray(GREY8 // 2).convert("L")
    picture.putpalette(np.repeat(255 - np.arange(256), 3).tolist())
    picture.save(tmp_path / "a.png")
    np.testing.assert_array_equal(pixels(tmp_path / "a.png"), 255 - GREY8 // 2)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_palette_of_colours_is_no_image_but_may_be_labels(tmp_path: Path, suffix: str) -> None:
    picture = Image.fromarray(LABELS)
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    picture.save(tmp_path / f"a{suffix}")
    with pytest.raises(InputError, match="found a colour photo"):
        read(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(read_labels(tmp_path / f"a{suffix}").labels, LABELS)


def test_1_bit_is_a_mask_and_a_label_map(tmp_path: Path) -> None:
    Image.fromarray(LABELS > 1).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="looks like a mask: 2 flat values"):
        read(tmp_path / "a.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "a.png").labels, LABELS > 1)


def test_16_bit_colour_png(tmp_path: Path) -> None:
    content = bytearray(
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (15).to_bytes(4) + (12).to_bytes(4) + b"\x10\x02\0\0\0"
    )
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(InputError, match=r"a.png: expected a PNG with one channel of 16 bits"):
        read(tmp_path / "a.png")


@pytest.mark.parametrize("name", ["pages.tif", "imagej.tif", "frames.png"])
def test_several_pages(tmp_path: Path, name: str) -> None:
    if name == "frames.png":
        frames = [Image.fromarray(GREY8), Image.fromarray(255 - GREY8)]
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    else:
        tifffile.imwrite(tmp_path / name, np.stack([GREY8, GREY8]), imagej=name == "imagej.tif")
    with pytest.raises(InputError, match=rf"{name}: expected one page, found 2 pages. .*as NIfTI"):
        read(tmp_path / name)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.tif", "lzw.tif"])
@pytest.mark.parametrize("keep", [0.05, 0.5, 0.9])
def test_truncated(tmp_path: Path, name: str, keep: float, rng: np.random.Generator) -> None:
    options = {"compression": "tiff_lzw"} if name == "lzw.tif" else {}
    Image.fromarray(rng.integers(0, 256, (64, 64)).astype(np.uint8)).save(tmp_path / name, **options)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(keep * len(content))])
    with pytest.raises(InputError, match=rf"{name}: expected a whole PNG, JPEG, BMP or TIFF picture"):
        read(tmp_path / name)


def test_label_map_as_jpeg(tmp_path: Path) -> None:
    Image.fromarray(LABELS).save(tmp_path / "a.jpg")
    with pytest.raises(InputError, match=r"a.jpg: expected a label map in a lossless format.*as PNG"):
        read_labels(tmp_path / "a.jpg")


@pytest.mark.parametrize(("largest", "mode"), [(1, "L"), (255, "L"), (256, "I;16"), (65535, "I;16")])
def test_png_of_labels(tmp_path: Path, largest: int, mode: str) -> None:
    labels = np.array([[0, largest, 1], [0, 0, 0]], np.int32)
    write(LabelMap(labels), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.mode == mode
        np.testing.assert_array_equal(np.asarray(picture), labels)
    np.testing.assert_array_equal(read_labels(tmp_path / "a.png").labels, labels)


def test_labels_that_png_cannot_hold(tmp_path: Path) -> None:
    with pytest.raises(
        OutputError, match=r"a.png: expected labels up to 65535.*found a label of 65536.*nifti"
    ):
        write(LabelMap(np.array([[0, 65536]], np.int32)), tmp_path / "a.png")
    with pytest.raises(OutputError, match=r"a.png: expected a slice.*found a volume of 2 slices.*nifti"):
        write(LabelMap(np.zeros((2, 3, 4), np.int32)), tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_picture(tmp_path: Path) -> None:
    write_picture(COLOUR, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), COLOUR)
