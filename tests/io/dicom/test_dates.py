"""The date of source images: the latest one, else 1970."""

from datetime import datetime

import pytest

from dicom_builder import item
from fewct.io.dicom.dates import date_text, source_moment, time_text


def test_the_contents_date_goes_before_the_others() -> None:
    dates = {"ContentDate": "20200105", "AcquisitionDate": "20200104"}
    times = {"ContentTime": "101112.5", "AcquisitionTime": "090807", "SeriesDate": "20211231"}
    assert source_moment([item(**dates, **times)]) == datetime(2020, 1, 5, 10, 11, 12, 500000)


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({"AcquisitionDate": "20200104", "SeriesDate": "20200103"}, datetime(2020, 1, 4)),
        (
            {"SeriesDate": "20200103", "SeriesTime": "0102", "StudyDate": "20200102"},
            datetime(2020, 1, 3, 1, 2),
        ),
        ({"StudyDate": "20200102", "StudyTime": "07"}, datetime(2020, 1, 2, 7)),
        ({"StudyDate": "1999.12.31"}, datetime(1999, 12, 31)),  # as the standard's predecessor wrote dates
        ({"ContentDate": "", "ContentTime": "10", "StudyDate": "20200102"}, datetime(2020, 1, 2)),
        ({"ContentTime": "10"}, datetime(1970, 1, 1)),
        ({}, datetime(1970, 1, 1)),
    ],
)
def test_absent_dates_give_way_to_the_next(attributes: dict[str, str], expected: datetime) -> None:
    assert source_moment([item(**attributes)]) == expected


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
@pytest.mark.parametrize("broken", ["20201341", "yesterday", "20200101-20200102"])
def test_a_date_that_cannot_be_read_gives_way_to_the_next(broken: str) -> None:
    assert source_moment([item(ContentDate=broken, SeriesDate="20200103")]) == datetime(2020, 1, 3)
    assert source_moment([item(ContentDate="20200103", ContentTime=broken)]) == datetime(2020, 1, 3)


def test_the_latest_image_counts() -> None:
    days = [item(ContentDate=f"202001{day}", ContentTime="12") for day in ("05", "17", "11")]
    assert source_moment([*days, item()]) == datetime(2020, 1, 17, 12)


def test_dates_and_times_as_dicom_writes_them() -> None:
    assert date_text(datetime(33, 4, 3)) == "00330403"
    assert time_text(datetime(2020, 1, 2, 3, 4, 5)) == "030405"
    assert time_text(datetime(2020, 1, 2, 3, 4, 5, 60)) == "030405.000060"
