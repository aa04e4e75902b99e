"""NRRD and MetaImage: SimpleITK is the oracle for values and places."""

import itertools
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from fewct.errors import InputError, MissingExtraError
from fewct.io import read, read_labels, write
from fewct.types import CTSlice, CTVolume, Geometry, LabelMap

AXES = list(itertools.permutations(range(3)))
SUFFIXES = [".nrrd", ".mha"]


def save(path: Path, array: np.ndarray, seed: int = 0, order: tuple[int, ...] = (0, 1, 2)) -> SimpleITK.Image:
    """Write an array (k, j, i) with an oblique direction, and return the image that was written."""
    rng = np.random.default_rng(seed)
    image = SimpleITK.GetImageFromArray(array)
    if array.ndim == 3:
        turn = Rotation.from_rotvec(rng.uniform(-0.35, 0.35, 3)).as_matrix()
        image.SetDirection((turn[:, order] * rng.choice([-1, 1], 3)).ravel().tolist())
    image.SetSpacing(rng.uniform(0.4, 6, array.ndim).tolist())
    image.SetOrigin(rng.uniform(-400, 400, array.ndim).tolist())
    SimpleITK.WriteImage(image, str(path))
    return image


@settings(max_examples=30)
@given(order=st.sampled_from(AXES), seed=st.integers(0, 10_000), suffix=st.sampled_from(SUFFIXES))
def test_each_voxel_is_where_simpleitk_says(
    tmp_path_factory: pytest.TempPathFactory, order: tuple[int, ...], seed: int, suffix: str
) -> None:
    file = tmp_path_factory.mktemp("i") / f"scan{suffix}"
    array = np.random.default_rng(seed).permutation(4 * 5 * 6).reshape(4, 5, 6).astype(np.int16)
    save(file, array, seed, order)
    oracle = SimpleITK.ReadImage(str(file))
    scan = read(file)
    assert isinstance(scan, CTVolume)
    assert scan.geometry is not None
    pixels = np.stack([image.pixels for image in scan])
    for value in (0, 50, 119):
        k, j, i = np.argwhere(array == value)[0].tolist()
        expected = oracle.TransformIndexToPhysicalPoint((i, j, k))
        found = scan.geometry.affine @ [*np.argwhere(pixels == value)[0], 1]
        np.testing.assert_allclose(found[:3], expected, atol=1e-6)
    assert (np.diag(scan.geometry.affine[[2, 1, 0], :3]) > 0).all()  # superior, posterior, left


@settings(max_examples=30)
@given(
    order=st.sampled_from(AXES),
    seed=st.integers(0, 10_000),
    suffixes=st.tuples(st.sampled_from(SUFFIXES), st.sampled_from(SUFFIXES)),
)
def test_labels_return_in_the_files_own_grid(
    tmp_path_factory: pytest.TempPathFactory, order: tuple[int, ...], seed: int, suffixes: tuple[str, str]
) -> None:
    folder = tmp_path_factory.mktemp("i")
    array = np.random.default_rng(seed).integers(0, 70_000, (3, 4, 5)).astype(np.int32)
    before = save(folder / f"in{suffixes[0]}", array, seed, order)
    write(read_labels(folder / f"in{suffixes[0]}"), folder / f"out{suffixes[1]}")
    after = SimpleITK.ReadImage(str(folder / f"out{suffixes[1]}"))
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(after), array)
    for part in ("GetSpacing", "GetOrigin", "GetDirection"):
        np.testing.assert_allclose(getattr(after, part)(), getattr(before, part)(), atol=1e-9)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_two_dimensions_return(tmp_path: Path, suffix: str, rng: np.random.Generator) -> None:
    array = rng.integers(0, 300, (4, 5)).astype(np.uint16)
    before = save(tmp_path / f"in{suffix}", array, 9)
    labels = read_labels(tmp_path / f"in{suffix}")
    assert labels.labels.shape == (4, 5)
    assert labels.geometry is not None
    np.testing.assert_allclose(labels.geometry.spacing_mm, (1, *before.GetSpacing()[::-1]), atol=1e-12)
    after = SimpleITK.ReadImage(str(write(labels, tmp_path / f"out{suffix}")))
    assert after.GetSpacing() == pytest.approx(before.GetSpacing())
    assert after.GetOrigin() == pytest.approx(before.GetOrigin())
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(after), array)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_slice_of_a_dicom_like_source(tmp_path: Path, suffix: str) -> None:
    labels = np.arange(12, dtype=np.int32).reshape(3, 4)
    geometry = Geometry.from_spacing((5.0, 0.8, 0.7)).at_slice(2)
    after = SimpleITK.ReadImage(str(write(LabelMap(labels, geometry), tmp_path / f"out{suffix}")))
    assert after.GetSize() == (4, 3, 1)
    assert after.GetSpacing() == pytest.approx((0.7, 0.8, 5.0))
    assert after.GetOrigin() == pytest.approx((0, 0, 10))
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(after)[0], labels)


