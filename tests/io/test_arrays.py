"""NPY and NPZ."""

import json
from dataclasses import astuple, fields
from pathlib import Path

import numpy as np
import pytest

from fewct.errors import InputError
from fewct.imaging.cleanup import Cleanup
from fewct.imaging.region_tree import RegionCut, RegionTree
from fewct.io import read, read_labels, write
from fewct.result import Segmentation
from fewct.types import CTSlice, CTVolume, Geometry, LabelMap, Manifest, MergeTree, Structure

SLICE = np.random.default_rng(6).normal(0, 300, (6, 7))
SCAN = np.random.default_rng(6).normal(0, 300, (4, 6, 7)).astype(np.float32)
NAN = float("nan")


def save_npz(file: Path, **arrays: object) -> Path:
    np.savez(file, **arrays)
    return file


def test_npy_slice_with_padding(tmp_path: Path) -> None:
    pixels = SLICE.copy()
    pixels[0] = np.nan
    np.save(tmp_path / "a.npy", pixels)
    image = read(tmp_path / "a.npy")
    assert isinstance(image, CTSlice)
    np.testing.assert_array_equal(image.pixels, pixels.astype(np.float32))
    assert (image.geometry, image.unit) == (None, "hu")


def test_npy_volume_is_read_on_demand(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", SCAN)
    scan = read(tmp_path / "a.npy")
    assert isinstance(scan, CTVolume)
    np.testing.assert_array_equal(np.stack([image.pixels for image in scan]), SCAN)


@pytest.mark.parametrize("key", ["image", "anything"])
def test_npz_with_affine(tmp_path: Path, key: str) -> None:
    affine = np.array([[0, 0, 0.7, 5], [0, 0.8, 0, 6], [3.0, 0, 0, 7], [0, 0, 0, 1]])
    scan = read(save_npz(tmp_path / "a.npz", **{key: SCAN, "affine": affine}))
    assert scan.geometry is not None
    np.testing.assert_array_equal(scan.geometry.affine, affine)
    assert scan.spacing_mm == (3.0, 0.8, 0.7)


@pytest.mark.parametrize(
    ("spacing", "expected"), [([0.8, 0.7], (1, 0.8, 0.7)), ([5, 0.8, 0.7], (5, 0.8, 0.7))]
)
def test_npz_with_spacing(tmp_path: Path, spacing: list[float], expected: tuple[float, ...]) -> None:
    scan = read(save_npz(tmp_path / "a.npz", image=SCAN, spacing_mm=spacing))
    assert scan.geometry is not None
    assert scan.geometry.spacing_mm == pytest.approx(expected)


def test_npz_of_image_and_labels(tmp_path: Path, rng: np.random.Generator) -> None:
    labels = rng.integers(0, 400, SCAN.shape)
    file = save_npz(tmp_path / "a.npz", image=SCAN, label=labels, z=np.arange(4))
    assert read(file).shape == SCAN.shape
    np.testing.assert_array_equal(read_labels(file).labels, labels)


@pytest.mark.parametrize(
    ("arrays", "match"),
    [
        ({"a": SLICE, "b": SLICE}, "an array called image, or only one array, found a, b. Save the array"),
        ({"spacing_mm": [1, 2]}, "an array called image, or only one array, found spacing_mm"),
        ({}, "found no array"),
        ({"image": SCAN, "spacing_mm": [0.0, 1, 1]}, r"spacing_mm of 2 or 3 numbers above 0, found \[0"),
        ({"image": SCAN, "spacing_mm": [1.0]}, r"spacing_mm of 2 or 3 numbers above 0, found \[1"),
        ({"image": SCAN, "spacing_mm": ["a", "b"]}, "spacing_mm of 2 or 3 numbers above 0"),
        ({"image": SCAN, "affine": np.zeros((4, 4))}, "an invertible 4 x 4 affine"),
        ({"image": np.array([{}, {}])}, "a whole NPY or NPZ file of numbers, found Object arrays"),
        ({"image": np.zeros(5)}, r"\(slices, rows, columns\), found shape \(5,\)"),
        ({"image": np.zeros((0, 5))}, r"found shape \(0, 5\)"),
        ({"image": np.zeros((2, 3, 4, 5))}, "found shape"),
        ({"image": np.zeros((20, 30, 3), np.uint8)}, r"one value a pixel, found a colour image of shape"),
        ({"image": np.array([["a", "b"]])}, "one real number a pixel, found values of type <U1"),
    ],
)
def test_npz_that_cannot_be_read(tmp_path: Path, arrays: dict[str, object], match: str) -> None:
    with pytest.raises(InputError, match=rf"a\.npz: expected .*{match}"):
        read(save_npz(tmp_path / "a.npz", **arrays))


def test_objects_in_npy(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{}, []], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"a\.npy: expected a whole NPY or NPZ file of numbers"):
        read(tmp_path / "a.npy")


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
@pytest.mark.parametrize("keep", [0.1, 0.5, 0.95])
def test_truncated(tmp_path: Path, suffix: str, keep: float) -> None:
    file = tmp_path / f"a{suffix}"
    np.save(file, SCAN) if suffix == ".npy" else np.savez_compressed(file, image=SCAN)
    content = file.read_bytes()
    file.write_bytes(content[: int(keep * len(content))])
    with pytest.raises(InputError, match=rf"a{suffix}: expected a whole NPY or NPZ file"):
        read(file)


