"""Install the built wheel on every Python of this machine and use it: make installs.

For each Python of 3.11 or newer: a new environment, the wheel with whatever versions pip picks, and commands
away from the checkout. One more environment has the lowest versions of pyproject's ranges; a part of the
tests runs in it, too. Label maps must be equal in all of them, or nearly so where versions of libraries
differ. Needs a package index. A Python for which a library has no wheels is skipped, and the reason told.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from pydicom.data import get_testdata_file

import fewct
from fewct.metrics import adjusted_rand_index

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OLDEST = (3, 11)
EXTRAS = ("itk", "report")
SHOWN = ("numpy", "scipy", "scikit-image", "onnxruntime", "pydicom")
TESTERS = ("pytest", "pytest-xdist", "hypothesis")
TESTS = ("tests/io", "tests/cli/test_segment.py", "tests/cli/test_bad_input.py")
LEAST_ARI = 0.98  # between label maps of different library versions; equal ones have 1
NO_WHEELS = re.compile(r"ERROR: (No matching distribution found for .*|Could not find a version .*)")
JOBS_AT_ONCE = 2


class CommandError(Exception):
    """A command that ended badly: its words and the end of what it told."""


@dataclass(frozen=True)
class Python:
    """An interpreter."""

    version: tuple[int, int, int]
    path: Path

    def __str__(self) -> str:
        return "Python " + ".".join(map(str, self.version))


@dataclass(frozen=True)
class Job:
    """The wheel on one Python, with the lowest versions of its requirements or any."""

    python: Python
    lowest: bool = False

    def __str__(self) -> str:
        return f"{self.python}, {'lowest versions' if self.lowest else 'any versions'}"

    @property
    def must_install(self) -> bool:
        """Whether all libraries must have wheels: for classified Pythons, in lowest versions for 3.11."""
        minor = self.python.version[:2]
        classifier = f"Programming Language :: Python :: {minor[0]}.{minor[1]}"
        return minor == OLDEST if self.lowest else classifier in PROJECT["classifiers"]


@dataclass(frozen=True)
class Outcome:
    """What became of a job: label maps by name, or why it was skipped, or how it failed."""

    job: Job
    versions: Mapping[str, str]
    maps: Mapping[str, np.ndarray]
    skipped: str = ""
    failed: str = ""


def run(*words: str | Path, cwd: Path, **variables: str) -> str:
    """Run a command outside of any environment of Python and return what it printed.

    Raises:
        CommandError: If its exit code is not 0.
    """
    dropped = ("PYTHONPATH", "VIRTUAL_ENV", "PIP_CONSTRAINT", "FEWCT_CACHE_DIR")
    environment = {name: value for name, value in os.environ.items() if name not in dropped} | variables
    done = subprocess.run(list(map(str, words)), cwd=cwd, env=environment, capture_output=True, text=True)
    if done.returncode:
        told = f"{done.stdout}\n{done.stderr}".strip()
        raise CommandError(f"{' '.join(map(str, words))}: exit code {done.returncode}\n{told[-6000:]}")
    return done.stdout


def find_pythons() -> list[Python]:
    """Return the interpreters of 3.11 or newer, the newest of each minor version, sorted."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    paths = [*pyenv.glob("versions/*/bin/python"), Path(sys.executable)]
    for folder in map(Path, os.get_exec_path()):
        paths += [*sorted(folder.glob("python3.[0-9]*")), folder / "python3"]
    if shutil.which("uv"):
        listed = run("uv", "python", "list", "--only-installed", "--output-format", "json", cwd=ROOT)
        paths += [Path(entry["path"]) for entry in json.loads(listed)]
    pythons = sorted(filter(None, map(ask, reversed(paths))), key=lambda one: one.version)
    return list({python.version[:2]: python for python in pythons}.values())  # of equal ones the first path


def ask(path: Path) -> Python | None:
    """Return the interpreter at a path; None for what is none, is too old or cannot make environments."""
    if not re.fullmatch(r"python(3(\.\d+)?)?", path.name) or not os.access(path, os.X_OK):
        return None
    script = "import sys, venv, ensurepip; print(*sys.version_info[:4], sys.implementation.name)"
    try:
        words = run(path, "-c", script, cwd=ROOT).split()
    except (CommandError, OSError):
        return None  # such as a shim of pyenv for a version that is switched off
    version = (int(words[0]), int(words[1]), int(words[2]))
    return Python(version, path) if version >= OLDEST and words[3:] == ["final", "cpython"] else None


def lowest_versions() -> list[str]:
    """Return the lowest versions of the ranges as pip takes them, such as numpy==2.0."""
    extras = PROJECT["optional-dependencies"]
    ranges = [*PROJECT["dependencies"], *(one for extra in EXTRAS for one in extras[extra])]
    return [one.replace(">=", "==") for one in ranges]


def do(job: Job, wheel: Path, inputs: Path, folder: Path) -> Outcome:
    """Make the environment of a job and use it."""
    folder.mkdir()
    bin_ = folder / "env" / "bin"
    pip = (bin_ / "python", "-m", "pip", "--disable-pip-version-check")
    install = (*pip, "install", "--no-compile", "--only-binary", ":all:")
    pins = lowest_versions() if job.lowest else []
    try:
        run(job.python.path, "-m", "venv", folder / "env", cwd=folder)
        try:
            run(*install, wheel, *pins, cwd=folder)
        except CommandError as failed:
            reason = NO_WHEELS.search(str(failed))
            if reason is None or job.must_install:
                raise
            return Outcome(job, {}, {}, skipped=reason[1])
        listed = json.loads(run(*pip, "list", "--format", "json", cwd=folder))
        versions = {one["name"].lower(): one["version"] for one in listed}
        maps = use(bin_, inputs, folder)
        if job.lowest:
            run(*install, *TESTERS, *pins, cwd=folder)
            run(bin_ / "pytest", "-q", "-W", "default", "-p", "no:cacheprovider", "-n", "2", *TESTS, cwd=ROOT)
        return Outcome(job, versions, maps)
    except CommandError as failed:
        return Outcome(job, {}, {}, failed=str(failed))
    finally:
        shutil.rmtree(folder)  # half a gigabyte


def use(bin_: Path, inputs: Path, folder: Path) -> dict[str, np.ndarray]:
    """Run commands of an environment in a folder of its own and return the label maps by file.

    Raises:
        CommandError: If a command ends badly or tells something that it should not.
    """
    fewct_, variables = bin_ / "fewct", {"FEWCT_NUM_THREADS": "1", "FEWCT_CACHE_DIR": str(folder / "cache")}
    if "not a medical device" not in run(fewct_, "--help", cwd=folder):
        raise CommandError("fewct --help does not tell what fewct is not")
    if "model_cards" not in run(fewct_, "methods", cwd=folder):
        raise CommandError("fewct methods does not tell where the model cards are")
    run(fewct_, "demo", "--out", "demo", cwd=folder, **variables)
    run(fewct_, "segment", inputs / "scan.nii.gz", inputs / "slice.dcm", "-o", "out", cwd=folder, **variables)
    words = ("evaluate", "out/scan_labels.nii.gz", "--truth", inputs / "truth.nii.gz", "--json")
    ari = json.loads(run(fewct_, *words, cwd=folder))["overall"]["ari"]
    if not 0.5 < ari <= 1:
        raise CommandError(f"fewct evaluate tells an ARI of {ari}")
    files = sorted([*folder.glob("*/*_labels.nii.gz"), *folder.glob("*/*_labels.dcm")])
    return {path.name: fewct.read_labels(path).labels for path in files}


def make_inputs(folder: Path) -> None:
    """Write what every environment segments: a scan as NIfTI with truth, and a DICOM slice."""
    folder.mkdir()
    volume, truth = fewct.phantom.phantom_volume(1, slices=6, size=160)
    assert volume.geometry is not None
    pixels = np.stack([plane.pixels for plane in volume])
    lps_to_ras = np.diag([-1, -1, 1, 1])
    nibabel.save(nibabel.Nifti1Image(pixels, lps_to_ras @ volume.geometry.affine), folder / "scan.nii.gz")
    fewct.write(truth, folder / "truth.nii.gz")
    shutil.copy(str(get_testdata_file("CT_small.dcm", download=False)), folder / "slice.dcm")


def compare(outcome: Outcome, reference: Outcome) -> tuple[bool, str]:
    """Return whether an outcome's label maps are those of another, or nearly, and that in words."""
    if outcome.maps.keys() != reference.maps.keys():
        return False, f"label maps {', '.join(outcome.maps)}, not {', '.join(reference.maps)}"
    told, is_near = [], True
    for name, labels in outcome.maps.items():
        expected = reference.maps[name]
        if not np.array_equal(labels, expected):
            ari = adjusted_rand_index(expected, labels) if labels.shape == expected.shape else 0.0
            is_near &= ari >= LEAST_ARI
            told.append(f"{name} has ARI {ari:.4f} with it (at least {LEAST_ARI} is asked for)")
    return is_near, "; ".join(told) or f"{len(outcome.maps)} label maps equal to it"


def report(outcomes: Sequence[Outcome]) -> bool:
    """Print what became of all jobs and return whether all is well."""
    used = [outcome for outcome in outcomes if outcome.maps]
    is_well = bool(used)
    for outcome in outcomes:
        if outcome.failed:
            print(f"{outcome.job}: FAILED\n{outcome.failed}")
        elif outcome.skipped:
            print(f"{outcome.job}: skipped, since there are no wheels: {outcome.skipped}")
        else:
            is_near, told = compare(outcome, used[-1])
            print(f"{outcome.job}: {'well' if is_near else 'FAILED'}")
            print(f"    {', '.join(f'{name} {outcome.versions[name]}' for name in SHOWN)}")
            print("    what the others are compared with" if outcome is used[-1] else f"    {told}")
            is_well &= is_near
        is_well &= not outcome.failed
    tried = {outcome.job.python.version[:2] for outcome in outcomes}
    for classifier in PROJECT["classifiers"]:
        minor = re.search(r":: Python :: 3\.(\d+)$", classifier)
        if minor and (3, int(minor[1])) not in tried:
            print(f"Python 3.{minor[1]}: not tried, since it is not on this machine")
    return is_well


def main() -> int:
    """Build the wheel, do all jobs and return the exit code."""
    pythons = find_pythons()
    jobs = [Job(pythons[0], lowest=True), *map(Job, pythons)]
    with tempfile.TemporaryDirectory(prefix="fewct-installs-") as name:
        folder = Path(name)
        run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder / "wheel", cwd=ROOT)
        (wheel,) = (folder / "wheel").iterdir()
        make_inputs(folder / "inputs")
        with ThreadPoolExecutor(JOBS_AT_ONCE) as pool:
            work = [
                pool.submit(do, job, wheel, folder / "inputs", folder / f"{number}")
                for number, job in enumerate(jobs)
            ]
            outcomes = [one.result() for one in work]
    return 0 if report(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
