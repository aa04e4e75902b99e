"""Reading images and label maps of any format."""

import re
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from fewct.errors import InputError, UsageError
from fewct.io.dicom.detection import AnyPath, is_dicom
from fewct.io.discovered import DiscoveredImage, image_name
from fewct.io.formats import format_by_content, format_by_suffix, known_suffixes, load
from fewct.io.pixels import RawImage, as_ct, as_label_map, unreadable
from fewct.types import CTSlice, CTVolume, LabelMap, UnitChoice

if TYPE_CHECKING:
    from nibabel.spatialimages import SpatialImage

_RESULT = re.compile(r"_(labels|overlay|structures|manifest)\.[a-z.]+$")
_LISTED = 10


def discover(
    path: "str | Path | SpatialImage", *, series: str | None = None, unit: UnitChoice = "auto"
) -> list[DiscoveredImage]:
    """Find the images in a file, a folder with all below it, or a zip of DICOM.

    In a folder, DICOM files are put together to series; every other file of a known format is an image of
    its own, in natural order (2.png before 10.png). A file that is an image only by its name is listed too;
    its `open` raises. Hidden files, other files and fewct's own results are left out.

    Args:
        path: File, folder or zip; or an image of nibabel's in memory, read as the NIfTI file that it would be
            saved to.
        series: Chooses a DICOM series: its SeriesInstanceUID, the start of it, or its description.
        unit: "hu" or "grey" where the user knows better; "auto" asks the file: "hu" where DICOM says so,
            elsewhere where the first, middle or last slice has values below -200.

    Raises:
        InputError: If there is nothing there, or nothing readable, or several series and none is chosen.
        UsageError: If `series` is given for an input without DICOM, or `unit` is none of the three.
    """
    if unit not in get_args(UnitChoice):
        raise UsageError("unit", expected="auto, hu or grey", found=repr(unit), fix="Choose one of them.")
    given = _given(path)
    found: list[DiscoveredImage] = []
    if isinstance(given, Path):
        found = _in_folder(given, series, unit) if given.is_dir() else _in_file(given, series, unit)
    elif series is None:
        source = given.source
        described = f"{source.path} (nifti)"
        found = [DiscoveredImage(source.name, source.path, described, lambda: as_ct(given, unit))]
    if not found and series is not None:
        raise UsageError(
            "series",
            expected="an input with DICOM",
            found=f"{given if isinstance(given, Path) else given.source.path}, which has none",
            fix="Leave the option out.",
        )
    if not found:
        raise InputError(
            path,
            expected="at least one image",
            found="nothing readable",
            fix=f"Give DICOM files, or files that end on {known_suffixes()}.",
        )
    return found


def read(
    path: "str | Path | SpatialImage", *, series: str | None = None, unit: UnitChoice = "auto"
) -> CTSlice | CTVolume:
    """Read the one image in a file, a folder or a zip, or an image of nibabel's in memory.

    Args:
        path: As in `discover`, like the others.
        series: Chooses a DICOM series.
        unit: "hu", "grey" or "auto".

    Returns:
        A slice, or a volume if there are several slices.

    Raises:
        InputError: If there is no image or more than one, or it cannot be used.
    """
    found = discover(path, series=series, unit=unit)
    if len(found) > 1:
        listed = "; ".join(image.description for image in found[:_LISTED])
        more = f"; and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
        raise InputError(
            path,
            expected="one image",
            found=f"{len(found)}: {listed}{more}",
            fix="Name one of them, or take all with fewct.io.discover.",
        )
    return found[0].open()


def read_labels(path: "str | Path | SpatialImage") -> LabelMap:
    """Read a label map from PNG, TIFF, BMP, NIfTI, NRRD, MetaImage, NPZ, NPY or DICOM-SEG.

    Args:
        path: The file, or an image of nibabel's in memory. Its values must be whole numbers of 0 or more, of
            an integer type or not.

    Returns:
        The label map, oriented as an image from the same kind of file would be.

    Raises:
        InputError: If there is no such file, or it holds no label map.
    """
    given = _given(path)
    if isinstance(given, RawImage):
        return as_label_map(given)
    if given.is_dir():
        raise InputError(
            given, expected="a label map in one file", found="a folder", fix="Name the file in it."
        )
    content = _content(_existing(given), "read_labels")
    return as_label_map(content) if isinstance(content, RawImage) else content


def _given(path: Any) -> Path | RawImage:
    """Return a path, or what an image of nibabel's holds, which is recognised without importing nibabel."""
    if any(kind.__module__.startswith("nibabel.") for kind in type(path).__mro__):
        content: RawImage = load("fewct.io.nifti:open_nibabel")(path)
        return content
    return Path(path)


