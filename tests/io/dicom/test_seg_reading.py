"""DICOM-SEG of other software: kinds, ids, overlaps and damage."""

import copy
from pathlib import Path

import highdicom
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.uid import generate_uid

from dicom_builder import ramp, write_ct, write_series
from fewct.errors import FewctWarning, InputError
from fewct.io.dicom.seg_reading import read_dicom_seg


def test_segmentation_of_other_software_keeps_segment_numbers() -> None:
    path = Path(get_testdata_file("liver_1frame.dcm"))
    label_map = read_dicom_seg(path)
    expected = dcmread(path).pixel_array
    np.testing.assert_array_equal(label_map.labels, expected)


def foreign_segmentation(folder: Path, kind: str, pixels: np.ndarray) -> Path:
    """Write a segmentation of another kind with highdicom, on three axial slices."""
    files = write_series(folder / "series", [0, 2, 4])
    sources = [dcmread(file) for file in files]
    for source in sources:
        for keyword in ("PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID"):
            setattr(source, keyword, "")
        source.StudyDate = source.StudyTime = ""
    algorithm = highdicom.AlgorithmIdentificationSequence(
        "other", highdicom.sr.CodedConcept("123110", "DCM", "Artificial Intelligence"), "1"
    )
    concept = highdicom.sr.CodedConcept("91723000", "SCT", "Anatomical Structure")
    segments = [
        highdicom.seg.SegmentDescription(number, name, concept, concept, "AUTOMATIC", algorithm)
        for number, name in enumerate(["Liver", "Spleen"], start=1)
    ]
    segmentation = highdicom.seg.Segmentation(
        sources, pixels, kind, segments, generate_uid(), 1, generate_uid(), 1, "x", "x", "1", "1"
    )
    segmentation.save_as(folder / "seg.dcm")
    return folder / "seg.dcm"


def two_segments() -> np.ndarray:
    labels = np.zeros((3, 6, 5), dtype=np.uint8)
    labels[:, 1, 1], labels[1:, 3, 3] = 1, 2
    return labels


def test_label_map_segmentation_is_read(tmp_path: Path) -> None:
    path = foreign_segmentation(tmp_path, "LABELMAP", two_segments())
    np.testing.assert_array_equal(read_dicom_seg(path).labels, two_segments())


def test_fractional_segmentation_is_cut_at_half(tmp_path: Path) -> None:
    shares = np.stack([two_segments() == 1, two_segments() == 2], axis=-1) * np.array([0.6, 0.4])
    path = foreign_segmentation(tmp_path, "FRACTIONAL", shares)
    np.testing.assert_array_equal(read_dicom_seg(path).labels, np.where(two_segments() == 1, 1, 0))


def test_a_fractional_value_of_exactly_half_is_inside(tmp_path: Path) -> None:
    shares = np.stack([two_segments() == 1, two_segments() == 2], axis=-1) * np.array([1.0, 0.5])
    path = foreign_segmentation(tmp_path, "FRACTIONAL", shares)
    dataset = dcmread(path)
    dataset.MaximumFractionalValue = 200
    dataset.PixelData = bytes({0: 0, 255: 200}.get(value, 100) for value in dataset.PixelData)
    dataset.save_as(path)
    np.testing.assert_array_equal(read_dicom_seg(path).labels, two_segments())


@pytest.mark.parametrize(
    ("labels", "ids"),
    [
        (("Structure 9", "Structure 4"), (9, 4)),
        ((" Structure 9", "Structure 4"), (9, 4)),
        (("Structure 9", "Structure 9"), (1, 2)),
        (("Structure 9", "Liver"), (1, 2)),
    ],
)
def test_ids_come_from_segment_labels_only_where_each_segment_has_its_own(
    tmp_path: Path, labels: tuple[str, str], ids: tuple[int, int]
) -> None:
    path = foreign_segmentation(tmp_path, "BINARY", two_segments())
    dataset = dcmread(path)
    for segment, label in zip(dataset.SegmentSequence, labels, strict=True):
        segment.SegmentLabel = label
    dataset.save_as(path)
    np.testing.assert_array_equal(read_dicom_seg(path).labels, np.array([0, *ids])[two_segments()])


def test_overlapping_segments_are_named_in_a_warning(tmp_path: Path) -> None:
    masks = np.stack([two_segments() > 0, two_segments() == 2], axis=-1).astype(np.uint8)
    path = foreign_segmentation(tmp_path, "BINARY", masks)
    with pytest.warns(FewctWarning, match=r"seg\.dcm: segments overlap on 2 pixels"):
        np.testing.assert_array_equal(read_dicom_seg(path).labels, two_segments())


def test_image_is_no_segmentation(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match="expected a DICOM segmentation, found a DICOM object of modality CT"
    ):
        read_dicom_seg(write_ct(tmp_path / "a.dcm", ramp()))


def test_other_file_is_no_segmentation(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_text("no DICOM")
    with pytest.raises(InputError, match=r"a\.dcm: expected a readable DICOM file, found no DICOM attr"):
        read_dicom_seg(tmp_path / "a.dcm")


def test_truncated_segmentation_is_an_error(tmp_path: Path) -> None:
    path = foreign_segmentation(tmp_path, "BINARY", two_segments())
    content = path.read_bytes()
    path.write_bytes(content[:-8])
    with pytest.raises(InputError, match=r"seg\.dcm: expected a DICOM segmentation with complete pixels"):
        read_dicom_seg(path)


def test_segmentation_without_segment_numbers_is_an_error(tmp_path: Path) -> None:
    path = foreign_segmentation(tmp_path, "BINARY", two_segments())
    dataset = dcmread(path)
    del dataset.SegmentSequence
    dataset.save_as(path)
    with pytest.raises(InputError, match="expected a DICOM segmentation that tells each frame's segment"):
        read_dicom_seg(path)


def test_frames_without_positions_are_an_error(tmp_path: Path) -> None:
    path = foreign_segmentation(tmp_path, "BINARY", two_segments())
    dataset = dcmread(path)
    for frame in dataset.PerFrameFunctionalGroupsSequence:
        del frame.PlanePositionSequence
    dataset.save_as(path)
    with pytest.raises(InputError, match="expected a position in every frame, found 5 of 5 frames without"):
        read_dicom_seg(path)


def test_frames_of_different_spacing_are_an_error(tmp_path: Path) -> None:
    path = foreign_segmentation(tmp_path, "BINARY", two_segments())
    dataset = dcmread(path)
    measures = copy.deepcopy(dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence)
    measures[0].PixelSpacing = [0.4, 0.7]
    dataset.PerFrameFunctionalGroupsSequence[2].PixelMeasuresSequence = measures
    dataset.save_as(path)
    with pytest.raises(InputError, match=r"mixed pixel spacings \(mm\) in a series"):
        read_dicom_seg(path)
