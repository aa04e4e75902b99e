"""The main job on a scan: slices are streamed through a method, linked along z, and kept for a resume."""

import hashlib
import json
import shutil
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fewct._version import __version__
from fewct.imaging.slice_linking import Linking, link_named_slices
from fewct.imaging.structure_table import StructureTable, structure_table
from fewct.io import read
from fewct.io.atomic import atomic_path
from fewct.methods import Method, get_method
from fewct.runtime.threads import thread_count
from fewct.types import CTSlice, CTVolume, Manifest, Segmentation, SliceSegmentation

Progress = Callable[[int, int], None]


def segment(
    image: CTSlice | CTVolume | Path | str,
    method: str | Method = "mosaic",
    *,
    linking: Linking | None = None,
    resume_dir: Path | None = None,
    progress: Progress | None = None,
) -> Segmentation:
    """Delineate every structure on a slice or scan, without naming organs.

    Args:
        image: A slice, a scan, or a path that `fewct.read` understands.
        method: Name of a method at its default settings, or a configured one such as `Mosaic(level=0.3)`.
        linking: How structures of neighbouring slices are joined into one; for scans.
        resume_dir: Folder in which finished slices of a scan are kept until the end; a later call with
            the same input and settings goes on from there.
        progress: Called with (finished slices, all slices) as a scan advances.

    Returns:
        Label map, table of structures and manifest, in the geometry of the input.

    Raises:
        InputError: If the path holds no image, several, or one that cannot be used.
        UsageError: If no method has that name.

    Example:
        >>> from fewct.phantom import phantom_slice
        >>> ct, truth = phantom_slice(seed=0, size=128)
        >>> segment(ct, "mosaic").labels.shape
        (128, 128)
    """
    ct = read(image) if isinstance(image, (str, Path)) else image
    chosen = get_method(method)() if isinstance(method, str) else method
    if isinstance(ct, CTSlice):
        return segment_slice(ct, chosen)
    return segment_volume(ct, chosen, linking or Linking(), resume_dir=resume_dir, progress=progress)


def segment_volume(
    volume: CTVolume,
    method: Method,
    linking: Linking,
    *,
    resume_dir: Path | None = None,
    progress: Progress | None = None,
) -> Segmentation:
    """Delineate every structure on a scan, slice by slice, and link them along z.

    Memory grows with the number of slices only by the label map. Slices are worked on by several threads
    (environment variable FEWCT_NUM_THREADS).

    Args:
        volume: The scan.
        method: A configured method.
        linking: How structures of neighbouring slices are joined into one.
        resume_dir: As in `segment`.
        progress: As in `segment`.

    Returns:
        The result; ids run through the scan, and `structures` has one row an id. Ids that a method names
        (see `SliceSegmentation`) stay as they are. A merge tree belongs to one slice, so there is none.
    """
    start = time.perf_counter()
    input_hash = input_sha256(volume)
    kept = None if resume_dir is None else _KeptSlices(resume_dir, resume_key(method, input_hash))
    labels = np.zeros(volume.shape, dtype=np.int32)
    table = StructureTable(volume.spacing_mm)
    previous, next_id = np.zeros(volume.shape[1:], dtype=np.int32), 1
    for index, (image, found) in enumerate(_delineations(volume, method, kept)):
        linked = link_named_slices(previous, found.labels, next_id, linking, found.named)
        present = np.unique(found.labels[found.labels > 0])
        scores = linked.scores(found.scores[present - 1])
        table.add_slice(index, linked.labels, image.pixels, scores, linked.qualities)
        labels[index] = previous = linked.labels
        next_id = linked.next_id
        if progress is not None:
            progress(index + 1, len(volume))
    seconds = {"segment": time.perf_counter() - start}
    return Segmentation(
        labels=labels,
        structures=table.rows(),
        manifest=manifest(volume, method, input_hash, seconds, linking=asdict(linking)),
        geometry=volume.geometry,
        source=volume.source,
    )


def _delineations(
    volume: CTVolume, method: Method, kept: "_KeptSlices | None"
) -> Iterator[tuple[CTSlice, SliceSegmentation]]:
    """Yield each slice with what the method finds on it, in order, a few slices at a time in threads."""

    def work(index: int) -> tuple[CTSlice, SliceSegmentation]:
        image = volume[index]
        found = None if kept is None else kept.load(index)
        if found is None:
            found = replace(method.segment(image), tree=None)
            if kept is not None:
                kept.save(index, found)
        return image, found

    threads = thread_count()
    with ThreadPoolExecutor(threads) as pool:
        for first in range(0, len(volume), threads):
            yield from pool.map(work, range(first, min(first + threads, len(volume))))


@dataclass(frozen=True)
class _KeptSlices:
    """Finished slices on disk. The key stands in each file name, so that other settings never match."""

    folder: Path
    key: str

    def load(self, index: int) -> SliceSegmentation | None:
        if not (path := self._path(index)).exists():
            return None
        with np.load(path) as arrays:
            return SliceSegmentation(arrays["labels"], arrays["scores"], named=int(arrays["named"]))

    def save(self, index: int, found: SliceSegmentation) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(self._path(index)) as partial:
            np.savez_compressed(partial, labels=found.labels, scores=found.scores, named=found.named)

    def _path(self, index: int) -> Path:
        return self.folder / f"{self.key[:16]}_{index:05d}.npz"


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


RESUME_FOLDER = ".fewct_resume"


def resume_key(method: Method, input_sha256: str) -> str:
    """Return a name for what a method makes of an input; a change to anything that matters changes it.

    Args:
        method: A configured method.
        input_sha256: Hash of the input.

    Returns:
        64 hexadecimal digits.
    """
    made_from = [__version__, method.name, asdict(method), method.weights_sha256, input_sha256]
    return hashlib.sha256(json.dumps(made_from).encode()).hexdigest()


def forget(folder: Path) -> None:
    """Delete what was kept in a folder, and the `RESUME_FOLDER` around it when nothing else is in it."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder.parent.is_dir() and not any(folder.parent.iterdir()):
        folder.parent.rmdir()
