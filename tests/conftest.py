"""Shared fixtures. Tests marked `shared` need the real CT data beside the repository."""

from pathlib import Path

import pytest

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the tests that need the shared data where it is absent."""
    if SHARED_DATA.is_dir():
        return
    skip = pytest.mark.skip(reason="the real CT data (../shared/data) is not on this machine")
    for item in items:
        if "shared" in item.keywords:
            item.add_marker(skip)


@pytest.fixture
def shared_data() -> Path:
    """Folder of the real CT data; use it only in tests marked `shared`."""
    return SHARED_DATA
