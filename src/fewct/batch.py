"""Many inputs in one go: each is read, segmented and written; a bad one never loses the others."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fewct.errors import FewctError, UsageError
from fewct.imaging.slice_linking import Linking
from fewct.io import DiscoveredImage, discover
from fewct.methods import Method, Segmenter
from fewct.outputs import make_folder, numbered, save
from fewct.segmentation import RESUME_FOLDER, forget, segment
from fewct.types import Format, UnitChoice, WindowName

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Outcome:
    """What became of one input.

    Args:
        input: The file or folder it was read from.
        name: The NAME of its outputs; empty if it could not be read at all.
        shape: (rows, columns) or (slices, rows, columns); empty on failure.
        structures: Number of structures found.
        seconds: Wall-clock time from reading to writing.
        files: Files written.
        error: What went wrong, None if all went well.
    """

    input: Path
    name: str = ""
    shape: tuple[int, ...] = ()
    structures: int = 0
    seconds: float = 0.0
    files: tuple[Path, ...] = ()
    error: FewctError | None = None


def segment_files(
    inputs: Iterable[Path | str],
    method: Method,
    folder: Path | str,
    *,
    linking: Linking | None = None,
    format: Format | None = None,
    window: WindowName | None = None,
    series: str | None = None,
    unit: UnitChoice = "auto",
    progress: Progress | None = None,
) -> Iterator[Outcome]:
    """Segment each image that the inputs hold and write the results into one folder.

    Args:
        inputs: Files, folders and zips, as `fewct.io.discover` takes them.
        method: A configured method.
        folder: Where to write; made if absent.
        linking: How structures of neighbouring slices are joined into one; for scans.
        format: Format of the label maps; None for each input's own kind.
        window: Window preset of the pictures of Hounsfield data; None for soft tissue.
        series: Which DICOM series to read where there are several.
        unit: "hu", "grey", or "auto" to look at the input.
        progress: Called with (name, finished slices, all slices) as a scan advances.

    Yields:
        One outcome an image, in order, as soon as it is done. Two images of one name get numbered.

    Raises:
        UsageError: If a setting cannot be applied; this is no fault of one input.
        InputError: If the method's weights are absent or damaged.
        OutputError: If the folder cannot be made.
    """
    folder = Path(folder)
    make_folder(folder)
    segmenter = method.load()
    taken: set[str] = set()
    for path in map(Path, inputs):
        try:
            images = discover(path, series=series, unit=unit)
        except UsageError:
            raise
        except FewctError as error:
            yield Outcome(path, error=error)
            continue
        for image in images:
            name = numbered(image.name, taken)
            try:
                yield _segment_one(
                    image,
                    name,
                    segmenter,
                    folder,
                    linking=linking,
                    format=format,
                    window=window,
                    progress=progress,
                )
            except UsageError:
                raise
            except FewctError as error:
                yield Outcome(image.path, name, error=error)


def _segment_one(
    found: DiscoveredImage,
    name: str,
    segmenter: Segmenter,
    folder: Path,
    *,
    linking: Linking | None,
    format: Format | None,
    window: WindowName | None,
    progress: Progress | None,
) -> Outcome:
    start = time.perf_counter()
    image = found.open()
    resume_dir = folder / RESUME_FOLDER / name
    result = segment(
        image,
        segmenter,
        linking=linking,
        resume_dir=resume_dir,
        progress=None if progress is None else lambda done, total: progress(name, done, total),
    )
    files = save(result, image, folder, name, format=format, window=window)
    forget(resume_dir)
    return Outcome(
        found.path,
        name,
        result.labels.shape,
        len(result.structures),
        round(time.perf_counter() - start, 3),
        files,
    )
