"""The main job: a slice or scan in, label map, table of structures and manifest out."""

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
from fewct.errors import UsageError
from fewct.imaging.slice_linking import Linking, link_with_fixed_ids
from fewct.imaging.structure_table import StructureTable, structure_table
from fewct.io.atomic import atomic_path
from fewct.io.in_memory import ImageLike, SpacingMm, as_image
from fewct.methods import Method, Segmenter, get_method
from fewct.result import Segmentation, SliceSegmentation
from fewct.runtime.threads import thread_count
from fewct.types import CTSlice, CTVolume, Manifest, UnitChoice

Progress = Callable[[int, int], None]
RESUME_FOLDER = ".fewct_resume"


def segment(
    image: ImageLike,
    method: str | Method | Segmenter = "mosaic",
    *,
    spacing_mm: SpacingMm | None = None,
    unit: UnitChoice = "auto",
    linking: Linking | None = None,
    resume_dir: Path | str | None = None,
    progress: Progress | None = None,
) -> Segmentation:
    """Segment every structure on a slice or scan, without naming organs.

    Args:
        image: A slice, a scan, an array (rows, columns) or (slices, rows, columns), a nibabel image, or a
            path that `fewct.read` understands.
        method: Name of a method at its default settings, or a configured one such as `Mosaic(level=0.3)`. For
            many images, `Mosaic().load()` opens the network once.
        spacing_mm: Distance between neighbouring pixels, for images that do not tell: one number, or one for
            each axis of the array.
        unit: "hu", "grey", or "auto" to look at the values.
        linking: How structures of neighbouring slices are joined into one; for scans.
        resume_dir: Folder in which finished slices of a scan are kept until the end; a later call with
            the same input and settings goes on from there.
        progress: Called with (finished slices, all slices) as a scan advances.

    Returns:
        Label map, table of structures and manifest, in the geometry of the input. Of a scan, ids run through
        all slices; ids that a method fixes stay as they are.

    Raises:
        InputError: If the image cannot be used, or the method's weights are absent or damaged.
        UsageError: If no method has that name, or spacing or unit contradict the image.

    Example:
        >>> import numpy as np
        >>> radius = np.hypot(*np.mgrid[-64:64, -64:64])
        >>> segment(np.select([radius < 20, radius < 50], [40.0, -100.0], -1000.0), spacing_mm=2)
        Segmentation(128 x 128, 1 structures, method mosaic)
    """
    ct = as_image(image, spacing_mm, unit)
    if isinstance(method, str):
        method = get_method(method)()
    if isinstance(method, type) or not (hasattr(method, "load") or hasattr(method, "segment")):
        raise UsageError(
            "method",
            expected="a name, settings such as Mosaic(level=0.3), or what their load() returns",
            found=f"{method!r}",
            fix="Make settings by calling the class.",
        )
    segmenter = method.load() if hasattr(method, "load") else method
    if isinstance(ct, CTSlice):
        return segment_slice(ct, segmenter)
    kept = None if resume_dir is None else Path(resume_dir)
    return segment_volume(ct, segmenter, linking or Linking(), resume_dir=kept, progress=progress)


def segment_slice(image: CTSlice, segmenter: Segmenter) -> Segmentation:
    """Segment one slice; see `segment`."""
    start = time.perf_counter()
    found = segmenter.segment(image)
    seconds = {"segment": time.perf_counter() - start}
    return Segmentation(
        labels=found.labels,
        structures=structure_table(found.labels, image, found.scores),
        manifest=manifest(image, segmenter, input_sha256(image), seconds),
        geometry=image.geometry,
        source=image.source,
        image=image,
        cut=found.cut,
    )


def segment_volume(
    volume: CTVolume,
    segmenter: Segmenter,
    linking: Linking,
    *,
    resume_dir: Path | None = None,
    progress: Progress | None = None,
) -> Segmentation:
    """Segment a scan slice by slice, and link structures along z; see `segment`.

    Memory grows with the number of slices only by the label map. Slices are worked on by several threads
    (environment variable FEWCT_NUM_THREADS).
    """
    start = time.perf_counter()
    input_hash = input_sha256(volume)
    kept = (
        None
        if resume_dir is None
        else _KeptSlices(resume_dir, resume_key(segmenter, _identity(volume, input_hash)))
    )
    labels = np.zeros(volume.shape, dtype=np.int32)
    table = StructureTable(volume.spacing_mm)
    previous, next_id = np.zeros(volume.shape[1:], dtype=np.int32), 1
    for index, (image, found) in enumerate(_slices_of(volume, segmenter, kept)):
        linked = link_with_fixed_ids(previous, found.labels, next_id, linking, found.n_fixed_ids)
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
        manifest=manifest(volume, segmenter, input_hash, seconds, linking=asdict(linking)),
        geometry=volume.geometry,
        source=volume.source,
        image=volume,
    )


def _slices_of(
    volume: CTVolume, segmenter: Segmenter, kept: "_KeptSlices | None"
) -> Iterator[tuple[CTSlice, SliceSegmentation]]:
    """Yield each slice with its segmentation, in order, a few slices at a time in threads."""

    def work(index: int) -> tuple[CTSlice, SliceSegmentation]:
        image = volume[index]
        found = None if kept is None else kept.load(index)
        if found is None:
            found = replace(segmenter.segment(image), cut=None)
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
        try:
            with path.open("rb") as file, np.load(file) as arrays:
                fixed = int(arrays["n_fixed_ids"])
                return SliceSegmentation(arrays["labels"], arrays["scores"], n_fixed_ids=fixed)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            return None  # damaged: the slice is segmented again

    def save(self, index: int, found: SliceSegmentation) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(self._path(index)) as partial:
            np.savez_compressed(
                partial, labels=found.labels, scores=found.scores, n_fixed_ids=found.n_fixed_ids
            )

    def _path(self, index: int) -> Path:
        return self.folder / f"{self.key[:16]}_{index:05d}.npz"


def manifest(
    image: CTSlice | CTVolume,
    segmenter: Segmenter,
    input_hash: str,
    seconds: Mapping[str, float],
    **settings: Any,
) -> Manifest:
    """Return the record of how a result came to be; `settings` are those of other steps, by step."""
    return Manifest(
        version=__version__,
        method=segmenter.method.name,
        configuration={**asdict(segmenter.method), **settings},
        weights_sha256=segmenter.weights_sha256,
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


def _identity(volume: CTVolume, input_hash: str) -> str:
    """Return the hash of a scan as it was read: files may hold more slices, or be read as another unit."""
    digest = hashlib.sha256(f"{input_hash} {volume.unit} {volume.shape}".encode())
    digest.update(b"" if volume.geometry is None else volume.geometry.affine.tobytes())
    for index in (0, -1):
        digest.update(volume[index].pixels.tobytes())
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


def resume_key(segmenter: Segmenter, input_sha256: str) -> str:
    """Return a name, 64 hexadecimal digits, for what a segmenter makes of an input with some hash."""
    settings = asdict(segmenter.method)
    made_from = [__version__, segmenter.method.name, settings, segmenter.weights_sha256, input_sha256]
    return hashlib.sha256(json.dumps(made_from).encode()).hexdigest()


def forget(folder: Path) -> None:
    """Delete what was kept in a folder, and the `RESUME_FOLDER` around it when nothing else is in it."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder.parent.is_dir() and not any(folder.parent.iterdir()):
        folder.parent.rmdir()
