"""DICOM-SEG out and back in: labels, ids, places and references survive."""

import shutil
import zipfile
from pathlib import Path

import highdicom
import nibabel
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file

from dicom_builder import ramp, write_ct, write_enhanced, write_series
from fewct.errors import FewctWarning, InputError, OutputError
from fewct.io.dicom.discovery import find_dicom
from fewct.io.dicom.seg_reading import read_dicom_seg
from fewct.io.dicom.seg_writing import write_dicom_seg
from fewct.types import CTSlice, CTVolume, Geometry, LabelMap, Provenance


def open_folder(folder: Path) -> CTVolume | CTSlice:
    return find_dicom(sorted(folder.iterdir()), folder)[0].open()


def some_labels() -> np.ndarray:
    """Return labels of three structures: 3 in all slices, 7 in some, the largest id in one."""
    labels = np.zeros((4, 6, 5), dtype=np.int32)
    labels[:, 1:3, 1:3] = 3
    labels[1:3, 4, :] = 7
    labels[2, 0, 4] = 2147483647
    return labels


def labels_on(ct: CTSlice | CTVolume, labels: np.ndarray) -> LabelMap:
    return LabelMap(labels, ct.geometry, ct.source)


def same_place(first: Geometry | None, second: Geometry | None) -> None:
    assert first is not None
    assert second is not None
    np.testing.assert_allclose(first.affine, second.affine, atol=1e-9)
    assert first.frame_of_reference_uid == second.frame_of_reference_uid


def test_series_round_trip(tmp_path: Path) -> None:
    write_series(tmp_path / "series", [0, 2.5, 5, 7.5])
    volume = open_folder(tmp_path / "series")
    write_dicom_seg(labels_on(volume, some_labels()), tmp_path / "seg.dcm")
    back = read_dicom_seg(tmp_path / "seg.dcm")
    np.testing.assert_array_equal(back.labels, some_labels())
    assert back.labels.dtype == np.int32
    same_place(back.geometry, volume.geometry)
    assert back.source == Provenance(tmp_path / "seg.dcm", "dicom", "seg", (tmp_path / "seg.dcm",))


def test_highdicom_reads_what_was_written(tmp_path: Path) -> None:
    files = write_series(tmp_path / "series", [0, 2.5, 5, 7.5])
    volume = open_folder(tmp_path / "series")
    write_dicom_seg(labels_on(volume, some_labels()), tmp_path / "seg.dcm")
    segmentation = highdicom.seg.segread(tmp_path / "seg.dcm")
    assert segmentation.segmentation_type.value == "BINARY"
    assert segmentation.FrameOfReferenceUID == "1.2.3.4.6"
    assert segmentation.StudyInstanceUID == "1.2.3.4"
    assert segmentation.SeriesDescription == "fewct structures"
    assert segmentation.ContentDescription == "fewct structures"
    assert segmentation.ContentLabel == "STRUCTURES"
    assert segmentation.PatientID == "P1"
    labels = [segment.SegmentLabel for segment in segmentation.SegmentSequence]
    assert labels == ["Structure 3", "Structure 7", "Structure 2147483647"]
    assert {segment.SegmentAlgorithmType for segment in segmentation.SegmentSequence} == {"AUTOMATIC"}
    assert segmentation.NumberOfFrames == 4 + 2 + 1
    uids = [dcmread(file).SOPInstanceUID for file in files]
    pixels = segmentation.get_pixels_by_source_instance(uids, combine_segments=True)
    renumbered = np.select([some_labels() == 3, some_labels() == 7, some_labels() == 2147483647], [1, 2, 3])
    np.testing.assert_array_equal(pixels, renumbered)


def test_rounding_of_positions_moves_no_slice(tmp_path: Path) -> None:
    write_series(tmp_path / "series", [0, 2.05, 4.1, 6.15])  # 2.05 / 6.15 * 3 is just below 1
    volume = open_folder(tmp_path / "series")
    write_dicom_seg(labels_on(volume, some_labels()), tmp_path / "seg.dcm")
    np.testing.assert_array_equal(read_dicom_seg(tmp_path / "seg.dcm").labels, some_labels())


