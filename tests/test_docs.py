"""The documents tell what is true: their commands run, every command is told of, links lead somewhere."""

import pkgutil
import re
import runpy
import shlex
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from dicom_builder import write_ct
from fewct.cli import COMMANDS, main
from fewct.io import write
from fewct.io.formats import FORMATS
from fewct.methods import METHODS
from fewct.methods.mosaic.network_maps import WEIGHTS
from fewct.phantom import phantom_slice, phantom_volume
from fewct.recipes import RECIPES
from fewct.types import LabelMap

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the inputs that the documents speak of, small: scan/, slice.png, mosaic.onnx ..."""
    folder = tmp_path_factory.mktemp("docs")
    volume, truth = phantom_volume(0, slices=4, size=64)
    assert volume.geometry is not None
    row_mm = volume.geometry.spacing_mm[1]
    (folder / "scan").mkdir()
    for index, plane in enumerate(volume):
        assert plane.geometry is not None
        write_ct(
            folder / "scan" / f"{index}.dcm",
            (plane.pixels + 1024).clip(0, 4000).astype(np.int16),
            plane.geometry.affine[:3, 3].tolist(),
            PixelSpacing=[row_mm, row_mm],
        )
    ct, slice_truth = phantom_slice(0, size=96)
    grey = ((ct.pixels + 160) / 400 * 255).clip(0, 255).astype(np.uint8)
    Image.fromarray(grey).save(folder / "slice.png")
    shutil.copy(WEIGHTS, folder / "mosaic.onnx")
    write(truth, folder / "truth.nii.gz")
    write(LabelMap(slice_truth.labels), folder / "slice_truth.png")
    thorax = np.stack([plane.pixels for plane in volume]).transpose(2, 1, 0)
    nibabel.save(nibabel.Nifti1Image(thorax, np.diag([-row_mm, -row_mm, 5, 1])), folder / "thorax.nii.gz")
    return folder


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def test_commands_and_then_python_of_the_documents_run(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Python of a page reads what its commands wrote."""
    monkeypatch.chdir(workplace)
    monkeypatch.setenv("FEWCT_CACHE_DIR", str(workplace / "cache"))
    ran = 0
    for page in PAGES:
        for block in blocks(page, "console"):
            for line in re.findall(r"^\$ fewct (.*)$", block, flags=re.MULTILINE):
                words = shlex.split(line, comments=True)
                assert main(words) == 0, f"{page.name}: fewct {line}"
                ran += 1
    assert ran >= 4
    snippets = [(page, block) for page in PAGES for block in blocks(page, "python")]
    assert snippets
    for page, block in snippets:
        exec(compile(block, str(page), "exec"), {})


def test_every_command_stands_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text()
    for command in COMMANDS:
        assert f"`fewct {command}" in text


@pytest.mark.parametrize("page", [*PAGES, *ROOT.glob("C*.md")], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target, _, heading in re.findall(r"\]\(([^)#\s]*)(#([^)]+))?\)", page.read_text("utf-8")):
        if not target.startswith("http"):
            linked = page.parent / target if target else page
            assert linked.exists(), target
            assert not heading or heading in slugs(linked), f"{target}#{heading}"


def slugs(page: Path) -> set[str]:
    """The headings of a page as links name them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_names_of_the_package_exist() -> None:
    names = {
        name for page in PAGES for name in re.findall(r"`(fewct(?:\.\w+)+)[`(]", page.read_text("utf-8"))
    }
    assert len(names) > 10
    for name in names - {METHODS.group, RECIPES.group, FORMATS.group}:
        assert pkgutil.resolve_name(name) is not None


def test_every_page_stands_in_the_index() -> None:
    index = ROOT / "docs" / "index.md"
    linked = {(index.parent / target).resolve() for target in re.findall(r"\]\(([^)#]+)", index.read_text())}
    assert [page for page in PAGES[1:] if page != index and page not in linked] == []


def test_the_tables_of_floors_are_those_of_the_contracts() -> None:
    make = runpy.run_path(str(ROOT / "docs" / "make_architecture.py"))
    text = make["PAGE"].read_text("utf-8")
    assert make["with_tables"](text) == text, "run python docs/make_architecture.py"
    floors = make["contracts"]()[0]
    for name in re.findall(r"\w+", " ".join(floors["layers"])):
        assert re.search(rf"^\|[ 0-9]*\| \[`{name}(/|\.py)`\]\(\.\./src/fewct/{name}", text, re.MULTILINE), (
            name
        )
    assert make["summary"](ROOT / "src/fewct/_version.py") == "The version of fewct, said once."


def test_the_functions_of_the_path_of_a_slice_stand_in_their_files() -> None:
    page = ROOT / "docs" / "architecture.md"
    steps = re.findall(
        r"^\|[^|]*\|([^|]*)\|([^|]*src/fewct/[^|]*\.py\)[^|]*)\|$", page.read_text(), re.MULTILINE
    )
    assert len(steps) >= 15
    for functions, files in steps:
        code = "".join((page.parent / target).read_text() for target in re.findall(r"\]\(([^)]+)", files))
        for name in re.findall(r"\w+", functions):
            assert re.search(rf"(def|class) {name}\b", code), f"{name} in {files}"