def segmentation() -> Segmentation:
    labels = np.array([[0, 1, 1], [2, 2, 0]], np.int32)
    rows = tuple(Structure(i, 2, NAN, NAN, 0, 0, 0, 3, 1, 1, 1.5, 0.0, 0.0, 40.25, 0.75, NAN) for i in (1, 2))
    manifest = Manifest("0.1.0", "mosaic", {"level": 0.3}, None, "ab", "hu", {"segment": 1.5})
    tree = MergeTree(labels, np.array([2, 2, 2]), np.array([0, 0, 0.5]))
    geometry = Geometry(Geometry.from_spacing((5.0, 0.8, 0.7)).affine, "1.2.3")
    regions = RegionTree(tree, CTSlice(np.zeros((2, 3)), "grey"), labels > 0, labels > 0, 0.0, Cleanup())
    cut = RegionCut(regions, labels, np.zeros(2, np.float32), np.zeros(tree.n_leaves, np.int32))
    return Segmentation(labels, geometry, structures=rows, manifest=manifest, cut=cut)


def test_whole_result(tmp_path: Path) -> None:
    result = segmentation()
    with np.load(write(result, tmp_path / "a.npz"), allow_pickle=False) as arrays:
        stored = dict(arrays)
    np.testing.assert_array_equal(stored["labels"], result.labels)
    assert stored["structures"].dtype.names == tuple(column.name for column in fields(Structure))
    np.testing.assert_array_equal(
        np.array([list(row) for row in stored["structures"]]),
        np.array([astuple(row) for row in result.structures]),
    )
    assert stored["structures"]["id"].dtype == np.int64
    manifest = json.loads(str(stored["manifest"]))
    assert (manifest["configuration"], manifest["seconds"]) == ({"level": 0.3}, {})
    assert result.tree is not None
    for name in ("leaves", "parents", "levels"):
        np.testing.assert_array_equal(stored[f"tree_{name}"], getattr(result.tree, name))
    assert stored["spacing_mm"].tolist() == pytest.approx([5, 0.8, 0.7])


def test_labels_and_place_return(tmp_path: Path) -> None:
    result = segmentation()
    again = read_labels(write(result, tmp_path / "a.npz"))
    np.testing.assert_array_equal(again.labels, result.labels)
    assert again.geometry is not None
    assert result.geometry is not None
    np.testing.assert_array_equal(again.geometry.affine, result.geometry.affine)
    assert again.geometry.frame_of_reference_uid == "1.2.3"


def test_label_map_alone(tmp_path: Path) -> None:
    with np.load(write(LabelMap(np.eye(3, dtype=np.int32)), tmp_path / "a.npz")) as arrays:
        assert arrays.files == ["labels"]
