"""A submission from the test images: predict, write, read back, validate; resumed after an interruption."""

import hashlib
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from fewct.challenge.editions import Edition
from fewct.challenge.validate import Report, validate
from fewct.errors import FewctError, FewctWarning, InputError, OutputError, UsageError
from fewct.imaging.labelmap import relabel_sequential
from fewct.io import read
from fewct.io.images import write_picture
from fewct.io.label_table.layout import list_images
from fewct.io.label_table.pictures import read_grey
from fewct.io.label_table.table import read_table, write_table
from fewct.methods import Method, Segmenter
from fewct.outputs import make_folder
from fewct.runtime.threads import thread_count
from fewct.segmentation import RESUME_FOLDER, forget, resume_key
from fewct.types import CTSlice

MOST_LABELS = 255

Prediction = Annotated[NDArray[np.uint8], "rows columns"]


def submit(
    images: Path,
    method: Method,
    out: Path,
    edition: Edition,
    *,
    allow_empty: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Predict all images of a folder and write them as one label table.

    Finished predictions stay in a folder `.fewct_resume` beside the table until it is written, under the
    hash of image, method and settings: a later call goes on from there, and never with anything else.

    Args:
        images: Folder of `0.png`, `1.png`, ... of the edition's size.
        method: A configured method.
        out: The CSV file to write.
        edition: One without classes.
        allow_empty: Write an empty column, with a warning, for an image that fails or has no structures.
        progress: Called with (images done, all images).

    Returns:
        The report of `validate` about the table.

    Raises:
        UsageError: If the edition asks for classes, which no method predicts.
        InputError: If any image fails or has no structure found in it, after all others are done; no
            table is written then.
        OutputError: If the table cannot be written, or reads back differently.
    """
    if edition.n_classes is not None:
        raise UsageError(
            "edition",
            expected="an edition that asks for structures without names: 2023 or 2024",
            found=f"{edition.name}, which asks for {edition.n_classes} named classes",
            fix="Name the classes yourself and write them with fewct challenge pack.",
        )
    files = list_images(images)
    kept = out.parent / RESUME_FOLDER / out.name
    make_folder(kept)
    stack = np.zeros((len(files), edition.side, edition.side), np.uint8)
    failures = []
    for index, predicted in enumerate(_predict_all(tuple(files.values()), method.load(), kept, edition)):
        if isinstance(predicted, FewctError):
            failures.append(predicted)
        else:
            stack[index] = predicted
        if progress is not None:
            progress(index + 1, len(files))
    if failures and not allow_empty:
        raise _all_failures(failures, len(files))
    for failure in failures:
        warnings.warn(f"{failure} Its column is empty.", FewctWarning, stacklevel=2)
    write_table(out, stack, tuple(files))
    if not np.array_equal(read_table(out).labels, stack):
        raise OutputError(
            out, expected="the predictions, read back", found="other labels", fix="Check the disk; run again."
        )
    forget(kept)
    return validate(out, edition, images=images, allow_empty=allow_empty)


def fit_to_table(labels: NDArray[np.int32], name: str) -> Prediction:
    """Return a label map as uint8, structures numbered 1, 2, ...

    Of more than 255, the most that a table holds, the smallest become background, with a warning that calls
    the image `name`.
    """
    numbered, _ = relabel_sequential(labels)
    areas = np.bincount(numbered.ravel())[1:]
    if len(areas) > MOST_LABELS:
        warnings.warn(
            f"{name}: {len(areas)} structures, but a table holds {MOST_LABELS}; the smallest are dropped",
            FewctWarning,
            stacklevel=2,
        )
        largest = np.argsort(-areas, kind="stable")[:MOST_LABELS] + 1
        numbered, _ = relabel_sequential(np.where(np.isin(numbered, largest), numbered, 0))
    return numbered.astype(np.uint8)


def _predict_all(
    files: tuple[Path, ...], segmenter: Segmenter, kept: Path, edition: Edition
) -> Iterator[Prediction | FewctError]:
    """Yield the prediction of each image, or the error, in order; images are shared among threads."""

    def predict(path: Path) -> Prediction | FewctError:
        try:
            return _predict(path, segmenter, kept, edition)
        except FewctError as error:
            return error

    workers = thread_count()
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(files), workers):
            yield from pool.map(predict, files[start : start + workers])


def _predict(path: Path, segmenter: Segmenter, kept: Path, edition: Edition) -> Prediction:
    """Return the prediction of one image, that of an earlier call if there is one."""
    finished = kept / f"{resume_key(segmenter, hashlib.sha256(path.read_bytes()).hexdigest())}.png"
    if finished.exists():
        return read_grey(finished)
    image = read(path, unit="grey")
    if not isinstance(image, CTSlice) or image.shape != (edition.side, edition.side):
        raise InputError(
            path,
            expected=f"an image of {edition.side} x {edition.side} pixels, as in edition {edition.name}",
            found=" x ".join(map(str, image.shape)),
            fix="Use the edition's own images.",
        )
    prediction = fit_to_table(segmenter.segment(image).labels, str(path))
    if not prediction.any():
        raise InputError(
            path,
            expected="an image in which the method finds a structure",
            found="none",
            fix="Try other settings, or allow empty columns.",
        )
    write_picture(prediction, finished)
    return prediction


def _all_failures(failures: list[FewctError], n_images: int) -> InputError:
    """Return one error that names all images that failed."""
    return InputError(
        f"{len(failures)} of {n_images} images",
        expected="a prediction for each image",
        found="; ".join(str(failure).rstrip(".") for failure in failures),
        fix="Mend these images and run again, the others are kept; or allow empty columns.",
    )
