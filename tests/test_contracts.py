"""The import contracts catch what they are there to catch, and the package keeps its shape."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections import defaultdict
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "fewct"
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
LINT = "from importlinter.cli import lint_imports_command; lint_imports_command()"

# One wrong import each: the module that gets it, the statement, and the contract that must break.
WRONG_IMPORTS = [
    ("types", "import fewct.metrics", "floors"),
    ("metrics.rand", "from fewct.phantom import patient", "floors"),
    ("runtime.cache", "import fewct.metrics", "floors"),
    ("imaging.body", "import fewct.io", "floors"),
    ("io.nifti", "import fewct.plot", "floors"),
    ("plot", "from fewct.benchmark import run", "floors"),
    ("data.cases", "import fewct.outputs", "floors"),
    ("training.runs", "import fewct.adapt", "floors"),
    ("methods.mosaic.method", "def later():\n    from fewct.challenge import editions", "floors"),
    ("segmentation", "import fewct.recipes", "floors"),
    ("batch", "from fewct.challenge import score", "floors"),
    ("demo", "import fewct.cli", "floors"),
    ("helpers", "", "floors"),
    ("methods.mosaic.method", "from fewct.methods.bam import method", "methods"),
    ("methods.unet.method", "from fewct.methods.mosaic import maps", "methods"),
    ("methods.classical", "import fewct.methods.unet", "methods"),
    ("methods.watershed", "", "methods"),
    ("methods.sam.modeling.layers", "from fewct.methods.sam.backends import base", "sam"),
    ("methods.sam.predictor", "from fewct.methods.sam import mask_generator", "sam"),
    ("io.nifti", "from fewct.io import images", "io"),
    ("io.pixels", "import fewct.io.formats", "io"),
    ("io.mesh", "", "io"),
    ("phantom.canvas", "from fewct.phantom.anatomy import trunk", "phantom"),
    ("methods.mosaic.method", "import torch", "torch"),
    ("methods.bam.inference", "def later():\n    from torch import nn", "torch"),
    ("segmentation", "import torch.nn", "torch"),
    ("runtime.onnx_session", "import onnx", "torch"),
    ("batch", "import rich", "rich"),
    ("adapt.adaptation", "def later():\n    from rich.progress import track", "rich"),
    ("training.runs", "import tyro", "rich"),
    ("segmentation", "import nibabel", "formats"),
    ("data.layouts", "from SimpleITK import ReadImage", "formats"),
    ("challenge.maps", "def later():\n    import tifffile", "formats"),
    ("imaging.resample", "import gdcm", "formats"),
    ("cli.segment", "import highdicom", "formats"),
]


def broken_contracts(src: Path) -> tuple[set[str], str]:
    """Ids of the contracts that the package under a folder breaks, and the whole report."""
    done = subprocess.run(
        [sys.executable, "-c", LINT, "--no-cache", "--no-logo", "--config", str(ROOT / "pyproject.toml")],
        cwd=src,
        env={**os.environ, "PYTHONPATH": str(src), "COLUMNS": "1000"},
        capture_output=True,
        text=True,
    )
    verdicts = dict(re.findall(r"^(.+?) (KEPT|BROKEN)\b", done.stdout, re.MULTILINE))
    assert set(verdicts) == {contract["name"] for contract in CONTRACTS}, done.stdout + done.stderr
    assert done.returncode == ("BROKEN" in verdicts.values())
    return {c["id"] for c in CONTRACTS if verdicts[c["name"]] == "BROKEN"}, done.stdout


@pytest.fixture
def src(tmp_path: Path) -> Path:
    shutil.copytree(PACKAGE, tmp_path / "fewct", ignore=shutil.ignore_patterns("weights", "__pycache__"))
    return tmp_path


def test_the_package_keeps_every_contract(src: Path) -> None:
    broken, report = broken_contracts(src)
    assert not broken, report


@pytest.mark.parametrize(("module", "statement", "contract"), WRONG_IMPORTS)
def test_a_wrong_import_breaks_its_contract(src: Path, module: str, statement: str, contract: str) -> None:
    path = src / "fewct" / f"{module.replace('.', '/')}.py"
    assert path.exists() == bool(statement), (
        "an import is planted in a module that exists, nothing in a new one"
    )
    with path.open("a", encoding="utf-8") as file:
        file.write(f"\n{statement}\n")
    broken, report = broken_contracts(src)
    assert contract in broken, report  # others may break too, by chains of imports through it
    assert module.rpartition(".")[2] in report.partition("Broken contracts")[2]


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


def is_under(module: str, expressions: list[str]) -> list[str]:
    """Those of the contract's expressions that name the module or a package above it."""
    return [e for e in expressions if fnmatch(module, e) or fnmatch(module, f"{e}.*")]


def test_only_the_modules_of_the_contract_need_torch() -> None:
    """Every other module imports without torch and onnx, and each entry of the list has its reason."""
    modules = [module_name(p) for p in PACKAGE.rglob("*.py") if p.name != "__main__.py"]
    script = f"""
import importlib, json, sys
sys.modules.update({{"torch": None, "onnx": None}})
failed = {{}}
for module in {modules!r}:
    try:
        importlib.import_module(module)
    except ImportError as error:
        failed[module] = str(error)
print(json.dumps(failed))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    failed: dict[str, str] = json.loads(done.stdout)
    (allowed,) = (c["allowed_importers"] for c in CONTRACTS if c["id"] == "torch")
    reasons = {module: is_under(module, allowed) for module in failed}
    assert [module for module, entries in reasons.items() if not entries] == []
    assert {entry for entries in reasons.values() for entry in entries} == set(allowed)


def test_methods_segment_without_torch(tmp_path: Path) -> None:
    """Every method that comes with weights, and bam by a labelled slice, runs on the base install."""
    script = f"""
import sys
sys.modules.update({{"torch": None, "onnx": None}})
import numpy as np
from fewct import segment
from fewct.methods import BAM, BoxPrompted, Everything, Felzenszwalb, Mosaic, Watershed
from fewct.phantom import phantom_slice
ct, truth = phantom_slice(0, size=96)
np.save({str(tmp_path / "a.npy")!r}, ct.pixels)
np.save({str(tmp_path / "a_labels.npy")!r}, truth.labels)
bam = BAM({str(tmp_path)!r})
for method in (bam, BoxPrompted(), Everything(points_per_side=8), Felzenszwalb(), Mosaic(), Watershed()):
    print(segment(ct, method).labels.max())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.split()) == 6
    assert min(map(int, done.stdout.split())) >= 2


def test_no_two_classes_have_one_name() -> None:
    places = defaultdict(list)
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(module_name(path))
    assert {n: where for n, where in places.items() if len(where) > 1} == {}


def test_folders_stay_small() -> None:
    """The root and every folder hold at most fifteen modules."""
    folders = {p.parent for p in PACKAGE.rglob("*.py")}
    counts = {module_name(f): sum(p.name != "__init__.py" for p in f.glob("*.py")) for f in folders}
    assert {folder: n for folder, n in counts.items() if n > 15} == {}
