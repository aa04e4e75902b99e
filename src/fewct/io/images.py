"""PNG, JPEG, BMP and TIFF: reading grey pictures, writing label maps and overlays."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fewct.errors import InputError, OutputError
from fewct.io.atomic import atomic_path
from fewct.io.discovered import image_name
from fewct.io.pixels import DAMAGED, Content, RawImage, narrow, unreadable
from fewct.types import LabelMap, Provenance

_FORMATS = ("PNG", "JPEG", "BMP", "TIFF")
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_DECODED_BY_TIFFFILE = (1, 8, 32946, 32773)  # compression: none, deflate (Adobe's, the old one), PackBits

JPEG_TOLERANCE = 8
"""Grey levels by which the channels of a grey JPEG may differ; its colour compression rounds."""


def open_image(path: Path, content: Content = "image") -> RawImage:
    """Return the pixels of a grey PNG, JPEG, BMP or TIFF picture of 8 or 16 bits.

    Grey stored as RGB is accepted: equal channels, in JPEG to 8 grey levels. An alpha channel and the tags
    for resolution are ignored. Palettes are resolved to grey; but in a label map the numbers of a coloured
    palette are the labels.

    Raises:
        InputError: If the file is damaged, in colour, has several pages, or is a label map as JPEG.
    """
    with path.open("rb") as file:
        start = file.read(26)
    try:
        if start.startswith(_TIFF_STARTS):
            pixels = _read_tiff(path, content)
        else:
            _refuse_16_bit_colour(start, path)
            pixels = _read_picture(path, content)
    except (*DAMAGED, Image.DecompressionBombError) as error:
        raise unreadable(path, "a whole PNG, JPEG, BMP or TIFF picture", error) from error
    return RawImage(pixels[np.newaxis], Provenance(path, "image", image_name(path), (path,)))


open_label_image = partial(open_image, content="labels")


def write_png(result: LabelMap, path: Path) -> None:
    """Write the label map of a slice as grey PNG, whole or not at all.

    It has 8 bits up to label 255, 16 bits up to 65535.

    Raises:
        OutputError: If it is a volume, a label is above 65535, or the file cannot be written.
    """
    if result.labels.ndim != 2:
        raise OutputError(
            path,
            expected="a slice, since PNG holds one picture",
            found=f"a volume of {len(result.labels)} slices",
            fix="Write a volume as nifti or npz.",
        )
    labels = narrow(result.labels)
    if labels.dtype == np.int32:
        raise OutputError(
            path,
            expected="labels up to 65535, the most that PNG holds",
            found=f"a label of {int(labels.max())}",
            fix="Write it as nifti or npz, or number the structures from 1 upwards.",
        )
    write_picture(labels, path)


def write_picture(picture: NDArray[Any], path: str | Path) -> None:
    """Write a picture as PNG, whole or not at all.

    Args:
        picture: Grey (rows, columns), uint8 or uint16, or colours (rows, columns, 3), uint8.

    Raises:
        OutputError: If it cannot be written.
    """
    with atomic_path(path) as temporary:
        Image.fromarray(picture).save(temporary, format="PNG")


def _read_picture(path: Path, content: Content) -> NDArray[Any]:
    """Return the grey values of a picture that Pillow reads."""
    with Image.open(path, formats=_FORMATS) as picture:
        lossy = picture.format not in ("PNG", "BMP", "TIFF")
        if lossy and content == "labels":
            raise InputError(
                path,
                expected="a label map in a lossless format",
                found="a JPEG, whose compression changes labels",
                fix="Write the label map as PNG.",
            )
        if getattr(picture, "n_frames", 1) > 1:
            raise _several_pages(path, getattr(picture, "n_frames", 1))
        if picture.mode in ("1", "L", "I", "I;16", "I;16L", "I;16B", "F"):
            return np.asarray(picture)
        if picture.mode == "LA":
            return np.asarray(picture)[..., 0]
        channels = np.asarray(picture.convert("RGB"))
        if picture.mode == "P" and content == "labels" and np.ptp(channels, axis=-1).any():
            return np.asarray(picture)
        return _grey(channels, JPEG_TOLERANCE if lossy else 0, path)


def _read_tiff(path: Path, content: Content) -> NDArray[Any]:
    """Return the grey values of a TIFF of one page."""
    from tifffile import PHOTOMETRIC, TiffFile

    with TiffFile(path) as tiff:
        page = tiff.pages.first
        pages = max(len(tiff.pages), tiff.series[0].size // max(page.size, 1))
        if pages > 1:
            raise _several_pages(path, pages)
        if page.photometric == PHOTOMETRIC.PALETTE or page.compression not in _DECODED_BY_TIFFFILE:
            pixels: NDArray[Any] = _read_picture(path, content)
            inverted = page.photometric == PHOTOMETRIC.MINISWHITE and pixels.dtype == np.uint16
            return ~pixels if inverted else pixels  # Pillow itself inverts 8 bits only
        pixels = page.asarray()
        if page.photometric == PHOTOMETRIC.MINISWHITE:
            pixels = ~pixels
        if pixels.ndim == 3:
            return _grey(np.moveaxis(pixels, page.axes.index("S"), -1), 0, path)
        return pixels


def _grey(channels: NDArray[Any], tolerance: int, path: Path) -> NDArray[Any]:
    """Return the grey values of equal channels (rows, columns, channels); a fourth one is alpha."""
    colours = (channels[..., :3] if channels.shape[-1] > 2 else channels[..., :1]).astype(np.float64)
    spread = float(np.ptp(colours, axis=-1).max())
    if spread > tolerance:
        raise InputError(
            path,
            expected="a grey image",
            found=f"a colour photo, whose channels differ by up to {spread:g}",
            fix="Export the slice in grey, without coloured marks.",
        )
    return np.asarray(np.rint(colours.mean(axis=-1)), dtype=channels.dtype)


def _several_pages(path: Path, pages: int) -> InputError:
    return InputError(
        path,
        expected="one page",
        found=f"{pages} pages",
        fix="Save each page as a file of its own, or the scan as NIfTI.",
    )


def _refuse_16_bit_colour(start: bytes, path: Path) -> None:
    """Raise for a PNG of several 16-bit channels, of which Pillow would silently drop the lower 8 bits."""
    if start.startswith(b"\x89PNG") and start[24:25] == b"\x10" and start[25:26] != b"\0":
        raise InputError(
            path,
            expected="a PNG with one channel of 16 bits",
            found="several channels of 16 bits",
            fix="Save it as 16-bit grey.",
        )
