"""The order of DICOM slices, and what is doubled, missing, uneven or mixed."""

import math
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_builder import AXIAL, ramp, write_ct, write_enhanced, write_series
from fewct.errors import FewctWarning, InputError
from fewct.io.dicom.discovery import find_dicom
from fewct.io.dicom.header import DicomHeader, read_header
from fewct.io.dicom.planes import Place, Plane
from fewct.io.dicom.stack import stack_planes
from fewct.types import CTVolume

OBLIQUE = np.array([[0.8, 0.6, 0.0], [0.0, 0.0, -1.0]])


def open_series(folder: Path) -> CTVolume:
    (found,) = find_dicom(sorted(folder.iterdir()), folder)
    volume = found.open()
    assert isinstance(volume, CTVolume)
    return volume


def affine_of(volume: CTVolume) -> np.ndarray:
    assert volume.geometry is not None
    return volume.geometry.affine


def plane_at(header: DicomHeader, position: np.ndarray) -> Plane:
    place = Place(position, np.array([[0.0, 0.0, -1.0], [0.8, 0.6, 0.0]]))
    return Plane(header, 0, place, (0.8, 0.7), None, 5.0, 1.0, 0.0, "hu")


@settings(max_examples=30)
@given(order=st.permutations(range(7)), step=st.floats(0.3, 12), shear=st.floats(-0.4, 0.4))
def test_any_order_gives_one_stack_whose_affine_meets_every_position(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], step: float, shear: float
) -> None:
    header = read_header(write_ct(tmp_path_factory.mktemp("one") / "a.dcm", ramp()))
    normal = np.cross(*OBLIQUE)
    steps = step * (normal + shear * OBLIQUE[1])
    positions = [np.array([5.0, -7, 11]) + k * steps for k in range(7)]
    stack = stack_planes([plane_at(header, positions[k]) for k in order], "series")
    assert stack.geometry is not None
    for k, plane in enumerate(stack.planes):
        assert plane.place is not None
        np.testing.assert_array_equal(plane.place.position, positions[k])
        np.testing.assert_allclose((stack.geometry.affine @ [k, 0, 0, 1])[:3], positions[k], atol=1e-9)
    across = np.cross(stack.geometry.affine[:3, 2], stack.geometry.affine[:3, 1])
    assert stack.geometry.affine[:3, 0] @ across > 0


def test_oblique_slice_stands_where_its_header_says(tmp_path: Path) -> None:
    cosines = [0.8, 0.6, 0, 0, 0, -1]
    path = write_ct(tmp_path / "a.dcm", ramp(), (1, 2, 3), ImageOrientationPatient=cosines)
    geometry = find_dicom([path], path)[0].open().geometry
    assert geometry is not None
    last_pixel = geometry.affine @ [0, 5, 4, 1]
    by_hand = np.array([1, 2, 3]) + 4 * 0.7 * np.array([0.8, 0.6, 0]) + 5 * 0.8 * np.array([0, 0, -1])
    np.testing.assert_allclose(last_pixel[:3], by_hand)
    np.testing.assert_allclose(geometry.affine[:3, 0], 5 * np.cross([0.8, 0.6, 0], [0, 0, -1]))


def test_gantry_tilt_stays_in_the_affine(tmp_path: Path) -> None:
    for k in range(4):
        write_ct(tmp_path / f"{k}.dcm", ramp(), (0, -0.5 * k, 3 * k))
    np.testing.assert_allclose(affine_of(open_series(tmp_path))[:3, 0], [0, -0.5, 3])


@pytest.mark.parametrize(
    ("changes", "step"),
    [
        ({}, 5),
        ({"SpacingBetweenSlices": 2.5}, 2.5),
        ({"SliceThickness": None}, 1),
        ({"SliceThickness": None, "ImagePositionPatient": None}, 1),
        ({"ImagePositionPatient": None}, 5),
        ({"ImageOrientationPatient": ""}, 5),
    ],
)
def test_slice_step_of_a_single_image(tmp_path: Path, changes: dict[str, object], step: float) -> None:
    path = write_ct(tmp_path / "a.dcm", ramp(), (1, 2, 3), **changes)
    geometry = find_dicom([path], path)[0].open().geometry
    assert geometry is not None
    assert geometry.spacing_mm == pytest.approx((step, 0.8, 0.7))
    known = "ImagePositionPatient" not in changes and "ImageOrientationPatient" not in changes
    assert geometry.frame_of_reference_uid == ("1.2.3.4.6" if known else None)


