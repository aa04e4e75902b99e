"""SOURCE_DATE_EPOCH: a moment, nothing, or an error before any work begins."""

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fewct.errors import UsageError
from fewct.phantom import phantom_slice
from fewct.runtime.source_date import check_environment, epoch_moment


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", datetime(1970, 1, 1, tzinfo=UTC)),
        ("1000000000", datetime(2001, 9, 9, 1, 46, 40, tzinfo=UTC)),
        ("253402300799", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("", None),
    ],
)
def test_epoch(monkeypatch: pytest.MonkeyPatch, text: str, expected: datetime | None) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", text)
    assert epoch_moment() == expected


@pytest.mark.parametrize("text", ["-1", "1.5", "2001-09-09", "253402300800", "9" * 5000, " 1", "\u0663"])
def test_epoch_that_is_no_number_of_seconds(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", text)
    message = (
        "SOURCE_DATE_EPOCH: expected a whole number of seconds since 1970, from 0 to 253402300799, found "
    )
    with pytest.raises(UsageError, match=message) as raised:
        epoch_moment()
    assert repr(text) in str(raised.value)
    assert str(raised.value).endswith("Unset it to take the dates of the source images.")


@pytest.mark.parametrize(("text", "code"), [("", 0), ("1000000000", 0), ("1.5", 2), (" ", 2), ("9" * 30, 2)])
def test_commands_check_it_before_numpy_does(tmp_path: Path, text: str, code: int) -> None:
    """NumPy reads it on import and ends with a traceback if it is no number."""
    grey = (phantom_slice(0, size=32)[0].pixels + 160).clip(0, 255).astype(np.uint8)
    Image.fromarray(grey).save(tmp_path / "slice.png")
    words = [sys.executable, "-m", "fewct", "segment", "slice.png", "--method", "felzenszwalb", "-o", "out"]
    variables = {**os.environ, "SOURCE_DATE_EPOCH": text}
    ended = subprocess.run(words, cwd=tmp_path, env=variables, capture_output=True, text=True)
    assert ended.returncode == code, ended.stderr
    assert (tmp_path / "out" / "slice_labels.png").exists() == (code == 0)
    assert ("error: SOURCE_DATE_EPOCH: expected" in ended.stderr) == (code == 2)
    assert "Traceback" not in ended.stderr


def test_an_empty_variable_is_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "")
    check_environment()
    assert "SOURCE_DATE_EPOCH" not in os.environ
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    check_environment()
    assert os.environ["SOURCE_DATE_EPOCH"] == "1000000000"
