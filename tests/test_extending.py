"""The example package of docs/extending.md, as another package would be installed and used."""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deadline import DEADLINE_S
from fewct.io import read_labels, write
from fewct.phantom import phantom_slice
from fewct.types import LabelMap

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs" / "extending.md").read_text("utf-8")
FILES = dict(re.findall(r"^`(\S+)`:\n\n```\w+\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE))
COMMANDS = re.findall(
    r"^fewct (.*)$", "".join(re.findall(r"^```sh\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)), re.MULTILINE
)


def pip_can_build() -> bool:
    """Whether the example's build backend is here, so that pip needs no network."""
    try:
        return int(version("setuptools").partition(".")[0]) >= 77
    except PackageNotFoundError:
        return False


def install(project: Path, site: Path) -> None:
    """Install the package into a folder: with pip, or else by writing what pip would write."""
    if pip_can_build():
        options = ["--quiet", "--no-build-isolation", "--no-deps", "--no-index", "--target", str(site)]
        subprocess.run([sys.executable, "-m", "pip", "install", *options, str(project)], check=True)
        return
    described = tomllib.loads(FILES["pyproject.toml"])["project"]
    info = site / f"fewct_bright-{described['version']}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {described['name']}\nVersion: 0.1\n")
    groups = [
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in entries.items())
        for group, entries in described["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n".join(groups))
    (site / "fewct_bright.py").write_text(FILES["fewct_bright.py"])


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables of a process in which the example is installed."""
    folder = tmp_path_factory.mktemp("package")
    for name, content in FILES.items():
        (folder / "fewct-bright").mkdir(exist_ok=True)
        (folder / "fewct-bright" / name).write_text(content)
    install(folder / "fewct-bright", folder / "site")
    path = os.pathsep.join([str(folder / "site"), str(ROOT / "src")])
    return {**os.environ, "PYTHONPATH": path, "FEWCT_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the inputs that the page speaks of: slice.png, slice.pgm, few/."""
    folder = tmp_path_factory.mktemp("work")
    for side in ("images", "labels"):
        (folder / "few" / side).mkdir(parents=True)
    for seed in (1, 2):
        ct, truth = phantom_slice(seed, size=96)
        grey = ((ct.pixels + 160) / 400 * 255).clip(0, 255).astype(np.uint8)
        Image.fromarray(grey).save(folder / "few" / "images" / f"{seed}.png")
        write(LabelMap(truth.labels), folder / "few" / "labels" / f"{seed}.png")
    Image.fromarray(grey).save(folder / "slice.png")
    Image.fromarray(grey).save(folder / "slice.pgm")
    return folder


def run(words: list[str], folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


def test_the_commands_of_the_page_run(workplace: Path, environment: dict[str, str]) -> None:
    for command in COMMANDS:
        run(["-m", "fewct", *shlex.split(command)], workplace, environment)
    assert len(COMMANDS) >= 7

    grey = np.asarray(Image.open(workplace / "slice.png"))
    labels = read_labels(workplace / "out" / "slice_labels.png").labels
    assert labels.max() >= 2
    assert grey[labels > 0].min() >= 120
    manifest = json.loads((workplace / "out" / "slice_manifest.json").read_text())
    assert (manifest["method"], manifest["configuration"]["threshold"]) == ("bright", 120.0)

    header, pixels = (workplace / "out_pgm" / "slice_labels.pgm").read_bytes().split(b"\n", maxsplit=1)
    assert header == b"P5 96 96 65535"
    written = np.frombuffer(pixels, ">u2").reshape(96, 96)
    assert written.max() >= 2
    assert grey[written > 0].min() >= 150

    chosen = json.loads((workplace / "runs" / "bright" / "threshold.json").read_text())
    trained = json.loads((workplace / "out_trained" / "slice_manifest.json").read_text())
    assert chosen in (50, 100, 150, 200)
    assert len(trained["weights_sha256"]) == 64


def test_the_package_is_listed(workplace: Path, environment: dict[str, str]) -> None:
    methods = json.loads(run(["-m", "fewct", "methods", "--json"], workplace, environment))
    assert methods[-1]["name"] == "bright"
    assert methods[-1]["settings"]["threshold"] == 150.0
    imports = "from fewct.io.formats import FORMATS; from fewct.recipes import RECIPES"
    script = f"{imports}; print([*RECIPES][-1], [*FORMATS][-1])"
    assert run(["-c", script], workplace, environment) == "bright pgm\n"


def test_label_maps_of_the_format_are_read(workplace: Path, environment: dict[str, str]) -> None:
    labels = np.arange(12, dtype=np.int32).reshape(3, 4) * 5000
    write(LabelMap(labels), workplace / "labels.npz")
    script = (
        "import fewct; fewct.write(fewct.read_labels('labels.npz'), 'labels.pgm');"
        "print(fewct.read_labels('labels.pgm').labels.tolist())"
    )
    assert json.loads(run(["-c", script], workplace, environment)) == labels.tolist()
    command = ["-m", "fewct", "evaluate", "labels.pgm", "--truth", "labels.npz", "--json"]
    assert json.loads(run(command, workplace, environment))["overall"]["ari"] == 1.0
