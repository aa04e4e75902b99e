"""NIfTI: nibabel is the oracle for values, places and headers."""

import gzip
import itertools
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from fewct.errors import InputError, UsageError
from fewct.io import nifti, read, read_labels, write
from fewct.types import CTSlice, CTVolume, Geometry, LabelMap, Provenance

AXES = list(itertools.permutations(range(3)))
TO_LPS = np.array([-1, -1, 1])


def oblique_affine(order: tuple[int, ...], seed: int) -> np.ndarray:
    """A RAS affine of a signed permutation of axes, a turn of up to 35 degrees and any spacing."""
    rng = np.random.default_rng(seed)
    turn = Rotation.from_rotvec(rng.uniform(-0.35, 0.35, 3)).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = turn[:, order] * rng.choice([-1, 1], 3) * rng.uniform(0.4, 6, 3)
    affine[:3, 3] = rng.uniform(-400, 400, 3)
    return affine


def place(image: CTVolume | LabelMap, slice_row_column: np.ndarray) -> np.ndarray:
    assert image.geometry is not None
    return (image.geometry.affine @ [*slice_row_column, 1])[:3]


def save(path: Path, array: np.ndarray, affine: np.ndarray | None = None) -> Path:
    nib.Nifti1Image(array, np.eye(4) if affine is None else affine).to_filename(path)
    return path


@settings(max_examples=40)
@given(order=st.sampled_from(AXES), seed=st.integers(0, 10_000), suffix=st.sampled_from([".nii", ".nii.gz"]))
def test_each_voxel_is_where_nibabel_says(
    tmp_path_factory: pytest.TempPathFactory, order: tuple[int, ...], seed: int, suffix: str
) -> None:
    file = tmp_path_factory.mktemp("n") / f"scan{suffix}"
    array = np.random.default_rng(seed).permutation(4 * 5 * 6).reshape(4, 5, 6).astype(np.int16)
    save(file, array, oblique_affine(order, seed))
    oracle = nib.load(file)
    scan = read(file)
    assert isinstance(scan, CTVolume)
    pixels = np.stack([image.pixels for image in scan])
    for value in (0, 50, 119):
        expected = TO_LPS * (oracle.affine @ [*np.argwhere(array == value)[0], 1])[:3]
        np.testing.assert_allclose(place(scan, np.argwhere(pixels == value)[0]), expected, atol=1e-4)
    assert scan.geometry is not None
    towards = np.diag(scan.geometry.affine[[2, 1, 0], :3])
    assert (towards > 0).all()  # superior, posterior, left


@settings(max_examples=40)
@given(order=st.sampled_from(AXES), seed=st.integers(0, 10_000), by_qform=st.booleans())
def test_labels_return_in_the_files_own_grid_exactly(
    tmp_path_factory: pytest.TempPathFactory, order: tuple[int, ...], seed: int, by_qform: bool
) -> None:
    folder = tmp_path_factory.mktemp("n")
    array = np.random.default_rng(seed).integers(0, 300, (3, 4, 5)).astype(np.int16)
    image = nib.Nifti1Image(array, oblique_affine(order, seed))
    if by_qform:
        image.set_qform(image.affine, 1)
        image.set_sform(None, 0)
    image.to_filename(folder / "in.nii.gz")
    write(read_labels(folder / "in.nii.gz"), folder / "out.nii.gz")
    before, after = nib.load(folder / "in.nii.gz"), nib.load(folder / "out.nii.gz")
    assert after.shape == before.shape
    np.testing.assert_array_equal(after.affine, before.affine)
    np.testing.assert_array_equal(np.asarray(after.dataobj), array)
    for name in ("qform_code", "sform_code", "pixdim"):
        np.testing.assert_array_equal(after.header[name], before.header[name])


