"""From labelled data of any layout to MedSAM's NPZ: one file a scan or picture."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fewct
from fewct.data.cases import DataSet, LabelledCase, read_cases
from fewct.errors import InputError, UsageError, check_range
from fewct.imaging.intensity import to_display
from fewct.imaging.resample import resize
from fewct.io.medsam.reading import EMBEDDING, SIDE, Embed, Embedding, Picture
from fewct.io.medsam.writing import SquareSlice, write_medsam
from fewct.methods.sam.backends.load import NormalizationChoice, checkpoint_sha256, load_backend
from fewct.methods.sam.preprocessing import InputFrame, preprocess
from fewct.outputs import make_folder, numbered
from fewct.types import Labels, WindowName


@dataclass(frozen=True)
class MedSAMSettings:
    """What goes into MedSAM's NPZ; the defaults are the founding paper's.

    Raises:
        UsageError: If a threshold is below 0, or `normalization` is chosen without weights.
    """

    multi: bool = False
    """One entry a slice with a channel for each structure, instead of one entry for each structure."""
    min_original_px: int = 1000
    """Drop structures of fewer pixels before resizing: in the picture, or in all slices taken of a scan."""
    min_resized_px: int = 100
    """Drop a structure from a slice on which fewer pixels of it are left after resizing to 256 x 256."""
    window: WindowName | None = None
    """How Hounsfield units become grey; None: soft tissue. For grey data percentiles do that."""
    weights: str = ""
    """Checkpoint of SAM or MedSAM, file or folder, whose image embeddings are written, too. Needs torch."""
    normalization: NormalizationChoice = "auto"
    """How grey values are normalised; name medsam for MedSAM, whose file looks like SAM's."""

    def __post_init__(self) -> None:
        for name in ("min_original_px", "min_resized_px"):
            check_range(name, getattr(self, name), fix="0 drops nothing.")
        if self.normalization != "auto" and not self.weights:
            raise UsageError(
                "normalization",
                expected="weights of a network that sees them",
                found="none",
                fix="Name a checkpoint with --weights, or leave this out.",
            )


@dataclass(frozen=True)
class Prepared:
    """What became of one scan or picture.

    Args:
        name: Its name; that of the data, if it could not be read.
        file: The file written; None if nothing was left to write.
        entries: Entries in the file.
        masks: Masks in the file; a mask is one structure on one slice.
        dropped: Masks dropped by the thresholds.
        error: Why this data could not be read to its end; None if all went well.
    """

    name: str
    file: Path | None = None
    entries: int = 0
    masks: int = 0
    dropped: int = 0
    error: InputError | None = None


def prepare_medsam(data: Iterable[DataSet], folder: Path, settings: MedSAMSettings) -> Iterator[Prepared]:
    """Write data as MedSAM's NPZ, one file a scan or picture.

    Pictures are 8-bit grey, through a window or percentiles as `imaging.intensity.to_display` makes it, and
    stretched to 256 x 256 as MedSAM's are: averaged where pixels become fewer, else linear. Labels follow
    by nearest neighbour. Background is never a structure.

    Args:
        data: What to read.
        folder: Where to write; made if absent. It must hold no NPZ yet.
        settings: Thresholds, layout and embeddings.

    Yields:
        What became of each scan or picture, as soon as it is written; data that cannot be read ends with an
        outcome that has an error, and the other data goes on.

    Raises:
        UsageError: If the folder holds NPZ files, a window is named for grey data, or the embeddings of the
            network do not have the layout's shape.
        InputError: If nothing is left to write of all the data, or the weights cannot be used.
        MissingExtraError: If weights are named and torch is not installed.
        OutputError: If a file cannot be written; none is partial.
    """
    _check_free(folder)
    named = settings.weights
    embed = load_embedding(named, settings.normalization) if named else None
    sha256 = checkpoint_sha256(named) if named else None
    manifest = {"version": fewct.__version__, "settings": asdict(settings), "weights_sha256": sha256}
    make_folder(folder)
    taken: set[str] = set()
    written, failed, dropped = 0, 0, 0
    for one in data:
        try:
            for name, cases in groupby(read_cases(one), key=_scan_of):
                prepared = _prepare(
                    cases, name, folder / f"{numbered(name, taken)}.npz", settings, embed, manifest
                )
                written += prepared.file is not None
                dropped += prepared.dropped
                yield prepared
        except InputError as error:
            failed += 1
            yield Prepared(one.name, error=error)
    if not written and not failed:
        raise InputError(
            "data",
            expected=f"a structure of {settings.min_original_px} px or more before resizing and "
            f"{settings.min_resized_px} px or more after",
            found=f"{dropped} masks, all smaller" if dropped else "no labels but 0",
            fix="Lower --min-original-px and --min-resized-px." if dropped else "Give data with labels.",
        )


