"""Weights that come with fewct: as they were released, or an error that tells what to do."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pytest
from PIL import Image

import fewct
from fewct.errors import InputError
from fewct.phantom import phantom_slice
from fewct.runtime.onnx_session import load_network
from fewct.runtime.weight_files import (
    HASH_SUFFIX,
    METHODS,
    REINSTALL,
    SHIPPED,
    check_shipped,
    read_checked,
    recorded_sha256,
    shipped_sha256,
)

DAMAGES = ("absent", "empty", "cut short", "a bit changed")
MOSAIC, RECORD, START = (
    "mosaic/weights/mosaic.onnx",
    "sam/weights/prompt-small/model.json",
    "sam/weights/prompt-small.pth",
)
SEGMENT = ["segment", "few/images/0.png", "-o", "out", "--method"]
BAM = [*SEGMENT, "bam", "--support", "few"]
TRAIN = ["train", "sam", "--data", "few", "-o", "sam", "--steps", "1"]
COMMANDS = {
    **{name: [*SEGMENT, "everything"] for name in SHIPPED if name.startswith("sam/")},
    **{name: BAM for name in SHIPPED if name.startswith("bam/")},
    MOSAIC: [*SEGMENT, "mosaic"],
    START: TRAIN,
}
"""By file of weights a command that reads it."""
OTHERS = [
    (MOSAIC, ["demo", "--out", "demo"]),
    (MOSAIC, BAM),
    (MOSAIC, ["adapt", "--data", "few", "-o", "site", "--budget-minutes", "0"]),
    (RECORD, [*SEGMENT, "boxes", "--boxes-from", "watershed"]),
    (MOSAIC, ["benchmark", "--data", "few", "--methods", "mosaic", "-o", "compared"]),
]

Case: TypeAlias = tuple[str, str, str]

CHILD = """
import contextlib, io, json, pathlib, sys
import fewct.cli

ends = []
for path, damaged, words in json.load(sys.stdin):
    file = pathlib.Path(path)
    whole = file.read_bytes()
    file.unlink() if damaged is None else file.write_bytes(pathlib.Path(damaged).read_bytes())
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as told:
        code = fewct.cli.main(words)
    file.write_bytes(whole)
    ends.append((code, " ".join(told.getvalue().split())))