def test_slices_without_structures_leave_the_others_in_place(tmp_path: Path) -> None:
    write_series(tmp_path / "series", [0, 2, 4, 6, 8, 10])
    volume = open_folder(tmp_path / "series")
    labels = np.zeros((6, 6, 5), dtype=np.int32)
    labels[1, 2, 2], labels[4, 3, 3] = 1, 2
    write_dicom_seg(labels_on(volume, labels), tmp_path / "seg.dcm")
    back = read_dicom_seg(tmp_path / "seg.dcm")
    np.testing.assert_array_equal(back.labels, labels[1:5])
    assert volume.geometry is not None
    same_place(back.geometry, volume.geometry.at_slice(1))


def test_single_slice_round_trip(tmp_path: Path) -> None:
    path = write_ct(tmp_path / "a.dcm", ramp(), (1, 2, 3))
    ct = find_dicom([path], path)[0].open()
    labels = some_labels()[2]
    write_dicom_seg(labels_on(ct, labels), tmp_path / "seg.dcm")
    back = read_dicom_seg(tmp_path / "seg.dcm")
    np.testing.assert_array_equal(back.labels, labels)
    same_place(back.geometry, ct.geometry)


def test_slice_of_a_volume_refers_to_its_own_image(tmp_path: Path) -> None:
    files = write_series(tmp_path / "series", [0, 2, 4])
    volume = open_folder(tmp_path / "series")
    assert isinstance(volume, CTVolume)
    write_dicom_seg(labels_on(volume[1], some_labels()[2]), tmp_path / "seg.dcm")
    same_place(read_dicom_seg(tmp_path / "seg.dcm").geometry, volume[1].geometry)
    references = dcmread(tmp_path / "seg.dcm").ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert [reference.ReferencedSOPInstanceUID for reference in references] == [
        dcmread(files[1]).SOPInstanceUID
    ]


def test_enhanced_source_keeps_its_frames(tmp_path: Path) -> None:
    heights = [5, 0, 2.5, 7.5]
    stored = np.stack([ramp(start=100 * k) for k in range(4)])
    path = write_enhanced(tmp_path / "e.dcm", stored, heights, [0] * 4)
    volume = find_dicom([path], path)[0].open()
    write_dicom_seg(labels_on(volume, some_labels()), tmp_path / "seg.dcm")
    back = read_dicom_seg(tmp_path / "seg.dcm")
    np.testing.assert_array_equal(back.labels, some_labels())
    same_place(back.geometry, volume.geometry)
    segmentation = highdicom.seg.segread(tmp_path / "seg.dcm")
    uid = dcmread(path).SOPInstanceUID
    pixels = segmentation.get_pixels_by_source_frame(uid, [3], combine_segments=True)
    np.testing.assert_array_equal(pixels[0] > 0, some_labels()[1] > 0)


def test_enhanced_source_with_measures_in_each_frame(tmp_path: Path) -> None:
    path = write_enhanced(tmp_path / "e.dcm", np.stack([ramp(), ramp(start=9)]), [0, 2.5], [0, 0])
    dataset = dcmread(path)
    shared = dataset.SharedFunctionalGroupsSequence[0]
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        frame.PixelMeasuresSequence = shared.PixelMeasuresSequence
        frame.PlaneOrientationSequence = shared.PlaneOrientationSequence
    del shared.PixelMeasuresSequence, shared.PlaneOrientationSequence
    dataset.save_as(path)
    volume = find_dicom([path], path)[0].open()
    write_dicom_seg(labels_on(volume, some_labels()[1:3]), tmp_path / "seg.dcm")
    np.testing.assert_array_equal(read_dicom_seg(tmp_path / "seg.dcm").labels, some_labels()[1:3])


def test_source_in_a_zip(tmp_path: Path) -> None:
    files = write_series(tmp_path / "series", [0, 1, 2, 3])
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for file in files:
            archive.write(file, file.name)
    members = list(zipfile.Path(tmp_path / "a.zip").iterdir())
    volume = find_dicom(members, tmp_path / "a.zip")[0].open()
    write_dicom_seg(labels_on(volume, some_labels()), tmp_path / "seg.dcm")
    np.testing.assert_array_equal(read_dicom_seg(tmp_path / "seg.dcm").labels, some_labels())