def test_exact_copies_are_dropped_with_a_warning(tmp_path: Path) -> None:
    write_series(tmp_path, [0, 1, 2])
    write_ct(tmp_path / "copy.dcm", ramp(start=100), (-10, -20, 1), InstanceNumber=2)
    with pytest.warns(FewctWarning, match=r"left out exact copies of other images: copy\.dcm"):
        volume = open_series(tmp_path)
    assert volume.shape == (3, 6, 5)
    assert volume.source is not None
    assert [file.name for file in volume.source.files] == ["003.dcm", "002.dcm", "001.dcm"]


def test_copies_with_padding_are_copies(tmp_path: Path) -> None:
    write_series(tmp_path, [0, 1, 2], PixelPaddingValue=100)
    write_ct(tmp_path / "copy.dcm", ramp(start=100), (-10, -20, 1), PixelPaddingValue=100)
    with pytest.warns(FewctWarning, match="left out exact copies of other images: "):
        assert open_series(tmp_path).shape == (3, 6, 5)


def test_different_images_in_one_place_are_an_error(tmp_path: Path) -> None:
    write_series(tmp_path, [0, 1, 2])
    write_ct(tmp_path / "late.dcm", ramp(start=7), (-10, -20, 1), InstanceNumber=9)
    with pytest.raises(
        InputError, match=r"different images at 1 mm along the normal: 002\.dcm and late\.dcm"
    ):
        open_series(tmp_path)


def test_different_frames_in_one_place_are_an_error(tmp_path: Path) -> None:
    stored = np.stack([ramp(), ramp(start=5), ramp()])
    path = write_enhanced(tmp_path / "e.dcm", stored, [0, 0, 1], [0, 0, 0])
    with pytest.raises(
        InputError, match=r"at 0 mm along the normal: e\.dcm \(frame 1\) and e\.dcm \(frame 2\)"
    ):
        find_dicom([path], path)[0].open()


def test_missing_slices_are_named_in_a_warning(tmp_path: Path) -> None:
    write_series(tmp_path, [0, 2, 4, 10, 12, 14])
    message = (
        r"slices are missing \(2 between 004\.dcm and 003\.dcm\) in a spacing of 2 mm.*average of 2\.8 mm"
    )
    with pytest.warns(FewctWarning, match=message):
        volume = open_series(tmp_path)
    np.testing.assert_allclose(affine_of(volume) @ [5, 0, 0, 1], [-10, -20, 14, 1])


def test_uneven_spacing_is_named_in_a_warning(tmp_path: Path) -> None:
    write_series(tmp_path, [0, 2, 4, 6.7, 8.7])
    with pytest.warns(FewctWarning, match=r"uneven slice spacing of 2 to 2\.7 mm.*average of 2\.175 mm"):
        open_series(tmp_path)


@pytest.mark.parametrize(("third", "uneven"), [(6.1, False), (6.3, True)])
def test_a_step_may_differ_by_a_tenth(tmp_path: Path, third: float, uneven: bool) -> None:
    write_series(tmp_path, [0, 2, 4, third, third + 2])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        open_series(tmp_path)
    assert ["uneven slice spacing" in str(one.message) for one in caught] == [True] * uneven


def test_a_series_with_one_plane_of_grey_values_is_grey(tmp_path: Path) -> None:
    write_series(tmp_path, [0, 1, 2])
    assert open_series(tmp_path).unit == "hu"
    write_ct(tmp_path / "odd.dcm", ramp(), (-10, -20, 3), RescaleType="US")
    assert open_series(tmp_path).unit == "grey"


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"PixelSpacing": [0.85, 0.7]}, r"pixel spacings \(mm\)"),
        (
            {"ImageOrientationPatient": [1, 0, 0, 0, math.cos(math.radians(5)), math.sin(math.radians(5))]},
            "orientations",
        ),
    ],
)
def test_a_twentieth_of_a_millimetre_and_five_degrees_make_another_series(
    tmp_path: Path, changes: dict[str, object], name: str
) -> None:
    write_series(tmp_path, [0, 1, 2])
    write_ct(tmp_path / "odd.dcm", ramp(), (-10, -20, 3), **changes)
    with pytest.raises(InputError, match=f"mixed {name} in a series"):
        open_series(tmp_path)


