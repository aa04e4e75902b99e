"""The records keep what they promise."""

import numpy as np
import pytest

from fewct.errors import InputError
from fewct.types import CTSlice, CTVolume, Geometry, MaskProposals


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
