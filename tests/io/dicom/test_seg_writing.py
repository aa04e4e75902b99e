"""DICOM-SEG, the same bytes each time: UIDs and dates come from labels and source alone."""

from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import UID

from dicom_builder import ramp, write_ct, write_series
from fewct.errors import UsageError
from fewct.io.dicom.discovery import find_dicom
from fewct.io.dicom.seg_reading import read_dicom_seg
from fewct.io.dicom.seg_writing import write_dicom_seg
from fewct.types import LabelMap

SOURCE_DATES = {
    "StudyDate": "20200102",
    "StudyTime": "0304",
    "ContentDate": "20200103",
    "ContentTime": "050607",
}
NEW_UIDS = ("SOPInstanceUID", "SeriesInstanceUID")


@pytest.fixture(autouse=True)
def _no_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)


@pytest.fixture
def result(tmp_path: Path) -> LabelMap:
    """Labels of two structures on a series of three slices."""
    return labelled_series(tmp_path / "series", **SOURCE_DATES)


def labelled_series(folder: Path, **attributes: str) -> LabelMap:
    write_series(folder, [0, 2, 4], **attributes)
    volume = find_dicom(sorted(folder.iterdir()), folder)[0].open()
    labels = np.zeros(volume.shape, dtype=np.int32)
    labels[:, 1:3, 1:3], labels[1, 4, 4] = 1, 2
    return LabelMap(labels, volume.geometry, volume.source)


def written(result: LabelMap, name: str = "seg.dcm") -> Dataset:
    path = result.source.path.parent / name
    write_dicom_seg(result, path)
    return dcmread(path)


def moments(dataset: Dataset) -> dict[str, str]:
    """Return all dates and times in a data set and its sequences by keyword."""
    return {
        element.keyword: str(element.value)
        for element in dataset.iterall()
        if element.VR in ("DA", "TM", "DT") and element.keyword != "PatientBirthDate"
    }


def test_written_twice_it_is_the_same_file(result: LabelMap) -> None:
    written(result, "a.dcm"), written(result, "b.dcm")
    folder = result.source.path.parent
    assert (folder / "a.dcm").read_bytes() == (folder / "b.dcm").read_bytes()


def test_dates_are_those_of_the_source(result: LabelMap) -> None:
    assert moments(written(result)) == SOURCE_DATES


def test_source_date_epoch_goes_before_them(result: LabelMap, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert moments(written(result)) == {
        "StudyDate": "20200102",
        "StudyTime": "0304",
        "ContentDate": "20010909",
        "ContentTime": "014640",
        "InstanceCreationDate": "20010909",
        "InstanceCreationTime": "014640",
        "ContributionDateTime": "20010909014640+0000",
    }


def test_source_without_dates(tmp_path: Path) -> None:
    dataset = written(labelled_series(tmp_path / "series"))
    found = {"StudyDate": "", "StudyTime": "", "ContentDate": "19700101", "ContentTime": "000000"}
    assert moments(dataset) == found


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
def test_source_whose_dates_cannot_be_read(tmp_path: Path) -> None:
    dataset = written(labelled_series(tmp_path / "series", ContentDate="long ago", SeriesDate="20200105"))
    assert (dataset.ContentDate, dataset.ContentTime) == ("20200105", "000000")


def test_other_labels_ids_or_dates_have_other_uids(result: LabelMap, monkeypatch: pytest.MonkeyPatch) -> None:
    other_labels, other_ids = result.labels.copy(), result.labels.copy()
    other_labels[0, 5, 0], other_ids[result.labels == 2] = 1, 3
    variants = [result, *(LabelMap(one, result.geometry, result.source) for one in (other_labels, other_ids))]
    datasets = [written(one) for one in variants]
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    datasets.append(written(result))
    for keyword in NEW_UIDS:
        assert len({dataset[keyword].value for dataset in datasets}) == 4
    organizations = {one.DimensionOrganizationSequence[0].DimensionOrganizationUID for one in datasets}
    assert len(organizations) == 4
    assert all(UID(uid).is_valid for uid in organizations)


def test_dimensions_refer_to_their_organization(result: LabelMap) -> None:
    dataset = written(result)
    (organization,) = dataset.DimensionOrganizationSequence
    uids = {index.DimensionOrganizationUID for index in dataset.DimensionIndexSequence}
    assert uids == {organization.DimensionOrganizationUID}
    assert not uids & {dataset[keyword].value for keyword in NEW_UIDS}


def test_broken_source_date_epoch_writes_nothing(result: LabelMap, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "today")
    with pytest.raises(UsageError, match=r"SOURCE_DATE_EPOCH: expected a whole number .* found 'today'"):
        written(result)
    assert not (result.source.path.parent / "seg.dcm").exists()


def test_more_than_255_structures_keep_their_ids(tmp_path: Path) -> None:
    path = write_ct(tmp_path / "a.dcm", ramp(16, 17))
    ct = find_dicom([path], path)[0].open()
    labels = np.arange(1, 16 * 17 + 1, dtype=np.int32).reshape(16, 17) % 258  # 257 structures
    write_dicom_seg(LabelMap(labels, ct.geometry, ct.source), tmp_path / "seg.dcm")
    np.testing.assert_array_equal(read_dicom_seg(tmp_path / "seg.dcm").labels, labels)