def test_nrrd_without_spacing_has_no_geometry(tmp_path: Path, rng: np.random.Generator) -> None:
    header = "NRRD0004\ntype: int16\ndimension: 3\nsizes: 4 3 2\nendian: little\nencoding: raw\n\n"
    (tmp_path / "in.nrrd").write_bytes(header.encode() + rng.permutation(24).astype("<i2").tobytes())
    assert read(tmp_path / "in.nrrd").geometry is None


def test_one_slice(tmp_path: Path, rng: np.random.Generator) -> None:
    array = rng.integers(-1000, 1000, (1, 6, 7)).astype(np.int16)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array), str(tmp_path / "in.mha"))
    image = read(tmp_path / "in.mha")
    assert isinstance(image, CTSlice)
    assert image.unit == "hu"
    np.testing.assert_array_equal(image.pixels, array[0])


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("keep", [0.1, 0.6, 0.95])
def test_truncated(tmp_path: Path, suffix: str, keep: float, rng: np.random.Generator) -> None:
    file = tmp_path / f"in{suffix}"
    save(file, rng.integers(0, 4000, (8, 9, 10)).astype(np.int16))
    content = file.read_bytes()
    file.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(InputError, match=rf"in{suffix}: expected a whole NRRD or MetaImage file"):
        read(file)


def test_zero_spacing(tmp_path: Path, rng: np.random.Generator) -> None:
    file = tmp_path / "in.mha"
    image = SimpleITK.GetImageFromArray(rng.normal(size=(4, 5, 6)))
    image.SetSpacing([0.5, 0.25, 2])
    SimpleITK.WriteImage(image, str(file))
    file.write_bytes(
        file.read_bytes().replace(b"ElementSpacing = 0.5 0.25 2", b"ElementSpacing = 0.5 0.00 2")
    )
    with pytest.raises(
        InputError, match=r"in.mha: expected .* spacing above 0, found .*Zero-valued spacing is not supported"
    ):
        read(file)


def test_colour_and_four_dimensions(tmp_path: Path) -> None:
    rgb = SimpleITK.GetImageFromArray(np.zeros((4, 5, 6, 3), np.uint8), isVector=True)
    SimpleITK.WriteImage(rgb, str(tmp_path / "rgb.mha"))
    with pytest.raises(InputError, match=r"rgb.mha: expected one slice or one volume.*3 values a voxel"):
        read(tmp_path / "rgb.mha")
    four = SimpleITK.GetImageFromArray(np.zeros((2, 4, 5, 6), np.uint8), isVector=False)
    SimpleITK.WriteImage(four, str(tmp_path / "four.mha"))
    with pytest.raises(InputError, match=r"four.mha: expected one slice or one volume"):
        read(tmp_path / "four.mha")


def test_without_simpleitk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    save(tmp_path / "in.nrrd", rng.normal(size=(4, 5, 6)))
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(MissingExtraError, match=r"in.nrrd: .*pip install 'fewct\[itk\]'"):
        read(tmp_path / "in.nrrd")
    with pytest.raises(MissingExtraError, match=r"out.mha: .*pip install 'fewct\[itk\]'"):
        write(LabelMap(np.eye(3, dtype=np.int32)), tmp_path / "out.mha")
    assert [file.name for file in tmp_path.iterdir()] == ["in.nrrd"]
