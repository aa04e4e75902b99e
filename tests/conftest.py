"""Shared fixtures. Tests marked `shared` need the real CT data beside the repository."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

# The same examples on every machine, and no verdict that depends on its speed.
settings.register_profile(
    "fewct", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("fewct")

# Threads of PyTorch would wait for those of the other worker, and sums would depend on their number. PyTorch
# reads this when it is imported, which this file does not do.
os.environ.setdefault("OMP_NUM_THREADS", "1")

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


@pytest.fixture
def rng() -> np.random.Generator:
    """Source of randomness that begins anew with every test."""
    return np.random.default_rng(0)


@pytest.fixture(autouse=True)
def seeded_torch() -> None:
    """Let PyTorch's own randomness begin anew with every test, where it is in use."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the test run in one thread."""
    monkeypatch.setenv("FEWCT_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def tiny_sam(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Path of an official checkpoint of a small SAM with random weights."""
    from methods.sam.reference import write_checkpoint

    return write_checkpoint(tmp_path_factory.mktemp("sam") / "sam.pth")


@pytest.fixture
def install_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """A function that writes what installing a package does: a module and a dist-info folder on sys.path."""
    site = tmp_path / "site-packages"
    site.mkdir()
    monkeypatch.syspath_prepend(site)
    packages = []

    def install(package: str, group: str, entries: str, source: str = "") -> None:
        info = site / f"{package}-1.5.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.5\n")
        (info / "entry_points.txt").write_text(f"[{group}]\n{entries}\n")
        (site / f"{package}.py").write_text(source)
        packages.append(package)

    yield install
    for package in packages:
        sys.modules.pop(package, None)