def test_tilted_gantry_round_trip(tmp_path: Path) -> None:
    (tmp_path / "series").mkdir()
    for k in range(4):
        write_ct(tmp_path / "series" / f"{k}.dcm", ramp(), (0, -0.5 * k, 3 * k))
    volume = open_folder(tmp_path / "series")
    write_dicom_seg(labels_on(volume, some_labels()), tmp_path / "seg.dcm")
    back = read_dicom_seg(tmp_path / "seg.dcm")
    np.testing.assert_array_equal(back.labels, some_labels())
    same_place(back.geometry, volume.geometry)


def test_missing_slice_of_the_source_becomes_an_empty_slice(tmp_path: Path) -> None:
    write_series(tmp_path / "series", [0, 2, 4, 8])
    with pytest.warns(FewctWarning, match="slices are missing"):
        volume = open_folder(tmp_path / "series")
    write_dicom_seg(labels_on(volume, some_labels()), tmp_path / "seg.dcm")
    back = read_dicom_seg(tmp_path / "seg.dcm")
    np.testing.assert_array_equal(back.labels[[0, 1, 2, 4]], some_labels())
    assert not back.labels[3].any()
    assert back.geometry is not None
    assert back.geometry.spacing_mm[0] == pytest.approx(2)


def test_uneven_source_is_read_back_with_a_warning(tmp_path: Path) -> None:
    write_series(tmp_path / "series", [0, 2, 4.7, 6.7])
    with pytest.warns(FewctWarning, match="uneven"):
        volume = open_folder(tmp_path / "series")
    write_dicom_seg(labels_on(volume, some_labels()), tmp_path / "seg.dcm")
    with pytest.warns(FewctWarning, match=r"seg\.dcm: uneven slice spacing of 2 to 2\.7 mm"):
        back = read_dicom_seg(tmp_path / "seg.dcm")
    np.testing.assert_array_equal(back.labels, some_labels())
    same_place(back.geometry, volume.geometry)


def test_empty_label_map_becomes_one_empty_segment(tmp_path: Path) -> None:
    write_series(tmp_path / "series", [0, 2, 4, 6])
    volume = open_folder(tmp_path / "series")
    write_dicom_seg(labels_on(volume, np.zeros((4, 6, 5), dtype=np.int32)), tmp_path / "seg.dcm")
    assert [segment.SegmentLabel for segment in dcmread(tmp_path / "seg.dcm").SegmentSequence] == [
        "No structures"
    ]
    back = read_dicom_seg(tmp_path / "seg.dcm")
    assert back.labels.shape == (4, 6, 5)
    assert not back.labels.any()
    same_place(back.geometry, volume.geometry)


def test_blank_identity_is_filled_and_uids_are_derived_the_same_each_time(tmp_path: Path) -> None:
    blank = dict.fromkeys(("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"), "")
    odd = {"FrameOfReferenceUID": None, "SliceThickness": None, "Modality": None, "PatientSex": "X"}
    write_series(tmp_path / "series", [0, 2, 4, 6], **blank, **odd, RescaleType="HU")
    volume = open_folder(tmp_path / "series")
    for name in "ab":
        message = "no StudyInstanceUID, SeriesInstanceUID, FrameOfReferenceUID; derived"
        with pytest.warns(FewctWarning, match=message):
            write_dicom_seg(labels_on(volume, some_labels()), tmp_path / f"{name}.dcm")
    first, second = dcmread(tmp_path / "a.dcm"), dcmread(tmp_path / "b.dcm")
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"):
        assert first[keyword].value == second[keyword].value != ""
    assert first.PatientSex == ""
    assert first.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SliceThickness == 1
    assert volume.source is not None
    meta_uids = {dcmread(file).file_meta.MediaStorageSOPInstanceUID for file in volume.source.files}
    references = first.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert {reference.ReferencedSOPInstanceUID for reference in references} == meta_uids
    np.testing.assert_array_equal(read_dicom_seg(tmp_path / "a.dcm").labels, some_labels())


