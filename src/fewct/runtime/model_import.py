"""Importing weights into the store: copied, checked, then renamed into place, whole or not at all."""

import errno
import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from pathlib import Path

from fewct.errors import InputError, UsageError, output_errors
from fewct.runtime.cache import VARIABLE
from fewct.runtime.model_kinds import detect_weights
from fewct.runtime.model_store import (
    FILES,
    NAME,
    RECORD,
    Model,
    StoredFile,
    check_in_store,
    check_unaltered,
    get_model,
    store_folder,
)
from fewct.runtime.onnx_session import load_network
from fewct.runtime.weight_files import HASH_SUFFIX

CHUNK = 1 << 20  # bytes that are copied at a time


def import_model(path: str | Path, name: str) -> Model:
    """Copy weights into the store.

    Returns:
        The model; the one that is there already, if it has the same files.

    Raises:
        UsageError: If the name is no plain word, or that of other weights.
        InputError: If the weights are absent, cut short, of no known kind, or other than a hash beside them.
        OutputError: If the cache folder cannot be written.
    """
    check_name(name)
    path = Path(path)
    contents = detect_weights(path)
    with staging_folder() as folder:
        files = tuple(store_file(read_chunks(file), folder / FILES / file.name) for file in contents.files)
        for file in files:
            _check_stated(file, contents.sha256, path)
        if contents.kind == "onnx":
            files = (files[0], _check_onnx(files[0], folder / FILES, path))
        return add_to_store(Model(name, folder, contents.kind, str(path.absolute()), files))


def remove_model(name: str) -> None:
    """Delete a model from the store, also one whose record is damaged.

    Raises:
        UsageError: If there is none of that name.
        OutputError: If it cannot be deleted.
    """
    check_in_store(name)
    with _output_errors():
        hidden = (store_folder() / name).rename(store_folder() / _hidden_name())
        shutil.rmtree(hidden)


def check_name(name: str) -> None:
    """Raise unless a name can be one of the store.

    Raises:
        UsageError: If it is no plain word.
    """
    if not NAME.fullmatch(name):
        raise UsageError(
            "NAME",
            expected="a word of at most 64 letters, digits, dots, dashes and underscores",
            found=repr(name),
            fix="Choose another name.",
        )


@contextmanager
def staging_folder() -> Iterator[Path]:
    """Yield a hidden folder of the store, for a model to be made in; it is gone afterwards.

    Raises:
        OutputError: If the system refuses to write.
    """
    folder = store_folder() / _hidden_name()
    try:
        with _output_errors():
            (folder / FILES).mkdir(parents=True)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def store_file(chunks: Iterable[bytes], path: Path) -> StoredFile:
    """Write a new file to the disk and return its size and hash."""
    digest, size = hashlib.sha256(), 0
    with path.open("xb") as stream:
        for chunk in chunks:
            stream.write(chunk)
            digest.update(chunk)
            size += len(chunk)
        stream.flush()
        os.fsync(stream.fileno())
    return StoredFile(path.name, size, digest.hexdigest())


def add_to_store(made: Model) -> Model:
    """Give a model that was made in a hidden folder its name.

    Args:
        made: The model; its folder is the hidden one.

    Returns:
        The model in the store; the one that is there already, if it has the same files.

    Raises:
        UsageError: If the name is that of other weights.
        InputError: If it is that of the same weights, which were altered since they came in.
    """
    record = {"kind": made.kind, "source": made.source, "files": [asdict(file) for file in made.files]}
    store_file([json.dumps(record, indent=1).encode()], made.folder / RECORD)
    try:
        made.folder.rename(store_folder() / made.name)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
        there = get_model(made.name)
        if _hashes(there) != _hashes(made):
            raise name_taken(there) from error
        check_unaltered(there)
    return get_model(made.name)


def name_taken(there: Model) -> UsageError:
    """Return the error that a name is that of other weights."""
    return UsageError(
        "NAME",
        expected="one that is free",
        found=f"{there.name}, other weights, from {there.source}",
        fix=f"Choose another name, or first: fewct models remove {there.name}",
    )


def _hashes(model: Model) -> set[str]:
    """Return the hashes of the weights, whatever their files are called."""
    return {file.sha256 for file in model.files if not file.name.endswith(HASH_SUFFIX)}


def _check_stated(file: StoredFile, stated: Mapping[str, str], source: Path) -> None:
    """Raise if a file is not the one whose hash another file states."""
    expected = stated.get(file.name, file.sha256)
    if file.sha256 != expected:
        raise InputError(
            source / file.name,
            expected=f"the SHA-256 {expected}",
            found=file.sha256,
            fix="It was cut short or changed: get it again, or export it again.",
        )


def _check_onnx(file: StoredFile, folder: Path, source: Path) -> StoredFile:
    """Check that a copy is a network, and by its hash if one came with it; return the file of the hash."""
    record = folder / (file.name + HASH_SUFFIX)
    try:
        if not record.exists():
            store_file([f"{file.sha256}  {file.name}\n".encode()], record)
        load_network(folder / file.name)
    except InputError as error:
        raise InputError(source, expected=error.expected, found=error.found, fix=error.fix) from error
    content = record.read_bytes()
    return StoredFile(record.name, len(content), hashlib.sha256(content).hexdigest())


def read_chunks(path: Path) -> Iterator[bytes]:
    """Yield the content of a file, a part at a time."""
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(CHUNK):
                yield chunk
    except OSError as error:
        raise InputError(
            path,
            expected="a file that can be read",
            found=(error.strerror or str(error)).lower(),
            fix="Check its permissions.",
        ) from error


def _hidden_name() -> str:
    return f".{secrets.token_hex(8)}"


def _output_errors() -> AbstractContextManager[None]:
    return output_errors(store_folder(), fix=f"Free some space there, or set {VARIABLE} to another folder.")