def test_rounded_spacings_and_orientations_are_the_same(tmp_path: Path) -> None:
    write_series(tmp_path, [0, 1, 2])
    write_ct(
        tmp_path / "odd.dcm",
        ramp(),
        (-10, -20, 3),
        PixelSpacing=[0.8004, 0.7],
        ImageOrientationPatient=[1, 0, 0, 0, 1, 0.004],
    )
    assert open_series(tmp_path).shape == (4, 6, 5)


def test_slices_beside_the_line_are_named_in_a_warning(tmp_path: Path) -> None:
    for k, x in enumerate([0, 0, 4, 0]):
        write_ct(tmp_path / f"{k}.dcm", ramp(), (x, 0, 3 * k))
    with pytest.warns(FewctWarning, match="do not stand on one line, they are up to 4 mm off"):
        open_series(tmp_path)


@pytest.mark.parametrize(("x", "message"), [(0.2, []), (0.4, ["up to 0.4 mm off sideways"])])
def test_slices_may_stand_a_tenth_of_their_spacing_beside_the_line(
    tmp_path: Path, x: float, message: list[str]
) -> None:
    for k in range(5):
        write_ct(tmp_path / f"{k}.dcm", ramp(), (x if k == 2 else 0, 0, 3 * k))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        open_series(tmp_path)
    assert [str(one.message)[-len("up to 0.4 mm off sideways") :] for one in caught] == message


def test_rounded_positions_are_no_reason_to_warn(tmp_path: Path) -> None:
    write_series(tmp_path, [0, 0.62, 1.25, 1.88, 2.5, 3.12])
    assert affine_of(open_series(tmp_path))[2, 0] == pytest.approx(0.624)


def test_without_positions_slices_follow_instance_numbers_with_a_warning(tmp_path: Path) -> None:
    write_series(tmp_path, [0, 1, 2], ImagePositionPatient=None)
    with pytest.warns(FewctWarning, match="no positions; they are sorted by instance number"):
        volume = open_series(tmp_path)
    np.testing.assert_array_equal(volume[2].pixels, ramp(start=200) - 1024.0)
    assert volume.spacing_mm == pytest.approx((5, 0.8, 0.7))


def test_an_image_without_instance_number_comes_first(tmp_path: Path) -> None:
    write_series(tmp_path, [0, 1], ImagePositionPatient=None)
    write_ct(tmp_path / "late.dcm", ramp(start=900), None)
    with pytest.warns(FewctWarning, match="sorted by instance number"):
        volume = open_series(tmp_path)
    assert [int(volume[k].pixels[0, 0]) + 1024 for k in range(3)] == [900, 0, 100]


def test_without_positions_and_instance_numbers_the_order_is_unknown(tmp_path: Path) -> None:
    write_series(tmp_path, [0, 1, 2], ImagePositionPatient=None, InstanceNumber=4)
    with pytest.raises(InputError, match="3 images without positions and with doubled instance numbers"):
        open_series(tmp_path)


def test_some_positions_missing_is_an_error(tmp_path: Path) -> None:
    write_series(tmp_path, [0, 1, 2])
    write_ct(tmp_path / "lost.dcm", ramp(), None)
    with pytest.raises(
        InputError, match=r"expected a position and an orientation in every image.*none in lost\.dcm"
    ):
        open_series(tmp_path)


