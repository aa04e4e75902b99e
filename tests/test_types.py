"""The records keep what they promise."""

from pathlib import Path

import numpy as np
import pytest

from fewct.errors import InputError
from fewct.types import CTSlice, CTVolume, Geometry, LabelMap, MaskProposals, MergeTree, Provenance


def test_geometry_of_a_slice_moves_along_the_slice_axis() -> None:
    oblique = np.array([[0.1, 0.0, 0.7, 5.0], [0.2, 0.8, 0.0, -3.0], [3.0, 0.1, 0.0, 9.0], [0, 0, 0, 1.0]])
    geometry = Geometry(oblique, "1.2.3")
    moved = geometry.at_slice(4)
    np.testing.assert_allclose(moved.affine @ [0, 2, 3, 1], oblique @ [4, 2, 3, 1])
    assert moved.frame_of_reference_uid == "1.2.3"
    assert moved.spacing_mm == geometry.spacing_mm


@pytest.mark.parametrize("entry", [0.0, np.nan, np.inf])
def test_geometry_refuses_a_grid_without_extent(entry: float) -> None:
    with pytest.raises(InputError, match="expected an invertible 4 x 4 affine of finite numbers"):
        Geometry.from_spacing((1.0, entry, 1.0))


def test_slice_takes_any_real_type_and_holds_float32() -> None:
    image = CTSlice(np.arange(6, dtype=np.int16).reshape(2, 3), "hu")
    assert image.pixels.dtype == np.float32
    assert image.shape == (2, 3)
    assert image.spacing_mm is None
    assert np.isnan(image.pixel_area_mm2)


@pytest.mark.parametrize(
    ("pixels", "found"),
    [
        (np.zeros((2, 3, 4)), r"shape \(2, 3, 4\)"),
        (np.zeros((0, 3)), r"shape \(0, 3\)"),
        (np.zeros((2, 3), dtype=complex), "dtype complex128"),
    ],
)
def test_slice_refuses_other_arrays(pixels: np.ndarray, found: str) -> None:
    with pytest.raises(InputError, match=f"pixels: expected .* found {found}"):
        CTSlice(pixels, "hu")


def test_volume_gives_slices_in_their_place() -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    volume = CTVolume.from_array(pixels, "grey", Geometry.from_spacing((5.0, 2.0, 1.0)))
    last = volume[-1]
    np.testing.assert_array_equal(last.pixels, pixels[1])
    assert last.geometry is not None
    assert last.geometry.affine[2, 3] == 5.0
    assert last.pixel_area_mm2 == 2.0
    assert [plane.pixels[0, 0] for plane in volume] == [0, 12]
    with pytest.raises(IndexError, match="slice 2 of a volume of 2"):
        volume[2]


def test_volume_refuses_one_slice() -> None:
    with pytest.raises(InputError, match=r"expected a non-empty array \(slices, rows, columns\)"):
        CTVolume.from_array(np.zeros((3, 4)), "grey")


def test_proposals_keep_and_restore() -> None:
    crops = (np.array([[True, False], [True, True]]), np.array([[True]]))
    boxes = np.array([[1, 0, 3, 2], [0, 2, 1, 3]])
    proposals = MaskProposals((3, 4), boxes, crops, np.array([0.5, 0.9], dtype=np.float32))
    assert proposals.areas.tolist() == [3, 1]
    assert proposals.mask(0).tolist() == [
        [False, True, False, False],
        [False, True, True, False],
        [False, False, False, False],
    ]
    second = proposals.keep(np.array([False, True]))
    assert len(second) == 1
    assert second.boxes_xyxy.tolist() == [[0, 2, 1, 3]]
    assert second.scores.tolist() == [np.float32(0.9)]


SCAN = CTVolume.from_array(
    np.arange(5 * 3 * 4, dtype=np.int16).reshape(5, 3, 4), "hu", Geometry.from_spacing((2.0, 0.5, 0.8))
)


@pytest.mark.parametrize(
    "chosen", [slice(1, 4), slice(None, None, 2), slice(-2, None), slice(None, None, -1)]
)
def test_part_of_a_scan(chosen: slice) -> None:
    part, whole = SCAN[chosen], np.asarray(SCAN)
    np.testing.assert_array_equal(np.asarray(part), whole[chosen])
    for plane, index in zip(part, range(5)[chosen], strict=True):
        assert plane.geometry is not None
        assert SCAN[index].geometry is not None
        np.testing.assert_allclose(plane.geometry.affine[:3, 3], SCAN[index].geometry.affine[:3, 3])


def test_part_of_a_series_keeps_its_files() -> None:
    files = tuple(Path(f"{k}.dcm") for k in range(5))
    series = CTVolume(
        SCAN.shape, SCAN.load, "hu", SCAN.geometry, Provenance(Path("scan"), "dicom", "scan", files)
    )
    part = series[1:3]
    assert part.source is not None
    assert part.source.files == files[1:3]


def test_no_slices_are_no_scan() -> None:
    with pytest.raises(InputError, match=r"a non-empty array .* found shape \(0, 3, 4\)"):
        SCAN[3:3]


def test_arrays_of_records() -> None:
    assert np.asarray(SCAN).dtype == np.float32
    np.testing.assert_array_equal(np.asarray(SCAN[2], dtype=np.int64), np.arange(24, 36).reshape(3, 4))
    np.testing.assert_array_equal(np.asarray(LabelMap(np.eye(3, dtype=np.uint8))), np.eye(3))


def test_records_show_themselves() -> None:
    assert repr(SCAN) == "CTVolume(5 x 3 x 4 voxels of 2 x 0.5 x 0.8 mm, hu)"
    assert repr(SCAN[0]) == "CTSlice(3 x 4 px of 0.5 x 0.8 mm, hu)"
    labels = LabelMap(np.array([[0, 7], [9, 9]]))
    assert repr(labels) == "LabelMap(2 x 2 px, 2 labels)"
    for record in (SCAN, SCAN[0], labels, LabelMap(np.ones((2, 2, 2), int))):
        assert record._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([[-1.5, 2.0]]), "expected integer labels"),
        (np.array([[-1, 2]]), "expected labels of 0 .* or more, found a smallest label of -1"),
        (np.array([[2**31]]), "expected labels up to 2147483647, found a largest label of 2147483648"),
        (np.zeros((2, 2, 2, 2), int), "a non-empty label map"),
    ],
)
def test_label_maps_guard_themselves(labels: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        LabelMap(labels)


def test_label_maps_are_kept_as_int32() -> None:
    assert LabelMap(np.array([[True, False]])).labels.dtype == np.int32
    labels = np.zeros((2, 2), np.int32)
    assert LabelMap(labels).labels is labels


def test_proposals_and_trees_guard_themselves() -> None:
    with pytest.raises(InputError, match="expected for each box a crop of its size and a score"):
        MaskProposals((4, 4), np.array([[0, 0, 2, 2]]), (np.ones((2, 3), bool),), np.ones(1, np.float32))
    with pytest.raises(InputError, match="merge tree: expected leaves numbered"):
        MergeTree(np.ones((1, 2), np.int32), np.array([2, 2, 2]), np.zeros(3))
