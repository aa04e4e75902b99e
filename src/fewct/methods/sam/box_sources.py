"""Where boxes of a slice come from: another method's structures, a table, or a label map."""

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fewct.errors import InputError, UsageError
from fewct.imaging.labelmap import place_on_grid
from fewct.imaging.masks import boxes_from_labels
from fewct.methods.classical import Felzenszwalb, Watershed
from fewct.methods.mosaic import Mosaic
from fewct.methods.sam.everything import Everything
from fewct.methods.unet import UNet
from fewct.types import AnyLabels, CTSlice, LabelMap

if TYPE_CHECKING:
    from fewct.io.boxes import BoxTable

SourceName: TypeAlias = Literal["mosaic", "watershed", "felzenszwalb", "unet", "everything"]
Source: TypeAlias = Mosaic | Watershed | Felzenszwalb | UNet | Everything

SOURCES: Mapping[str, type[Source]] = MappingProxyType(
    {method.name: method for method in (Mosaic, Watershed, Felzenszwalb, UNet, Everything)}
)
"""The methods whose structures can get boxes."""
TABLES = (".csv", ".json")


def source_method(name: str, weights: str) -> Source:
    """Return a method whose structures get boxes, at its default settings.

    Args:
        name: One of `SOURCES`.
        weights: Its weights, for methods that come without; empty for the others.

    Raises:
        UsageError: If there is no such method, or its weights are missing or not wanted.
    """
    if name not in SOURCES:
        listed = ", ".join(SOURCES)
        raise UsageError(
            "boxes_from", expected=f"one of {listed}", found=repr(name), fix="Choose one of these."
        )
    method = SOURCES[name]
    takes_weights = issubclass(method, (UNet, Everything))
    if (weights and not takes_weights) or (method is UNet and not weights):
        raise UsageError(
            "boxes_weights",
            expected=f"the weights of {name}" if takes_weights else f"none for boxes from {name}",
            found=weights or "none",
            fix="Pass --boxes-weights FILE." if takes_weights else "Leave the option out.",
        )
    return method(weights=weights) if issubclass(method, (UNet, Everything)) else method()


def boxes_of_structures(image: CTSlice, method: Source) -> Annotated[NDArray[np.float64], "n 4"]:
    """Return the box around each structure that a method finds.

    Returns:
        float64 (n, 4): x0, y0, x1, y1 in pixels, x1 and y1 one past the last pixel.
    """
    return boxes_from_labels(method.segment(image).labels)[1].astype(np.float64)


def boxes_in_file(image: CTSlice, path: Path) -> Annotated[NDArray[np.float64], "n 4"]:
    """Return the boxes of a slice in a table, or around the structures of a label map.

    A label map that knows its place in the patient is placed on the slice's grid; another has the slice's
    shape, or is a stack of such for a scan.

    Args:
        image: The slice.
        path: CSV or JSON as `fewct.io.boxes.read_boxes` takes them, or a label map.

    Returns:
        float64 (n, 4): x0, y0, x1, y1 in pixels, x1 and y1 one past the last pixel.

    Raises:
        InputError: If the file is absent, damaged or of another image.
        MissingExtraError: For NRRD and MetaImage without SimpleITK.
    """
    sha256 = file_sha256(path)
    if path.suffix.lower() in TABLES:
        return _table(path, sha256).boxes_of(image)
    labels = _labels_on(image, _label_map(path, sha256), path)
    return boxes_from_labels(labels)[1].astype(np.float64)


def file_sha256(path: Path) -> str:
    """Return the hash of a file of boxes.

    Raises:
        InputError: If it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InputError(
            path,
            expected="a table of boxes or a label map",
            found=(error.strerror or str(error)).lower(),
            fix="Check the path to the boxes.",
        ) from error


@lru_cache(maxsize=1)
def _table(path: Path, sha256: str) -> "BoxTable":  # noqa: ARG001 (it keys the cache)
    """Read a table once for all slices of a scan; the hash tells when it has changed."""
    from fewct.io.boxes import read_boxes

    return read_boxes(path)


@lru_cache(maxsize=1)
def _label_map(path: Path, sha256: str) -> LabelMap:  # noqa: ARG001 (it keys the cache)
    """Read a label map once for all slices of a scan; the hash tells when it has changed."""
    from fewct.io import read_labels

    return read_labels(path)


def _labels_on(image: CTSlice, label_map: LabelMap, path: Path) -> AnyLabels:
    """Return the part of a label map that lies on a slice."""
    if label_map.geometry is not None and image.geometry is not None:
        return place_on_grid(label_map, image.geometry, image.shape)
    labels = label_map.labels
    if labels.ndim == 3 and image.index is not None and image.index < len(labels):
        labels = labels[image.index]
    if labels.shape != image.shape:
        raise InputError(
            path,
            expected=f"a label map of the slice's shape {image.shape}",
            found=f"shape {labels.shape}",
            fix="Name the label map of this image, in a format that stores its place (NIfTI, NRRD, DICOM).",
        )
    return labels
