"""The list of formats: what belongs to a name, and formats that other packages add."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

import fewct
from fewct.errors import FewctWarning, InputError, UsageError
from fewct.io import DiscoveredImage, default_format, discover, label_suffix, read, read_labels, write
from fewct.io.formats import _installed, format_by_content, format_by_suffix
from fewct.types import CTVolume, Format, LabelMap, Provenance

PLUGIN = """
from pathlib import Path
import numpy as np
from fewct.io import FormatSpec
from fewct.io.pixels import RawImage
from fewct.types import CTVolume, LabelMap, Provenance

def read_image(path):
    values = np.loadtxt(path, skiprows=1, ndmin=2)
    return CTVolume.from_array(np.stack([values, values]), "hu", None, Provenance(path, "grid", path.stem))

def read_labels(path):
    values = np.loadtxt(path, skiprows=1, ndmin=2)
    return RawImage(values[np.newaxis], Provenance(path, "grid", path.stem))

def write_labels(result, path):
    np.savetxt(path, result.labels, "%d", header="GRID", comments="")

GRID = FormatSpec(
    "grid", (".grid",), lambda start: start.startswith(b"GRID"),
    read_image, "grid_plugin:read_labels", "grid_plugin:write_labels",
)
"""

SPEC = "from fewct.io import FormatSpec\nX = FormatSpec('{}', ('.mesh',))"


def install(folder: Path, package: str, entry: str, source: str) -> None:
    """Write what an installed package leaves on sys.path: a module and a dist-info folder."""
    info = folder / f"{package}-1.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.5\n")
    (info / "entry_points.txt").write_text(f"[fewct.formats]\n{entry}\n")
    (folder / f"{package}.py").write_text(source)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of installed packages; formats are looked for anew before and after."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    _installed.cache_clear()
    yield folder
    _installed.cache_clear()
    for name in [name for name in sys.modules if name.endswith("_plugin")]:
        del sys.modules[name]


def test_every_format_of_the_command_line_has_a_suffix() -> None:
    suffixes = [label_suffix(name) for name in get_args(Format)]
    assert suffixes == [".nii.gz", ".nrrd", ".mha", ".dcm", ".png", ".npz", ".json"]


@pytest.mark.parametrize(
    ("name", "format"),
    [
        ("scan.NII.GZ", "nifti"),
        ("a.v2.dcm", "dicom"),
        ("a.MHD", "metaimage"),
        ("b.nhdr", "nrrd"),
        ("x.tiff", "image"),
        ("x.tiff.txt", None),
        ("masks.json", None),
    ],
)
def test_name_tells_the_format(name: str, format: str | None) -> None:
    spec = format_by_suffix(Path(name))
    assert (None if spec is None else spec.name) == format


def test_a_format_of_another_package_is_read_and_written(site: Path, tmp_path: Path) -> None:
    install(site, "grid_plugin", "grid = grid_plugin:GRID", PLUGIN)
    pixels = np.arange(12.0).reshape(3, 4) - 300
    np.savetxt(tmp_path / "a.grid", pixels, header="GRID", comments="")
    np.savetxt(tmp_path / "unnamed", pixels, header="GRID", comments="")
    image = read(tmp_path / "a.grid")
    assert isinstance(image, CTVolume)
    np.testing.assert_array_equal(image[1].pixels, pixels)
    assert read(tmp_path / "a.grid", unit="grey").unit == "grey"
    assert read(tmp_path / "unnamed").shape == (2, 3, 4)
    assert [found.name for found in discover(tmp_path)] == ["a", "unnamed"]
    assert default_format(image.source) == "grid"
    labels = LabelMap(np.arange(6, dtype=np.int32).reshape(2, 3))
    for path in (write(labels, tmp_path / "out.grid"), write(labels, tmp_path / "b.grid", "grid")):
        np.testing.assert_array_equal(read_labels(path).labels, labels.labels)
    with pytest.raises(UsageError, match=r"a name that ends on \.grid, found 'a\.png'"):
        write(labels, tmp_path / "a.png", "grid")
    with pytest.raises(UsageError, match=r"format: expected dicom-seg, nifti, .*, coco, grid, found 'mesh'"):
        write(labels, tmp_path / "a.png", "mesh")
    with pytest.raises(InputError, match=r"files that end on \.dcm, .*\.zip, \.grid"):
        read(write_text(tmp_path / "notes.txt"))


@pytest.mark.parametrize(
    ("entry", "source", "found"),
    [
        ("mesh", "raise OSError('no licence')", "found OSError: no licence"),
        ("mesh", "X = 3", "found TypeError: int instead of fewct.io.FormatSpec"),
        (
            "mesh",
            "from fewct.io import FormatSpec\nX = FormatSpec('mesh', ('.png',))",
            r"found ValueError: the suffix \.png, which is that of the format image",
        ),
        (
            "nifti",
            SPEC.format("nifti"),
            "found the name of fewct's own nifti",
        ),
    ],
)
def test_a_faulty_package_is_named_and_hides_nothing(
    site: Path, tmp_path: Path, entry: str, source: str, found: str
) -> None:
    install(site, "bad_plugin", f"{entry} = bad_plugin:X", source)
    np.save(tmp_path / "a.npy", np.arange(12.0).reshape(3, 4))
    write_text(tmp_path / "notes.txt")
    named = f"entry point {entry} = bad_plugin:X of bad_plugin 1.5: expected .*"
    with pytest.warns(FewctWarning, match=named + found):
        images: list[DiscoveredImage] = discover(tmp_path)
    assert [image.name for image in images] == ["a"]
    if entry == "mesh":
        with pytest.raises(InputError, match=named + found):
            default_format(Provenance(Path("a"), "mesh", "a"))


def test_two_packages_cannot_share_a_suffix(site: Path) -> None:
    for name in ("one", "two"):
        install(site, f"{name}_plugin", f"{name} = {name}_plugin:X", SPEC.format(name))
    claim = r"two .* left out, as it claims the suffix \.mesh, which is that of the format one"
    with pytest.warns(FewctWarning, match=claim):
        spec_found = format_by_suffix(Path("a.mesh"))
    assert spec_found is not None
    assert spec_found.name == "one"


def test_a_format_bears_the_name_of_its_entry_point(site: Path) -> None:
    install(site, "one_plugin", "one = one_plugin:X", SPEC.format("two"))
    with pytest.warns(FewctWarning, match=r"entry point one of .*: left out, as it claims the name two"):
        assert format_by_suffix(Path("a.mesh")) is None


def test_packages_are_not_looked_for_where_a_built_in_format_does(site: Path, tmp_path: Path) -> None:
    install(site, "bad_plugin", "mesh = bad_plugin:X", "raise OSError('no licence')")
    labels = LabelMap(np.eye(3, dtype=np.int32))
    path = fewct.write(labels, tmp_path / "a.png")
    spec = format_by_content(path)
    assert spec is not None
    assert spec.name == "image"
    np.testing.assert_array_equal(read_labels(path).labels, labels.labels)


def write_text(path: Path) -> Path:
    path.write_text("Dear colleague")
    return path
