"""Downloading models from their authors' servers, the only network access of fewct."""

import http.client
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

from fewct.errors import InputError, UsageError, needs_extra
from fewct.runtime.model_import import (
    CHUNK,
    add_to_store,
    check_name,
    name_taken,
    read_chunks,
    staging_folder,
    store_file,
)
from fewct.runtime.model_kinds import HUB_CONFIGURATION, HUB_WEIGHTS, detect_weights
from fewct.runtime.model_store import FILES, Model, check_unaltered, get_model, model_names
from fewct.runtime.official_weights import DOWNLOADS, OfficialFile

TIMEOUT_S = 30.0
HUB = "https://huggingface.co/"

Progress: TypeAlias = Callable[[int, int | None], None]
"""Called with the bytes fetched so far and the total, None where the server does not give it."""


def download_model(name: str, progress: Progress | None = None) -> Model:
    """Fetch a model into the store, whole or not at all; nothing is fetched if it is there already.

    Args:
        name: One of `DOWNLOADS`; or a model of the Hugging Face hub, `owner/name`, such as
            `facebook/sam-vit-base`, stored under its last part.
        progress: Reports the progress; the hub's package prints its own.

    Raises:
        UsageError: If nothing has that name, or the store has other weights under it.
        InputError: If it cannot be fetched, or what came is not what was offered.
        OutputError: If the cache folder cannot be written.
        MissingExtraError: For a model of the hub without the package huggingface_hub.
    """
    if name in DOWNLOADS:
        return _download_official(name, DOWNLOADS[name], progress or _no_progress)
    if name.count("/") == 1:
        return _download_from_hub(name, name.partition("/")[2])
    raise UsageError(
        "NAME",
        expected=f"one of {', '.join(DOWNLOADS)}, or owner/name on the Hugging Face hub",
        found=repr(name),
        fix="Get other weights from their authors' page, then: fewct models import FILE --as NAME",
    )


def _no_progress(done: int, total: int | None) -> None:
    """Report no progress."""


def _download_official(name: str, offer: OfficialFile, progress: Progress) -> Model:
    """Return the model of an official file."""
    if name in model_names():
        return _same_model(name, lambda model: model.sha256 == offer.sha256)
    with staging_folder() as folder:
        path = folder / FILES / offer.url.rpartition("/")[2]
        file = store_file(_fetch(offer.url, name, progress), path)
        if file.sha256 != offer.sha256:
            raise InputError(
                offer.url,
                expected=f"the SHA-256 {offer.sha256}",
                found=f"{file.sha256}, of {file.size_bytes} bytes, which were thrown away",
                fix="Try again later; if it stays, tell the authors of fewct.",
            )
        return add_to_store(Model(name, folder, detect_weights(path).kind, offer.url, (file,)))


def _download_from_hub(repository: str, name: str) -> Model:
    """Return the model of a repository of the hub."""
    check_name(name)
    if name in model_names():
        return _same_model(name, lambda model: model.source == HUB + repository)
    with staging_folder() as folder:
        came = folder / "hub"
        _fetch_repository(repository, came)
        contents = detect_weights(came)
        files = tuple(store_file(read_chunks(file), folder / FILES / file.name) for file in contents.files)
        made = Model(name, folder, contents.kind, HUB + repository, files)
        shutil.rmtree(came)
        return add_to_store(made)


def _same_model(name: str, is_same: Callable[[Model], bool]) -> Model:
    """Return the model of a name, which the store has."""
    model = get_model(name)
    if not is_same(model):
        raise name_taken(model)
    check_unaltered(model)
    return model


def _fetch(url: str, name: str, progress: Progress) -> Iterator[bytes]:
    """Yield the content of a URL in chunks."""
    request = urllib.request.Request(url, headers={"User-Agent": "fewct"})
    done, total = 0, None
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
            length = answer.headers["Content-Length"]
            total = int(length) if length else None
            progress(done, total)
            while chunk := answer.read(CHUNK):
                yield chunk
                done += len(chunk)
                progress(done, total)
    except urllib.error.HTTPError as error:
        raise _not_fetched(url, name, f"the answer {error.code} {error.reason}") from error
    except (OSError, http.client.HTTPException) as error:
        raise _not_fetched(url, name, f"{_reason(error)}, after {done} bytes") from error
    if total is not None and done != total:
        raise _not_fetched(url, name, f"{done} bytes of {total}")


def _reason(error: Exception) -> str:
    """Return the reason of a failed download, in few words."""
    cause = getattr(error, "reason", error)  # urllib wraps what the system says
    return (getattr(cause, "strerror", None) or str(cause) or type(cause).__name__).lower()


def _fetch_repository(repository: str, folder: Path) -> None:
    """Fetch the configuration and the weights of a repository of the hub, safetensors if it has such."""
    with needs_extra(repository, "transformers"):
        from huggingface_hub import snapshot_download
    try:
        for weights in HUB_WEIGHTS:
            snapshot_download(repository, local_dir=folder, allow_patterns=[HUB_CONFIGURATION, weights])
            if (folder / weights).exists():
                return
    except Exception as error:  # of whatever HTTP library the package uses
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise _not_fetched(HUB + repository, repository.partition("/")[2], reason) from error


def _not_fetched(url: str, name: str, found: str) -> InputError:
    return InputError(
        url,
        expected="an answer with all of it",
        found=found,
        fix="Try again with a network, or bring it from another machine: "
        f"fewct models import FILE --as {name}",
    )
