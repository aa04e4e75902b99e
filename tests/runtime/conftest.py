"""A store of their own for the tests of the store."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the models, which is not there yet."""
    monkeypatch.setenv("FEWCT_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"
