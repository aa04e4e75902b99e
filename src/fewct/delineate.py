"""The main job on one slice: a method finds structures, a table and a manifest tell about them."""

import hashlib
import time
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fewct import __version__
from fewct.methods import Method
from fewct.table import structure_table
from fewct.types import CTSlice, CTVolume, Manifest, Segmentation


def segment_slice(image: CTSlice, method: Method) -> Segmentation:
    """Delineate every structure on one slice.

    Args:
        image: The slice.
        method: A configured method, such as `Mosaic()`.

    Returns:
        Label map, table of structures, manifest and, where the method has one, the merge tree, in the
        slice's own geometry.
    """
    start = time.perf_counter()
    found = method.segment(image)
    seconds = {"segment": time.perf_counter() - start}
    return Segmentation(
        labels=found.labels,
        structures=structure_table(found.labels, image, found.scores),
        manifest=manifest(image, method, input_sha256(image), seconds),
        geometry=image.geometry,
        source=image.source,
        tree=found.tree,
    )


def manifest(
    image: CTSlice | CTVolume, method: Method, input_hash: str, seconds: Mapping[str, float], **settings: Any
) -> Manifest:
    """Return the record of how a result came to be.

    Args:
        image: The input.
        method: The method with its configuration.
        input_hash: What `input_sha256` gave for the input.
        seconds: Wall-clock time by step.
        settings: Settings of other steps, by step.
    """
    return Manifest(
        version=__version__,
        method=method.name,
        configuration={**asdict(method), **settings},
        weights_sha256=method.weights_sha256,
        input_sha256=input_hash,
        unit=image.unit,
        seconds=seconds,
    )


def input_sha256(image: CTSlice | CTVolume) -> str:
    """Return the SHA-256 of the files an image was read from, of its pixels where it has no files."""
    digest = hashlib.sha256()
    for chunk in _file_chunks(image) if image.source and image.source.files else _pixel_chunks(image):
        digest.update(chunk)
    return digest.hexdigest()


def _file_chunks(image: CTSlice | CTVolume, size: int = 1 << 20) -> Iterable[bytes]:
    files: tuple[Path | zipfile.Path, ...] = image.source.files if image.source else ()
    for file in files:
        with file.open("rb") as stream:
            while chunk := stream.read(size):
                yield chunk


def _pixel_chunks(image: CTSlice | CTVolume) -> Iterable[bytes]:
    yield f"{image.unit} {image.shape}".encode()
    for plane in [image] if isinstance(image, CTSlice) else image:
        yield plane.pixels.tobytes()