def _prepare(
    cases: Iterable[LabelledCase],
    name: str,
    path: Path,
    settings: MedSAMSettings,
    embed: Embed | None,
    manifest: dict[str, Any],
) -> Prepared:
    """Write the slices of one scan, or one picture."""
    slices: list[SquareSlice] = []
    sizes: Counter[int] = Counter()
    found, patient = 0, None
    for case in cases:
        ids, counts = np.unique(case.truth[case.truth > 0], return_counts=True)
        sizes.update(dict(zip(ids.tolist(), counts.tolist(), strict=True)))
        found += len(ids)
        patient = case.patient
        if len(ids):
            slices.append(_square(case, settings.window))
    large = [label for label, size in sizes.items() if size >= settings.min_original_px]
    kept = [replace(one, labels=_keep(one.labels, large, settings.min_resized_px)) for one in slices]
    masks = sum(len(np.unique(one.labels[one.labels > 0])) for one in kept)
    if not masks:
        return Prepared(name, dropped=found)
    entries = write_medsam(path, kept, multi=settings.multi, patient=patient, embed=embed, manifest=manifest)
    return Prepared(name, path, entries, masks, found - masks)


def _square(case: LabelledCase, window: WindowName | None) -> SquareSlice:
    """Return a case at 256 x 256."""
    scan, _, number = case.name.rpartition("/")
    return SquareSlice(
        case.name,
        int(number) if scan else 0,
        case.image.shape,
        _stretch(to_display(case.image, window)),
        nearest(case.truth),
    )


def _stretch(picture: Picture) -> Picture:
    """Return a picture at 256 x 256."""
    return np.rint(resize(picture.astype(np.float32), (SIDE, SIDE))).astype(np.uint8)


def nearest(labels: Labels) -> Labels:
    """Return labels at 256 x 256: each pixel takes the label at its centre.

    Args:
        labels: int32 (rows, columns).

    Returns:
        int32 (256, 256).

    Example:
        >>> nearest(np.array([[1, 2]], np.int32))[0, 126:130].tolist()
        [1, 1, 2, 2]
    """
    rows, columns = (((np.arange(SIDE) + 0.5) * old / SIDE).astype(np.int64) for old in labels.shape)
    return labels[np.ix_(rows, columns)]


def _keep(labels: Labels, large: Sequence[int], min_px: int) -> Labels:
    """Return labels without structures that are not listed, or have too few pixels here."""
    ids, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    stays: NDArray[np.bool_] = np.isin(ids, large) & (counts >= min_px) & (ids > 0)
    return np.where(stays, ids, 0)[inverse].reshape(labels.shape).astype(np.int32)


def _scan_of(case: LabelledCase) -> str:
    """Return the name of the scan that a slice belongs to, or of the picture."""
    return case.name.rpartition("/")[0] or case.name


def _check_free(folder: Path) -> None:
    """Raise if a folder holds NPZ files already: they would be taken for results of this run."""
    files = sorted(file.name for file in folder.glob("*.npz")) if folder.is_dir() else []
    if files:
        raise UsageError(
            folder,
            expected="a folder without NPZ files",
            found=f"{len(files)}, such as {files[0]}",
            fix="Name another folder with --out, or remove them.",
        )


def load_embedding(weights: str, normalization: NormalizationChoice = "auto") -> Embed:
    """Return what embeds pictures with the image encoder of a checkpoint.

    Args:
        weights: A checkpoint of SAM, MedSAM, MobileSAM or LiteMedSAM: a file, or a folder of transformers.
        normalization: How grey values are normalised; "auto" for that of its architecture, which is the
            same for SAM and MedSAM.

    Returns:
        A function from uint8 (rows, columns) to float32 (256, 64, 64). It raises a `UsageError` if the
        network's embeddings have another shape.

    Raises:
        InputError: If the checkpoint is absent, damaged or of another network.
        MissingExtraError: If torch is not installed.
    """
    backend = load_backend(weights, 0, normalization)

    def embed(picture: Picture) -> Embedding:
        rows, columns = picture.shape
        frame = InputFrame((rows, columns), backend.image_size, backend.mask_px)
        embedding = backend.embed(preprocess(picture, frame, backend.normalization))
        if embedding.shape != EMBEDDING:
            raise UsageError(
                "weights",
                expected=f"an image encoder with embeddings of {EMBEDDING}, as the layout has them",
                found=f"{weights} with {embedding.shape}",
                fix="Name a checkpoint of SAM, MedSAM, MobileSAM or LiteMedSAM.",
            )
        return embedding

    return embed