@pytest.mark.parametrize("shape", [(6, 7), (6, 7, 1), (6, 1, 7), (1, 6, 7), (6, 7, 1, 1), (6, 7, 3, 1)])
def test_shapes_return(tmp_path: Path, shape: tuple[int, ...], rng: np.random.Generator) -> None:
    array = rng.integers(0, 9, shape).astype(np.uint8)
    file = save(tmp_path / "in.nii", array, np.diag([-0.7, 0.7, 5, 1]))
    labels = read_labels(file)
    assert labels.labels.ndim == (3 if 3 in shape else 2)
    write(labels, tmp_path / "out.nii")
    after = nib.load(tmp_path / "out.nii")
    assert after.shape == shape
    np.testing.assert_array_equal(np.asarray(after.dataobj), array)
    np.testing.assert_array_equal(after.affine, nib.load(file).affine)


def test_one_axial_slice_stands_as_on_a_screen(tmp_path: Path, rng: np.random.Generator) -> None:
    array = rng.integers(-1000, 1000, (6, 7, 1)).astype(np.int16)
    image = read(save(tmp_path / "in.nii", array, np.diag([-0.7, -0.8, 5, 1])))
    assert isinstance(image, CTSlice)
    np.testing.assert_array_equal(image.pixels, array[:, :, 0].T)
    assert image.spacing_mm == pytest.approx((0.8, 0.7))
    assert image.unit == "hu"


def test_plain_2d_file_without_a_third_axis(tmp_path: Path, rng: np.random.Generator) -> None:
    file = save(tmp_path / "in.nii", rng.normal(size=(6, 7)), np.diag([-0.7, -0.8, 3, 1]))
    content = bytearray(file.read_bytes())
    content[312:328] = bytes(16)  # srow_z
    file.write_bytes(content)
    image = read(file)
    assert isinstance(image, CTSlice)
    assert image.geometry is not None
    assert image.geometry.spacing_mm == pytest.approx((1, 0.8, 0.7))


