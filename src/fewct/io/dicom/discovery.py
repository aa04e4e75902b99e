"""Finding DICOM images: files, series and multi-frame files that can be opened."""

import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from pydicom.uid import MediaStorageDirectoryStorage

from fewct.errors import FewctWarning, InputError
from fewct.io.dicom.detection import AnyPath
from fewct.io.dicom.header import DicomHeader, read_header
from fewct.io.dicom.pixels import opener, read_plane
from fewct.io.dicom.planes import check_holds_image, planes_of
from fewct.io.dicom.series import Series, choose_series, group_series, listed_series, without_localizers
from fewct.io.dicom.stack import listed, stack_planes
from fewct.io.discovered import DiscoveredImage, safe_name
from fewct.types import CTSlice, CTVolume, Image, Provenance


def find_dicom(
    files: Sequence[AnyPath], root: Path, series: str | None = None, alone: bool = False
) -> list[DiscoveredImage]:
    """Find the images in DICOM files; only headers are read.

    One series is one image, as is a file of several frames. Series of one file each are unrelated images,
    found one by one. Objects that are no grey images (reports, plans, segmentations, colour captures) and
    localizers are left out with a warning where there are images besides them.

    Args:
        files: DICOM files or members of a zip (see `is_dicom`).
        root: What the user named: the file, or the folder or zip that holds the files.
        series: Chooses a series: its SeriesInstanceUID, the start of it, or its description.
        alone: Take each file as an image of its own.

    Returns:
        The images. Among unrelated ones, a file that cannot be read is listed too; its `open` raises.

    Raises:
        InputError: If no file is a readable grey image, a file that may belong to a series cannot be read,
            there are several series and none is chosen, or `series` does not name just one.

    Example:
        >>> from pydicom.data import get_testdata_file
        >>> file = Path(get_testdata_file("CT_small.dcm"))
        >>> [found] = find_dicom([file], file)
        >>> found.name, found.description, found.open().unit
        ('CT_small', 'DICOM CT image, 128 x 128', 'hu')
    """
    headers, broken = _read_headers(files)
    if not headers:
        raise broken[0]
    groups = group_series(_images(headers, root))
    chosen = groups
    if series is not None:
        chosen = choose_series(groups, series, root)
    elif not alone:
        chosen, localizers = without_localizers(groups)
        _warn_left_out(root, localizers, "localizers")
    if alone or (len(chosen) + len(broken) > 1 and all(len(group) == 1 for group in chosen)):
        found = [_file_image(header, root) for group in chosen for header in group]
        return found + [_unreadable_image(error) for error in broken]
    if broken:
        raise broken[0]
    if len(chosen) > 1:
        raise InputError(
            root,
            expected="one DICOM series",
            found=listed_series(chosen),
            fix="Choose one with --series (Python: series=...), by its UID or description.",
        )
    name = _name(root)
    if len(groups) > 1 and series is not None:
        name = chosen[0][0].text("SeriesDescription") or name
    return [_discovered(chosen[0], root, safe_name(name))]


def _read_headers(files: Sequence[AnyPath]) -> tuple[list[DicomHeader], list[InputError]]:
    """Return the headers of the files, and the errors of those that have none."""
    headers, broken = [], []
    for file in files:
        try:
            header = read_header(file)
            if not _is_other_object(header):
                check_holds_image(header)
            headers.append(header)
        except InputError as error:
            broken.append(error)
    return headers, broken


def _is_other_object(header: DicomHeader) -> bool:
    """Return whether a file's SOP class or photometric interpretation is not that of a grey image."""
    kind = header.sop_class_name
    colours = header.text("PhotometricInterpretation")
    is_colour = bool(colours) and not colours.startswith("MONOCHROME")
    return (bool(kind) and "Image Storage" not in kind) or is_colour


def _images(headers: Sequence[DicomHeader], root: Path) -> list[DicomHeader]:
    """Return the headers of images; a warning names what else there is, an error if that is all."""
    images: list[DicomHeader] = []
    others: list[DicomHeader] = []
    for header in headers:
        (others if _is_other_object(header) else images).append(header)
    if images:
        named = [header for header in others if header.sop_class_uid != MediaStorageDirectoryStorage]
        _warn_left_out(root, named, "DICOM objects that are no grey images")
        return images
    for header in others:
        check_holds_image(header)
    return others


def _warn_left_out(root: Path, headers: Sequence[DicomHeader], what: str) -> None:
    if headers:
        names = listed([header.file.name for header in headers])
        warnings.warn(f"{root}: left out {what}: {names}", FewctWarning, stacklevel=3)


def _file_image(header: DicomHeader, root: Path) -> DiscoveredImage:
    path = header.file if isinstance(header.file, Path) else root
    return _discovered([header], path, safe_name(_name(Path(header.file.name))))


def _unreadable_image(error: InputError) -> DiscoveredImage:
    """Return an image whose opening raises the error of a file that cannot be read."""

    def fail() -> CTSlice:
        raise error

    path = Path(error.subject)
    return DiscoveredImage(safe_name(_name(path)), path, f"DICOM, cannot be read: {error.found}", fail)


def _name(path: Path) -> str:
    """Return a folder's name, or a file's without its suffix; numbers after a dot are no suffix."""
    path = path if path.name.strip(".") else path.resolve()
    return path.name if path.is_dir() or path.suffix[1:].isdigit() else path.stem


def _discovered(series: Series, path: Path, name: str) -> DiscoveredImage:
    return DiscoveredImage(name, path, _described(series), partial(_open, series, path, name))


def _described(series: Series) -> str:
    """Return a line for people: what it is, its size and its description."""
    first = series[0]
    rows, columns = first.shape
    slices = sum(header.frames for header in series)
    kind = "series" if len(series) > 1 else "multi-frame image" if slices > 1 else "image"
    size = f"{slices} slices of {rows} x {columns}" if slices > 1 else f"{rows} x {columns}"
    description = first.text("SeriesDescription")
    modality = first.text("Modality")
    return f"DICOM {modality} {kind}, {size}".replace("  ", " ") + (
        f", {description!r}" if description else ""
    )


def _open(series: Series, path: Path, name: str) -> CTSlice | CTVolume:
    """Read a series: one plane as a slice, several as a volume whose slices are read when asked for."""
    stack = stack_planes([plane for header in series for plane in planes_of(header)], path)
    files = tuple(dict.fromkeys(plane.header.file for plane in stack.planes))
    source = Provenance(path, "dicom", name, files)
    if len(stack.planes) == 1:
        return CTSlice(read_plane(stack.planes[0]), stack.unit, stack.geometry, source)
    open_file = opener(series[0]) if len(series) == 1 else None

    def load(index: int) -> Image:
        return read_plane(stack.planes[index], open_file)

    shape = (len(stack.planes), *series[0].shape)
    return CTVolume(shape, load, stack.unit, stack.geometry, source)
