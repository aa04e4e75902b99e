"""Files of weights: there, and with the SHA-256 that was recorded for them.

The hashes of the weights that come with fewct stand in `SHIPPED`; those of other networks in a file beside
them, or in the record of their folder.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fewct.errors import InputError

METHODS = Path(__file__).resolve().parents[1] / "methods"
HASH_SUFFIX = ".sha256"
REINSTALL = "pip install --force-reinstall --no-deps fewct"

_SHA256SUM = """
73adf2023e57216ecb376ea26dca68f8a7cac882d67dd224a87ce409951fa0cd  bam/weights/decoder.onnx
6263f476435b2777e8de7a97cfb2d52ce5f87cceece1be9a6b501bfbe458d078  bam/weights/model.onnx
f88d089bb73bcf5afc335910292df590faedffc808df132953788c9d158b6793  mosaic/weights/mosaic.onnx
61d331f617aee77814123d83b7ff2035c32ca096ac5dcd85404ac7f2799e14ed  sam/weights/prompt-small.pth
4e5c4738c147bd3fcb0b71aaf111482a94e59b3b85555d067a01b56d4c94869d  sam/weights/prompt-small/answers.onnx
e6317bebb21c95975371b716cc3be4693cf98de139d600d9fe77d467de148424  sam/weights/prompt-small/draw.onnx
92dc062e25fa5fb22864c1434f427cc08d81477e2ca4ab343237edd52f156bc7  sam/weights/prompt-small/embed.onnx
6ce03b6577b43ba99fa9b8710ec821d3374a87ff4cf806e13125bb5b7b51fdc0  sam/weights/prompt-small/model.json
1e330cc068b2ee2a5c60014167563ed93848949577200ca67a232502afc2bdd6  sam/weights/prompt-small/prepare.onnx
"""
SHIPPED = {name: sha256 for sha256, name in map(str.split, _SHA256SUM.strip().splitlines())}
"""SHA-256 of each file of weights that comes with fewct, by its path in the folder `METHODS`."""


def shipped_sha256(path: Path) -> str | None:
    """Return the SHA-256 that a file had when fewct was released; None for files that fewct did not bring.

    The name of a file counts, also where it is a link to another place.
    """
    named = path.parent.resolve() / path.name
    return SHIPPED.get(named.relative_to(METHODS).as_posix()) if named.is_relative_to(METHODS) else None


def model_cards() -> Path:
    """Return the folder of the model cards of the shipped weights: in the package, or in a checkout."""
    installed, checkout = METHODS.parent / "model_cards", METHODS.parents[2] / "docs" / "model-cards"
    return installed if installed.is_dir() else checkout


def recorded_sha256(path: Path) -> str:
    """Return the SHA-256 that a file of weights should have; the one of `SHIPPED` comes first.

    Args:
        path: The file. Beside it, one with `.sha256` added to the name holds the hash.

    Raises:
        InputError: If the file or the record is absent.
    """
    _check_there(path)
    sha256 = shipped_sha256(path)
    if sha256 is not None:
        return sha256
    record = path.with_name(path.name + HASH_SUFFIX)
    _check_there(record)
    with _readable(record):
        return " ".join(record.read_text(encoding="utf-8").split()[:1])


def read_checked(path: Path, sha256: str) -> bytes:
    """Return the content of a file of weights.

    Raises:
        InputError: If it is absent or its SHA-256 is another one.
    """
    _check_there(path)
    with _readable(path):
        content = path.read_bytes()
    _check_same(path, sha256, hashlib.sha256(content).hexdigest())
    return content


def check_file(path: Path, sha256: str) -> None:
    """Raise as `read_checked` does, for a file that is too large to be held or that others read."""
    _check_there(path)
    with _readable(path), path.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    _check_same(path, sha256, found)


def check_shipped(path: Path) -> Path:
    """Return the path of a file of `SHIPPED` whose reader checks nothing.

    Raises:
        InputError: If it is absent or was changed.
    """
    check_file(path, shipped_sha256(path) or "")
    return path


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn what the system says of a file that cannot be read into InputError."""
    try:
        yield
    except OSError as error:
        raise InputError(
            path,
            expected="a file of weights that can be read",
            found=(error.strerror or str(error)).lower(),
            fix="Give yourself the right to read it, or install fewct again: " + REINSTALL,
        ) from error


def _check_there(file: Path) -> None:
    if os.path.lexists(file) and not file.is_dir():
        return  # a link to nowhere is told of when it is read
    sha256, found = shipped_sha256(file), "a folder" if file.is_dir() else "no such file"
    if sha256 is not None:
        raise InputError(
            file,
            expected=f"weights that come with fewct, SHA-256 {sha256}",
            found=found,
            fix=f"Install fewct again: {REINSTALL}",
        )
    raise InputError(
        file,
        expected="the weights of a network and their hash",
        found=found,
        fix="Name the file or folder of an exported network, with its hash.",
    )


def _check_same(path: Path, expected: str, found: str) -> None:
    if expected != found:
        again = "export the network again." if shipped_sha256(path) is None else f"install again: {REINSTALL}"
        raise InputError(
            path,
            expected=f"the SHA-256 {expected or '(none recorded)'}",
            found=f"{found} of {path.stat().st_size} bytes",
            fix=f"The file was cut short or changed: {again}",
        )