@pytest.mark.parametrize("dtype", ["u1", "<i2", ">i2", "i4", "f4", "f8"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_values_are_nibabels(tmp_path: Path, dtype: str, suffix: str, rng: np.random.Generator) -> None:
    image = nib.Nifti1Image(rng.integers(0, 200, (4, 5, 6)).astype(dtype), np.diag([-1, -1, 1, 1]))
    image.header.set_slope_inter(0.5, -30)
    image.to_filename(tmp_path / f"in{suffix}")
    scan = read(tmp_path / f"in{suffix}")
    oracle = nib.load(tmp_path / f"in{suffix}").get_fdata()
    for index in (2, 0, 5):
        np.testing.assert_array_equal(scan[index].pixels, oracle[:, :, index].T.astype(np.float32))


def patched(path: Path, offset: int, *numbers: float) -> Path:
    """Write float32 numbers into a file, at an offset of NIfTI 1's header."""
    content = bytearray(path.read_bytes())
    content[offset : offset + 4 * len(numbers)] = np.array(numbers, "<f4").tobytes()
    path.write_bytes(content)
    return path


def test_a_slope_of_0_leaves_values_as_they_are_stored(tmp_path: Path, rng: np.random.Generator) -> None:
    array = rng.integers(0, 99, (4, 5, 6)).astype(np.int16)
    path = patched(save(tmp_path / "in.nii", array, np.diag([-1, -1, 1, 1])), 112, 0.0, 7.0)
    np.testing.assert_array_equal(np.stack([image.pixels.T for image in read(path)], axis=2), array)


def test_a_handedness_of_0_is_1(tmp_path: Path, rng: np.random.Generator) -> None:
    image = nib.Nifti1Image(rng.normal(size=(4, 5, 6)), None)
    image.set_qform(np.diag([-1, -1, 2, 1]), code="scanner")
    image.to_filename(tmp_path / "in.nii")
    whole = read(tmp_path / "in.nii")
    scan = read(patched(tmp_path / "in.nii", 76, 0.0))
    assert whole.geometry is not None
    assert scan.geometry is not None
    np.testing.assert_array_equal(scan.geometry.affine, whole.geometry.affine)


def test_nifti_2_and_wrong_suffixes(tmp_path: Path, rng: np.random.Generator) -> None:
    array = rng.integers(0, 9, (4, 5, 6)).astype(np.uint8)
    nib.Nifti2Image(array, np.diag([-0.123456789, -1, 1, 1])).to_filename(tmp_path / "two.nii")
    (tmp_path / "two.nii").rename(tmp_path / "two.png")
    labels = read_labels(tmp_path / "two.png")
    write(labels, tmp_path / "out.nii.gz")
    after = nib.load(tmp_path / "out.nii.gz")
    assert isinstance(after, nib.Nifti2Image)
    assert after.affine[0, 0] == -0.123456789
    np.testing.assert_array_equal(np.asarray(after.dataobj), array)


@pytest.mark.parametrize(("unit", "in_mm"), [("meter", 1000), ("mm", 1), ("micron", 0.001)])
def test_lengths_become_millimetres(
    tmp_path: Path, unit: str, in_mm: float, rng: np.random.Generator
) -> None:
    image = nib.Nifti1Image(rng.normal(size=(4, 5, 6)), np.diag([1 / in_mm, 1 / in_mm, 2 / in_mm, 1]))
    image.header.set_xyzt_units(unit)
    image.to_filename(tmp_path / "in.nii")
    assert read(tmp_path / "in.nii").spacing_mm == pytest.approx((2, 1, 1))


def test_place_without_the_source_file(tmp_path: Path, rng: np.random.Generator) -> None:
    affine = oblique_affine((2, 0, 1), 7)
    labels = read_labels(save(tmp_path / "in.nii", rng.integers(0, 9, (4, 5, 6)).astype(np.uint8), affine))
    (tmp_path / "in.nii").unlink()
    after = nib.load(write(labels, tmp_path / "out.nii"))
    np.testing.assert_allclose(after.affine, affine, atol=1e-4)
    assert (after.header["sform_code"], after.header["qform_code"]) == (1, 1)
    assert after.header.get_xyzt_units()[0] == "mm"
    np.testing.assert_allclose(after.get_qform(), affine, atol=1e-3)


def test_slice_taken_from_a_volume_stays_in_its_place(tmp_path: Path, rng: np.random.Generator) -> None:
    affine = oblique_affine((0, 1, 2), 11)
    scan = read(save(tmp_path / "in.nii", rng.permutation(120).reshape(4, 5, 6).astype(np.int16), affine))
    one = scan[3]
    labels = np.zeros(one.shape, np.int32)
    labels[1, 2] = 1
    write(LabelMap(labels, one.geometry, one.source), tmp_path / "out.nii")
    after = nib.load(tmp_path / "out.nii")
    expected = place(scan, np.array([3, 1, 2]))
    marked = np.argwhere(np.asarray(after.dataobj) == 1)[0]
    np.testing.assert_allclose(TO_LPS * (after.affine @ [*marked, 1])[:3], expected, atol=1e-4)


def test_sheared_grid_gets_no_qform(tmp_path: Path, rng: np.random.Generator) -> None:
    affine = np.array([[0, 0, 1.0, 0], [0, 1, 0, 0], [2, 0.4, 0, 0], [0, 0, 0, 1]])
    write(LabelMap(rng.integers(0, 9, (2, 3, 4)).astype(np.int32), Geometry(affine)), tmp_path / "out.nii")
    after = nib.load(tmp_path / "out.nii")
    assert (after.header["sform_code"], after.header["qform_code"]) == (1, 0)


def test_dicom_source_becomes_column_row_slice(tmp_path: Path) -> None:
    labels = np.arange(24, dtype=np.int32).reshape(2, 3, 4)
    geometry = Geometry.from_spacing((5.0, 0.8, 0.7))
    source = Provenance(tmp_path, "dicom", "scan")
    write(LabelMap(labels, geometry, source), tmp_path / "out.nii.gz")
    after = nib.load(tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(np.asarray(after.dataobj), labels.transpose(2, 1, 0))
    np.testing.assert_allclose(after.affine, np.diag([-0.7, -0.8, 5, 1]), atol=1e-7)
    assert after.header.get_zooms() == pytest.approx((0.7, 0.8, 5.0))


def test_without_geometry_the_codes_say_unknown(tmp_path: Path) -> None:
    write(LabelMap(np.eye(3, dtype=np.int32)), tmp_path / "out.nii")
    header = nib.load(tmp_path / "out.nii").header
    assert (header["sform_code"], header["qform_code"]) == (0, 0)


@pytest.mark.parametrize(("largest", "dtype"), [(255, np.uint8), (256, np.uint16), (65536, np.int32)])
def test_narrowest_type(tmp_path: Path, largest: int, dtype: type) -> None:
    write(LabelMap(np.array([[0, largest]], np.int32)), tmp_path / "out.nii")
    assert nib.load(tmp_path / "out.nii").get_data_dtype() == dtype
    assert read_labels(tmp_path / "out.nii").labels.max() == largest


def test_writing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    labels = LabelMap(np.eye(8, dtype=np.int32))
    first, second = (write(labels, tmp_path / f"{i}.nii.gz").read_bytes() for i in range(2))
    assert first == second


def test_what_follows_the_voxels_is_left(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = rng.integers(0, 99, (4, 5, 6)).astype(np.int16)
    plain = save(tmp_path / "in.nii", array, np.diag([-1, -1, 1, 1])).read_bytes()
    (tmp_path / "long.nii.gz").write_bytes(gzip.compress(plain + b"notes"))
    for chunk in (1 << 24, 100):
        monkeypatch.setattr(nifti, "_CHUNK", chunk)
        pixels = np.stack([image.pixels.T for image in read(tmp_path / "long.nii.gz")], axis=2)
        np.testing.assert_array_equal(pixels, array)


def test_a_compressed_header_that_is_cut_short(tmp_path: Path) -> None:
    (tmp_path / "in.nii.gz").write_bytes(gzip.compress(b"n" * 5000)[:20])
    with pytest.raises(InputError, match=r"in\.nii\.gz: expected a whole NIfTI file"):
        nifti.read_header(tmp_path / "in.nii.gz")


def test_more_than_one_volume(tmp_path: Path, rng: np.random.Generator) -> None:
    file = save(tmp_path / "in.nii.gz", rng.normal(size=(4, 5, 6, 2)))
    with pytest.raises(
        InputError, match=r"in.nii.gz: expected one slice or one volume.*4, 5, 6, 2.*Split it"
    ):
        read(file)


@pytest.mark.parametrize("axis", [1, 2, 3])
@pytest.mark.parametrize("spacing", [0.0, -1.0, np.nan, np.inf])
def test_spacing_that_is_not_above_0(
    tmp_path: Path, spacing: float, axis: int, rng: np.random.Generator
) -> None:
    file = patched(save(tmp_path / "in.nii", rng.normal(size=(4, 5, 6))), 76 + 4 * axis, spacing)  # pixdim
    with pytest.raises(
        InputError, match=r"in.nii: expected spacing above 0 mm, found .*Set the right spacing"
    ):
        read(file)


def test_singular_affine(tmp_path: Path, rng: np.random.Generator) -> None:
    file = save(tmp_path / "in.nii", rng.normal(size=(4, 5, 6)))
    content = bytearray(file.read_bytes())
    content[280:296] = bytes(16)  # srow_x
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"in.nii: expected an invertible 4 x 4 affine"):
        read(file)


def test_colour_voxels(tmp_path: Path) -> None:
    rgb = np.zeros((4, 5, 6), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    with pytest.raises(InputError, match=r"in.nii: expected one real number a pixel"):
        read(save(tmp_path / "in.nii", rgb))


@pytest.mark.parametrize("keep", [0.01, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_truncated(tmp_path: Path, keep: float, suffix: str, rng: np.random.Generator) -> None:
    file = save(tmp_path / f"in{suffix}", rng.integers(0, 4000, (8, 9, 10)).astype(np.int16))
    content = file.read_bytes()
    file.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(InputError, match=r"in.nii(.gz)?: expected a (whole )?NIfTI file"):
        read(file)


@pytest.mark.parametrize("chunk", [nifti._CHUNK, 8 * 9 * 10 * 2])  # the last read ends where the data does
def test_checksum_of_a_compressed_file(
    tmp_path: Path, chunk: int, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nifti, "_CHUNK", chunk)
    file = save(tmp_path / "in.nii.gz", rng.integers(0, 4000, (8, 9, 10)).astype(np.int16))
    content = bytearray(file.read_bytes())
    content[-8] ^= 1
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"in.nii.gz: .*CRC check failed"):
        read(file)


def test_header_that_promises_more_than_a_small_file_can_hold(
    tmp_path: Path, rng: np.random.Generator
) -> None:
    file = save(tmp_path / "in.nii", rng.integers(0, 4000, (8, 9, 10)).astype(np.int16))
    content = bytearray(file.read_bytes())
    content[42:48] = np.array([30000, 30000, 30000], np.int16).tobytes()
    (tmp_path / "huge.nii.gz").write_bytes(gzip.compress(content))
    with pytest.raises(InputError, match=r"huge.nii.gz: .*too short for its image"):
        read(tmp_path / "huge.nii.gz")


def test_two_file_nifti(tmp_path: Path, rng: np.random.Generator) -> None:
    nib.Nifti1Pair(rng.normal(size=(4, 5, 6)), np.eye(4)).to_filename(tmp_path / "in.img")
    with pytest.raises(InputError, match=r"in.hdr: expected a NIfTI file of one piece"):
        read(tmp_path / "in.hdr")


def test_labels_with_fractions(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"in.nii: expected a label map of whole numbers, found a value of 0.5"
    ):
        read_labels(save(tmp_path / "in.nii", np.array([[[0.0, 1.0]], [[0.5, 2.0]]])))


def test_source_tells_how_to_write_back(tmp_path: Path, rng: np.random.Generator) -> None:
    file = save(tmp_path / "my scan.nii.gz", rng.normal(size=(4, 5, 6)), np.diag([1, -1, 2, 1]))
    assert read(file).source == Provenance(file, "nifti", "my_scan", (file,), (3, 2, -1), 3)


@settings(max_examples=60)
@given(
    order=st.sampled_from(AXES),
    seed=st.integers(0, 10_000),
    shape=st.sampled_from([(4, 5, 6), (6, 7), (6, 1, 7), (6, 7, 1, 1)]),
    dtype=st.sampled_from(["u1", "i2", ">i2", "i4", "f4", "f8"]),
    kind=st.sampled_from([nib.Nifti1Image, nib.Nifti2Image, nib.Nifti1Pair]),
    units=st.sampled_from(["unknown", "mm", "meter"]),
    by_qform=st.booleans(),
)
def test_image_in_memory_is_read_as_the_file_that_it_is_saved_to(
    tmp_path_factory: pytest.TempPathFactory,
    order: tuple[int, ...],
    seed: int,
    shape: tuple[int, ...],
    dtype: str,
    kind: type,
    units: str,
    by_qform: bool,
) -> None:
    file = tmp_path_factory.mktemp("n") / "a.nii"
    array = np.random.default_rng(seed).permutation(np.prod(shape)).reshape(shape).astype(dtype)
    image = kind(array, oblique_affine(order, seed))
    image.header.set_xyzt_units(units)
    if by_qform:
        image.set_qform(image.affine, 1)
        image.set_sform(None, 0)
    nib.save(image, file)
    assert_same(read(image), read(file))
    assert_same(read(nib.load(file)), read(file))
    assert_same(read_labels(image), read_labels(file))


def assert_same(image: CTSlice | CTVolume | LabelMap, oracle: CTSlice | CTVolume | LabelMap) -> None:
    """Assert that two images have the same kind, values, place and order of axes."""
    assert type(image) is type(oracle)
    for one, other in zip(
        *(image if isinstance(image, CTVolume) else [image] for image in (image, oracle)), strict=True
    ):
        values, expected = (x.labels if isinstance(x, LabelMap) else x.pixels for x in (one, other))
        np.testing.assert_array_equal(values, expected)
    assert image.geometry is not None
    assert oracle.geometry is not None
    # a NIfTI file holds an affine as float32, or as a quaternion of float32
    np.testing.assert_allclose(image.geometry.affine, oracle.geometry.affine, rtol=1e-6, atol=1e-5)
    assert image.source is not None
    assert oracle.source is not None
    assert replace(image.source, path=Path(), files=(), name="") == replace(
        oracle.source, path=Path(), files=(), name=""
    )


def test_scaled_file_that_nibabel_has_opened(tmp_path: Path, rng: np.random.Generator) -> None:
    image = nib.Nifti1Image(rng.integers(0, 200, (4, 5, 6)).astype(np.int16), np.diag([-1, -1, 1, 1]))
    image.header.set_slope_inter(0.5, -30)
    image.to_filename(tmp_path / "in.nii.gz")
    opened = nib.load(tmp_path / "in.nii.gz")
    scan = read(opened)
    assert_same(scan, read(tmp_path / "in.nii.gz"))
    assert scan.source == Provenance(tmp_path / "in.nii.gz", "nifti", "in", (), (3, 2, 1), 3)
    np.testing.assert_array_equal(scan[2].pixels, opened.get_fdata()[:, :, 2].T)
    assert read(opened, unit="grey").unit == "grey"


def test_image_in_memory_of_another_format_and_back(tmp_path: Path, rng: np.random.Generator) -> None:
    array = rng.integers(0, 9, (4, 5, 6)).astype(np.uint8)
    image = nib.MGHImage(array, oblique_affine((2, 0, 1), 7).astype(np.float32))
    labels = read_labels(image)
    nib.save(image, tmp_path / "in.nii")
    assert_same(labels, read_labels(tmp_path / "in.nii"))
    assert labels.source == Provenance(Path("nibabel image"), "nifti", "nibabel_image", (), (1, 3, 2), 3)
    after = nib.load(write(labels, tmp_path / "out.nii"))
    np.testing.assert_array_equal(np.asarray(after.dataobj), array)
    np.testing.assert_allclose(after.affine, image.affine, atol=1e-4)


def test_images_in_memory_that_cannot_be_used(rng: np.random.Generator) -> None:
    with pytest.raises(InputError, match=r"nibabel image: expected one slice or one volume.*4, 5, 6, 2"):
        read(nib.Nifti1Image(rng.normal(size=(4, 5, 6, 2)), np.eye(4)))
    with pytest.raises(InputError, match="nibabel image: expected an image of nibabel that NIfTI can hold"):
        read(nib.GiftiImage())
    with pytest.raises(UsageError, match="series: expected an input with DICOM, found nibabel image, which"):
        read(nib.Nifti1Image(rng.normal(size=(4, 5, 6)), np.eye(4)), series="1.2")


@pytest.mark.shared
def test_labels_of_the_series_lie_on_the_series(shared_data: Path, tmp_path: Path) -> None:
    truth = read_labels(shared_data / "abdomen_series" / "labels.nii.gz")
    scan = read(shared_data / "abdomen_series" / "dicom")
    assert truth.geometry is not None
    assert scan.geometry is not None
    np.testing.assert_allclose(truth.geometry.affine, scan.geometry.affine, atol=1e-3)
    assert truth.labels.shape == (20, 512, 512) == scan.shape
    written = write(replace(truth, geometry=scan.geometry, source=scan.source), tmp_path / "out.nii.gz")
    assert np.array_equal(read_labels(written).labels, truth.labels)


def test_compressed_voxels_that_end_too_early(tmp_path: Path, rng: np.random.Generator) -> None:
    plain = save(tmp_path / "in.nii", rng.integers(0, 99, (4, 5, 6)).astype(np.int16)).read_bytes()
    (tmp_path / "in.nii.gz").write_bytes(gzip.compress(plain[:-7]))  # whole as far as gzip can tell
    with pytest.raises(InputError, match=r"in\.nii\.gz: expected a whole NIfTI file, found .*too short"):
        read(tmp_path / "in.nii.gz")
