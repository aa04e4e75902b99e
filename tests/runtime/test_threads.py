"""FEWCT_NUM_THREADS says how many threads are used."""

import pytest

from fewct.errors import UsageError
from fewct.runtime.threads import thread_count


def test_environment_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEWCT_NUM_THREADS", "3")
    assert thread_count() == 3


def test_all_cores_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FEWCT_NUM_THREADS", raising=False)
    assert thread_count() >= 1


@pytest.mark.parametrize("text", ["0", "-2", "two", "1.5"])
def test_nonsense_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("FEWCT_NUM_THREADS", text)
    with pytest.raises(UsageError, match="expected a whole number of 1 or more, found"):
        thread_count()