@pytest.mark.parametrize(
    ("stored", "changes", "message"),
    [
        (
            ramp(6, 6),
            {},
            r"mixed sizes in a series: 6 x 5 in 001\.dcm, 002\.dcm, 003\.dcm; 6 x 6 in odd\.dcm",
        ),
        (
            ramp(9, 4),
            {},
            r"mixed sizes in a series: 6 x 5 in 001\.dcm, 002\.dcm, 003\.dcm; 9 x 4 in odd\.dcm",
        ),
        (
            ramp(),
            {"PixelSpacing": [1, 1]},
            r"mixed pixel spacings \(mm\) in a series: 0\.8 x 0\.7 in .*1 x 1 in odd",
        ),
        (
            ramp(),
            {"ImageOrientationPatient": [1, 0, 0, 0, 0, -1]},
            r"mixed orientations in a series: .*in odd\.dcm",
        ),
    ],
)
def test_mixed_series_is_an_error(
    tmp_path: Path, stored: np.ndarray, changes: dict[str, object], message: str
) -> None:
    write_series(tmp_path, [0, 1, 2])
    write_ct(tmp_path / "odd.dcm", stored, (-10, -20, 3), **changes)
    with pytest.raises(InputError, match=message):
        open_series(tmp_path)


def test_a_spacing_that_one_image_lacks_is_unknown(tmp_path: Path) -> None:
    write_series(tmp_path, [0, 1])
    write_ct(tmp_path / "odd.dcm", ramp(), (-10, -20, 3), PixelSpacing=None)
    with pytest.raises(
        InputError, match=r"in a series: 0\.8 x 0\.7 in 001\.dcm, 002\.dcm; unknown in odd\.dcm"
    ):
        open_series(tmp_path)


def test_long_lists_of_names_are_cut(tmp_path: Path) -> None:
    write_series(tmp_path, range(8))
    write_ct(tmp_path / "odd.dcm", ramp(9, 4), (-10, -20, 30))
    with pytest.raises(InputError, match=r"005\.dcm and 3 more; 9 x 4"):
        open_series(tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"PixelSpacing": [0, 0.7]}, r"a\.dcm: expected PixelSpacing above 0 mm, found 0, 0\.7"),
        ({"PixelSpacing": [0.8, -0.7]}, "expected PixelSpacing above 0 mm, found 0.8, -0.7"),
        ({"PixelSpacing": [0.8]}, "expected 2 finite numbers as PixelSpacing, found 0.8"),
        ({"SliceThickness": 0}, "expected SliceThickness above 0 mm, found 0"),
        ({"SpacingBetweenSlices": -2}, "expected SpacingBetweenSlices above 0 mm, found -2"),
        ({"ImagePositionPatient": [1, 2]}, "expected 3 finite numbers as ImagePositionPatient"),
        (
            {"ImageOrientationPatient": [0, 0, 0, 0, 0, 0]},
            "two unit vectors at right angles, found 0, 0, 0, 0, 0, 0",
        ),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "two unit vectors at right angles"),
        ({"RescaleSlope": [1, 2]}, "expected 1 finite number as RescaleSlope"),
    ],
)
def test_malformed_geometry_is_an_error(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    path = write_ct(tmp_path / "a.dcm", ramp(), **changes)
    with pytest.raises(InputError, match=message):
        find_dicom([path], path)[0].open()


def test_slice_step_is_not_asked_for_where_positions_tell_it(tmp_path: Path) -> None:
    write_series(tmp_path, [0, 1, 2], SliceThickness=0, SpacingBetweenSlices=-1)
    assert open_series(tmp_path).spacing_mm == pytest.approx((1, 0.8, 0.7))


def test_value_that_is_no_number_is_an_error(tmp_path: Path) -> None:
    path = write_ct(tmp_path / "a.dcm", ramp(), PixelSpacing=[0.8125, 0.8125])
    path.write_bytes(path.read_bytes().replace(b"0.8125\\0.8125", b"0.8125\\wide!!"))
    with pytest.raises(
        InputError, match=r"a\.dcm: expected 2 finite numbers as PixelSpacing, found .*wide!!"
    ):
        find_dicom([path], path)[0].open()


def test_classic_multi_frame_file_has_spacing_but_no_place(tmp_path: Path) -> None:
    stored = np.stack([ramp(), ramp(start=50)])
    path = write_ct(tmp_path / "a.dcm", stored, NumberOfFrames=2, ImageOrientationPatient=AXIAL)
    with pytest.warns(FewctWarning, match="no positions"):
        volume = find_dicom([path], path)[0].open()
    np.testing.assert_array_equal(volume[1].pixels, stored[1] - 1024.0)
    assert volume.spacing_mm == pytest.approx((5, 0.8, 0.7))