def test_image_without_any_identity_is_referred_to_by_its_content(tmp_path: Path) -> None:
    names = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID", "PatientID")
    path = write_ct(tmp_path / "a.dcm", ramp(), **dict.fromkeys(names), Modality=None)
    dataset = dcmread(path)
    del dataset.file_meta.MediaStorageSOPInstanceUID
    dataset.save_as(path, enforce_file_format=False)
    ct = find_dicom([path], path)[0].open()
    for name in "bc":
        with pytest.warns(FewctWarning, match="derived"):
            write_dicom_seg(labels_on(ct, some_labels()[2]), tmp_path / f"{name}.dcm")
    first, second = dcmread(tmp_path / "b.dcm"), dcmread(tmp_path / "c.dcm")
    assert first.StudyInstanceUID == second.StudyInstanceUID
    assert first.ReferencedSeriesSequence == second.ReferencedSeriesSequence
    dataset.PixelData = ramp(start=1).tobytes()
    dataset.save_as(path, enforce_file_format=False)
    other = find_dicom([path], path)[0].open()
    with pytest.warns(FewctWarning, match="derived"):
        write_dicom_seg(labels_on(other, some_labels()[2]), tmp_path / "d.dcm")
    assert dcmread(tmp_path / "d.dcm").StudyInstanceUID != first.StudyInstanceUID


def test_source_without_place_in_the_patient(tmp_path: Path) -> None:
    path = write_ct(tmp_path / "a.dcm", ramp(), None, ImageOrientationPatient=None)
    ct = find_dicom([path], path)[0].open()
    write_dicom_seg(labels_on(ct, some_labels()[2]), tmp_path / "seg.dcm")
    back = read_dicom_seg(tmp_path / "seg.dcm")
    np.testing.assert_array_equal(back.labels, some_labels()[2])
    same_place(back.geometry, ct.geometry)