def _in_folder(folder: Path, series: str | None, unit: UnitChoice) -> list[DiscoveredImage]:
    """Find the images in a folder and all folders below."""
    files = [
        file
        for file in sorted(folder.rglob("*"), key=lambda file: natural_key(str(file.relative_to(folder))))
        if file.is_file() and not _hidden(str(file.relative_to(folder))) and not _RESULT.search(file.name)
    ]
    specs = {file: format_by_content(file) for file in files}
    dicom = [file for file, spec in specs.items() if spec is not None and spec.name == "dicom"]
    found = _in_dicom(dicom, folder, series, unit) if dicom else []
    if series is not None:
        return found
    for file in files:
        if file not in dicom and (specs[file] or format_by_suffix(file)):
            try:
                found += _in_file(file, None, unit)
            except InputError as error:
                found.append(
                    DiscoveredImage(image_name(file), file, f"{file}, cannot be read", partial(_fail, error))
                )
    return found


def _fail(error: InputError) -> CTSlice | CTVolume:
    """Raise an error only when a file is opened, so that the others in its folder can be read."""
    raise error


def _in_file(file: Path, series: str | None, unit: UnitChoice) -> list[DiscoveredImage]:
    """Find the one image in a file, or those in a zip."""
    spec = format_by_content(_existing(file)) or format_by_suffix(file)
    if spec is not None and spec.name == "zip":
        return _in_dicom(_zipped_dicom(file), file, series, unit)
    if spec is not None and spec.name == "dicom" and is_dicom(file):
        return _in_dicom([file], file, series, unit, alone=True)
    if spec is None or series is not None:
        return []
    return [
        DiscoveredImage(
            image_name(file),
            file,
            f"{file} ({spec.name})",
            lambda: _as_image(_content(file, "read_image"), unit),
        )
    ]


def _in_dicom(
    files: Sequence[AnyPath], root: Path, series: str | None, unit: UnitChoice, *, alone: bool = False
) -> list[DiscoveredImage]:
    """Find the images in DICOM files, as `find_dicom` does, to be opened with the unit that is asked for."""
    from fewct.io.dicom.discovery import find_dicom

    def opened(image: DiscoveredImage) -> CTSlice | CTVolume:
        return _as_image(image.open(), unit)

    return [replace(image, open=partial(opened, image)) for image in find_dicom(files, root, series, alone)]


def _zipped_dicom(file: Path) -> list[zipfile.Path]:
    """Return the DICOM files in a zip."""
    try:
        archive = zipfile.ZipFile(file)
    except (OSError, zipfile.BadZipFile) as error:
        raise unreadable(file, "a whole zip", error) from error
    members = [
        member for member in archive.infolist() if not member.is_dir() and not _hidden(member.filename)
    ]
    if any(member.flag_bits & 1 for member in members):
        raise InputError(
            file, expected="a zip without password", found="an encrypted one", fix="Unpack it first."
        )
    names = sorted((member.filename for member in members), key=natural_key)
    dicom = [member for member in (zipfile.Path(archive, name) for name in names) if is_dicom(member)]
    if not dicom:
        raise InputError(
            file,
            expected="a zip of DICOM files",
            found=", ".join(names[:_LISTED]) or "an empty zip",
            fix="Unpack it and give the folder: other formats are not read from a zip.",
        )
    return dicom


def _content(file: Path, reader: Literal["read_image", "read_labels"]) -> Any:
    """Return the content of a file, from the reader of the format of its first bytes, else of its suffix."""
    if file.stat().st_size == 0:
        raise unreadable(file, "an image or a label map", "an empty file")
    by_content = format_by_content(file)
    spec = by_content or format_by_suffix(file)
    is_dicom_by_name = spec is not None and spec.name == "dicom" and by_content is None
    reference = None if spec is None or is_dicom_by_name else getattr(spec, reader)
    if reference is None:
        by_name = "a DICOM file, as its name says"
        raise unreadable(
            file, by_name if is_dicom_by_name else f"a file that ends on {known_suffixes()}", "other content"
        )
    try:
        return load(reference)(file)
    except OSError as error:
        raise unreadable(file, "a file that can be read", error.strerror or error) from error


def _as_image(content: RawImage | CTSlice | CTVolume, unit: UnitChoice) -> CTSlice | CTVolume:
    """Return what a reader gave as an image with the unit that the user chose."""
    if isinstance(content, RawImage):
        return as_ct(content, unit)
    return content if unit == "auto" else replace(content, unit=unit)


def _existing(file: Path) -> Path:
    """Return the path of a file, if it is one."""
    if not file.is_file():
        raise InputError(
            file, expected="a file or a folder", found="nothing of that name", fix="Check the path."
        )
    return file


def _hidden(path: str) -> bool:
    """Return whether a path runs through a hidden file or folder, or a Mac archive's metadata."""
    return any(part.startswith((".", "__MACOSX")) for part in Path(path).parts)


def natural_key(path: str) -> list[tuple[int, str]]:
    """Return a key that sorts names as people do, numbers by their value.

    Example:
        >>> sorted(["10.png", "b.png", "2.png"], key=natural_key)
        ['2.png', '10.png', 'b.png']
    """
    return [
        (int(part), "") if part.isdecimal() else (10**9, part) for part in re.split(r"(\d+)", path.lower())
    ]