print(json.dumps(ends))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a copy of fewct and labelled slices, few/."""
    folder = tmp_path_factory.mktemp("installed")
    shutil.copytree(Path(fewct.__file__).parent, folder / "site" / "fewct")
    for part in ("images", "labels"):
        (folder / "few" / part).mkdir(parents=True)
    for seed in range(2):
        ct, truth = phantom_slice(seed, size=96)
        grey = ((ct.pixels + 160) / 400 * 255).clip(0, 255).astype(np.uint8)
        Image.fromarray(grey).save(folder / "few" / "images" / f"{seed}.png")
        Image.fromarray(truth.labels.astype(np.uint8)).save(folder / "few" / "labels" / f"{seed}.png")
    return folder


@pytest.fixture(scope="module")
def ends(folder: Path) -> dict[Case, tuple[int, str]]:
    """By damaged file, damage and command: the exit code and what was told, all in one process."""
    cases = [(name, how, words) for name, words in COMMANDS.items() for how in DAMAGES]
    cases += [(name, "absent", words) for name, words in OTHERS]
    tasks = []
    for number, (name, how, words) in enumerate(cases):
        path = folder / "site" / "fewct" / "methods" / name
        damaged = None if how == "absent" else folder / f"{number}"
        if damaged is not None:
            damaged.write_bytes(damage(path.read_bytes(), how))
        tasks.append((f"{path}", damaged and f"{damaged}", words))
    environment = os.environ | {"PYTHONPATH": str(folder / "site"), "FEWCT_CACHE_DIR": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", CHILD],
        input=json.dumps(tasks),
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return {(name, how, " ".join(words)): end for (name, how, words), end in zip(cases, found, strict=True)}


def test_all_weights_are_listed_with_their_hashes() -> None:
    files = [path for path in METHODS.rglob("weights/**/*") if path.is_file()]
    weights = [path for path in files if path.suffix != HASH_SUFFIX]
    found = {path.relative_to(METHODS).as_posix(): digest(path.read_bytes()) for path in weights}
    assert found == SHIPPED
    for record in set(files) - set(weights):
        assert record.read_text().split() == [shipped_sha256(record.with_suffix("")), record.stem]


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("name", COMMANDS)
def test_damaged_weights_are_an_error(name: str, how: str, ends: dict[Case, tuple[int, str]]) -> None:
    code, told = ends[name, how, " ".join(COMMANDS[name])]
    assert code == 1
    assert f"fewct/methods/{name}: expected " in told
    assert f"SHA-256 {SHIPPED[name]}, found {found_in(name, how)}. " in told
    assert told.endswith(f"nstall {'fewct ' if how == 'absent' else ''}again: {REINSTALL}")


@pytest.mark.parametrize(("name", "words"), OTHERS)
def test_every_command_that_needs_them_tells_so(
    name: str, words: list[str], ends: dict[Case, tuple[int, str]]
) -> None:
    code, told = ends[name, "absent", " ".join(words)]
    assert code == 1
    assert f"fewct/methods/{name}: expected weights that come with fewct" in told
    assert told.endswith(f"found no such file. Install fewct again: {REINSTALL}")


def test_a_copy_is_checked_against_the_hash_beside_it(tmp_path: Path) -> None:
    copy = shutil.copy(METHODS / MOSAIC, tmp_path / "model.onnx")
    record = tmp_path / f"model.onnx{HASH_SUFFIX}"
    with pytest.raises(InputError, match=r"model\.onnx\.sha256: .*found no such file\. Name the file"):
        load_network(copy)
    record.write_text(f"{SHIPPED[MOSAIC]}  model.onnx\n")
    assert load_network(copy).sha256 == SHIPPED[MOSAIC]
    record.write_text(f"{'0' * 64}  model.onnx\n")
    with pytest.raises(
        InputError, match=f"expected the SHA-256 0{{64}}, found {SHIPPED[MOSAIC]} of .*export"
    ):
        load_network(copy)


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def found_in(name: str, how: str) -> str:
    """Return what the error says was found in a damaged file."""
    if how == "absent":
        return "no such file"
    content = damage((METHODS / name).read_bytes(), how)
    return f"{digest(content)} of {len(content)} bytes"


def damage(content: bytes, how: str) -> bytes:
    """Return the content of a damaged file."""
    if how == "a bit changed":
        return content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]
    return content[: len(content) // 2] if how == "cut short" else b""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of one file of weights, two links away; return the file."""
    (tmp_path / "methods" / "a").mkdir(parents=True)
    (tmp_path / "methods" / "a" / "one.onnx").write_bytes(b"one")
    (tmp_path / "methods" / "a" / "two.onnx").write_bytes(b"two")
    names = {f"a/{name}.onnx": hashlib.sha256(name.encode()).hexdigest() for name in ("one", "two")}
    monkeypatch.setattr("fewct.runtime.weight_files.METHODS", tmp_path / "methods")
    monkeypatch.setattr("fewct.runtime.weight_files.SHIPPED", names)
    return tmp_path / "methods" / "a" / "one.onnx"


def test_a_link_is_checked_under_its_own_name(package: Path, tmp_path: Path) -> None:
    outside = tmp_path / "elsewhere.onnx"
    shutil.move(package, outside)
    package.symlink_to(outside)
    assert check_shipped(package) == package  # the same content, kept elsewhere
    outside.write_bytes(b"other")
    with pytest.raises(InputError, match=f"install again: {REINSTALL}"):
        check_shipped(package)
    package.unlink()
    package.symlink_to("two.onnx")  # whole, but not the file of this name
    with pytest.raises(InputError, match=hashlib.sha256(b"one").hexdigest()):
        read_checked(package, recorded_sha256(package))


@pytest.mark.parametrize("target", ["nowhere.onnx", "one.onnx"], ids=["dangling", "loop"])
def test_a_link_that_leads_to_no_file_is_an_error(package: Path, target: str) -> None:
    package.unlink()
    package.symlink_to(target)
    for check in (check_shipped, lambda path: read_checked(path, recorded_sha256(path))):
        with pytest.raises(
            InputError, match=r"one\.onnx: expected a file of weights that can be read, found"
        ):
            check(package)


def test_a_folder_in_place_of_weights_is_named(package: Path) -> None:
    package.unlink()
    package.mkdir()
    with pytest.raises(InputError, match="found a folder"):
        check_shipped(package)


def test_weights_that_may_not_be_read_are_an_error(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match=r"found permission denied\. Give yourself the right"):
        check_shipped(package)
