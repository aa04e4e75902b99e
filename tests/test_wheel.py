"""What `pip install` brings: the built wheel, and that built from the source distribution."""

import hashlib
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from fewct import __version__
from fewct.runtime.weight_files import HASH_SUFFIX, SHIPPED

ROOT = Path(__file__).resolve().parents[1]
INFO = f"fewct-{__version__}.dist-info"
CARDS = sorted((ROOT / "docs" / "model-cards").glob("*.md"))
DATA = {"fewct/py.typed", "fewct/benchmark/report.html.jinja"}


def build(kind: str, source: Path, out: Path) -> Path:
    """Build a wheel or sdist, without network."""
    words = [sys.executable, "-m", "hatchling", "build", "--target", kind, "--directory", str(out)]
    subprocess.run(words, cwd=source, check=True, capture_output=True)
    (path,) = out.iterdir()
    return path


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Contents of the wheel's files by name."""
    return contents(build("wheel", ROOT, tmp_path_factory.mktemp("wheel")))


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the source distribution unpacks to."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(build("sdist", ROOT, tmp_path_factory.mktemp("sdist"))) as archive:
        archive.extractall(folder, filter="data")
    (unpacked,) = folder.iterdir()
    return unpacked


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_weights_are_whole(wheel: dict[str, bytes]) -> None:
    folder = "fewct/methods/"
    for name, sha256 in SHIPPED.items():
        assert hashlib.sha256(wheel[folder + name]).hexdigest() == sha256


def test_notice_licence_cards_and_types_are_in_it(wheel: dict[str, bytes]) -> None:
    for name in ("LICENSE", "NOTICE"):
        assert wheel[f"{INFO}/licenses/{name}"] == (ROOT / name).read_bytes()
    assert len(CARDS) == 3
    for card in CARDS:
        assert wheel[f"fewct/model_cards/{card.name}"] == card.read_bytes()
    assert wheel["fewct/__init__.pyi"] == (ROOT / "src" / "fewct" / "__init__.pyi").read_bytes()
    assert "fewct/py.typed" in wheel
    metadata = wheel[f"{INFO}/METADATA"].decode()
    assert re.findall(r"^License-File: (.*)$", metadata, flags=re.MULTILINE) == ["LICENSE", "NOTICE"]


def test_nothing_else_is_in_it(wheel: dict[str, bytes]) -> None:
    modules = [path for path in (ROOT / "src").rglob("*") if path.suffix in (".py", ".pyi")]
    code = {path.relative_to(ROOT / "src").as_posix() for path in modules}
    weights = {f"fewct/methods/{name}" for name in SHIPPED}
    weights |= {f"{name}{HASH_SUFFIX}" for name in weights if name.endswith(".onnx")}
    cards = {f"fewct/model_cards/{card.name}" for card in CARDS}
    info = {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE", "licenses/NOTICE"}
    expected = code | DATA | weights | cards | {f"{INFO}/{name}" for name in info}
    assert set(wheel) - expected == set()
    assert not [
        name for name in wheel if re.search(r"(^|/)(tests?|benchmarks)/|\.(dcm|nii|gz|npz|png)$", name)
    ]


def test_the_source_distribution_builds_the_same_wheel(
    sdist: Path, wheel: dict[str, bytes], tmp_path: Path
) -> None:
    assert contents(build("wheel", sdist, tmp_path)) == wheel


def test_the_source_distribution_holds_what_its_makefile_reads(sdist: Path) -> None:
    for name in (
        "Makefile",
        "constraints.txt",
        "pyproject.toml",
        ".ci/run",
        "tests/conftest.py",
        "docs/index.md",
    ):
        assert (sdist / name).read_bytes() == (ROOT / name).read_bytes()


def test_the_notice_names_the_source_of_all_data_of_the_cards() -> None:
    notice = (ROOT / "NOTICE").read_text()
    row = r"^\| .* \| (?:training|self-training|synthetic CT) \| (.*) \| (.*) \|$"
    rows = re.findall(row, cards_text(), re.MULTILINE)
    assert len(rows) == 6
    for source, licence in rows:
        for repository in re.findall(r"[\w.-]+/[\w.-]+", source):
            assert f"https://github.com/{repository}\n" in notice
        assert re.match(r"CC BY \d\.0", licence)[0] in notice


def test_the_notice_names_all_weights() -> None:
    notice = (ROOT / "NOTICE").read_text()
    for name in SHIPPED:
        path = Path(name)
        assert path.name in notice or f"{path.parent.name}/" in notice


def test_the_cards_have_the_hashes_of_the_weights() -> None:
    graphs = "prompt-small/"  # whose hashes stand in its model.json
    starts = "prompt-small.pth"
    hashed = [name for name in SHIPPED if graphs not in name and not name.endswith(starts)]
    told = set(re.findall(r"`([0-9a-f]{64})`", cards_text()))
    assert told == {SHIPPED[name] for name in [*hashed, "sam/weights/prompt-small/model.json"]}


def cards_text() -> str:
    return "\n".join(card.read_text() for card in CARDS)