def test_real_ct_slice_round_trip(tmp_path: Path) -> None:
    path = Path(get_testdata_file("CT_small.dcm"))
    ct = find_dicom([path], path)[0].open()
    labels = (np.arange(128 * 128).reshape(128, 128) // 4096).astype(np.int32)
    write_dicom_seg(labels_on(ct, labels), tmp_path / "seg.dcm")
    np.testing.assert_array_equal(read_dicom_seg(tmp_path / "seg.dcm").labels, labels)


@pytest.mark.parametrize(
    ("source", "message"),
    [(None, "found no source"), (Provenance(Path("a.png"), "image", "a"), "found a source of format image")],
)
def test_labels_that_are_not_from_dicom_cannot_be_written(
    tmp_path: Path, source: Provenance | None, message: str
) -> None:
    with pytest.raises(OutputError, match=message):
        write_dicom_seg(LabelMap(some_labels(), None, source), tmp_path / "seg.dcm")
    assert not (tmp_path / "seg.dcm").exists()


@pytest.mark.parametrize("labels", [some_labels()[:3], np.zeros((4, 5, 6), dtype=np.int32)])
def test_labels_must_stand_on_their_source(tmp_path: Path, labels: np.ndarray) -> None:
    write_series(tmp_path / "series", [0, 2, 4, 6])
    volume = open_folder(tmp_path / "series")
    with pytest.raises(OutputError, match="expected labels on the slices of their source, 6 x 5 pixels each"):
        write_dicom_seg(LabelMap(labels, None, volume.source), tmp_path / "seg.dcm")


def test_too_many_structures_cannot_be_written(tmp_path: Path) -> None:
    path = write_ct(tmp_path / "a.dcm", np.zeros((260, 260), dtype=np.int16))
    ct = find_dicom([path], path)[0].open()
    labels = np.arange(260 * 260, dtype=np.int32).reshape(260, 260)
    with pytest.raises(OutputError, match="expected at most 65535 structures in a DICOM-SEG, found 67599"):
        write_dicom_seg(labels_on(ct, labels), tmp_path / "seg.dcm")


def test_source_that_cannot_carry_a_segmentation_is_named(tmp_path: Path) -> None:
    path = write_ct(tmp_path / "a.dcm", ramp(), SOPClassUID="1.2.3", RescaleType="HU")
    ct = find_dicom([path], path)[0].open()
    with pytest.raises(OutputError, match="expected source images whose headers can carry a DICOM-SEG"):
        write_dicom_seg(labels_on(ct, some_labels()[2]), tmp_path / "seg.dcm")


def test_source_that_is_gone_is_an_error(tmp_path: Path) -> None:
    write_series(tmp_path / "series", [0, 2, 4, 6])
    volume = open_folder(tmp_path / "series")
    shutil.rmtree(tmp_path / "series")
    with pytest.raises(InputError, match=r"\.dcm: expected a readable DICOM file, found .*No such file"):
        write_dicom_seg(labels_on(volume, some_labels()), tmp_path / "seg.dcm")


@pytest.mark.shared
def test_real_series_round_trip(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "abdomen_series" / "dicom"
    volume = open_folder(folder)
    stored = np.asarray(nibabel.load(folder.parent / "labels.nii.gz").dataobj)
    labels = np.ascontiguousarray(stored.transpose(2, 1, 0)[:, ::-1]).astype(np.int32)
    with pytest.warns(FewctWarning, match="no StudyInstanceUID, SeriesInstanceUID; derived"):
        write_dicom_seg(labels_on(volume, labels), tmp_path / "seg.dcm")
    back = read_dicom_seg(tmp_path / "seg.dcm")
    np.testing.assert_array_equal(back.labels, labels)
    same_place(back.geometry, volume.geometry)


@pytest.mark.parametrize("first", [0, -60, 50])
@pytest.mark.parametrize("step", [slice(None, None, -1), slice(3, 0, -2), slice(1, 3), slice(0, None, 2)])
def test_labels_of_part_of_a_scan_lie_on_its_slices(tmp_path: Path, step: slice, first: float) -> None:
    write_series(tmp_path / "series", [first, first + 2, first + 4, first + 6])
    volume = open_folder(tmp_path / "series")
    assert isinstance(volume, CTVolume)
    part, labels = volume[step], some_labels()[step]
    write_dicom_seg(labels_on(part, labels), tmp_path / "seg.dcm")
    back = read_dicom_seg(tmp_path / "seg.dcm")
    ascending = labels if (step.step or 1) > 0 else labels[::-1]
    np.testing.assert_array_equal(back.labels, ascending)


@pytest.mark.parametrize("step", [slice(1, 3), slice(2, 0, -1)])
def test_labels_of_some_frames_lie_on_them(tmp_path: Path, step: slice) -> None:
    stored = np.stack([ramp(start=100 * k) for k in range(4)])
    path = write_enhanced(tmp_path / "e.dcm", stored, [40, 42.5, 45, 47.5], [0] * 4)
    volume = find_dicom([path], path)[0].open()
    assert isinstance(volume, CTVolume)
    part, labels = volume[step], some_labels()[step]
    write_dicom_seg(labels_on(part, labels), tmp_path / "seg.dcm")
    back = read_dicom_seg(tmp_path / "seg.dcm")
    np.testing.assert_array_equal(back.labels, labels if step.step is None else labels[::-1])
    assert part.geometry is not None
    assert back.geometry is not None
    lowest = part.geometry.affine[2, 3] + min(0, part.geometry.affine[2, 0])
    assert back.geometry.affine[2, 3] == pytest.approx(lowest)


def test_one_structure_on_one_slice_is_one_frame(tmp_path: Path) -> None:
    write_series(tmp_path / "series", [0, 2, 4])
    volume = open_folder(tmp_path / "series")
    labels = np.zeros((3, 6, 5), dtype=np.int32)
    labels[1, 2:4, 1:3] = 5
    write_dicom_seg(labels_on(volume, labels), tmp_path / "seg.dcm")
    np.testing.assert_array_equal(read_dicom_seg(tmp_path / "seg.dcm").labels, labels[1])
