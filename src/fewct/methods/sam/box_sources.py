"""Where boxes of a slice come from: another method's structures, a table, or a label map."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fewct.errors import InputError, UsageError, check_choice
from fewct.imaging.labelmap import place_on_grid
from fewct.imaging.masks import boxes_from_labels
from fewct.methods.classical import Felzenszwalb, Watershed
from fewct.methods.mosaic.method import Mosaic
from fewct.methods.protocol import Method, Segmenter
from fewct.methods.sam.everything import Everything
from fewct.methods.unet.method import UNet
from fewct.types import AnyLabels, CTSlice, LabelMap

if TYPE_CHECKING:
    from fewct.io.boxes import BoxTable

SourceName: TypeAlias = Literal["mosaic", "watershed", "felzenszwalb", "unet", "everything"]

SOURCES: Mapping[str, type[Mosaic | Watershed | Felzenszwalb | UNet | Everything]] = MappingProxyType(
    {method.name: method for method in (Mosaic, Watershed, Felzenszwalb, UNet, Everything)}
)
"""The methods whose structures can get boxes."""
TABLES = (".csv", ".json")


def source_method(name: str, weights: str) -> Method:
    """Return a method whose structures get boxes, at its default settings.

    Args:
        name: One of `SOURCES`.
        weights: Its weights, for methods that come without; empty for the others.

    Raises:
        UsageError: If there is no such method, or its weights are missing or not wanted.
    """
    check_choice("boxes_from", name, SOURCES)
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


class BoxSource(Protocol):
    """Where the boxes of a slice come from."""

    @property
    def sha256(self) -> str | None:
        """Hash of what decides the boxes beside the slice; None for methods without weights."""
        ...

    def boxes_on(self, image: CTSlice) -> Annotated[NDArray[np.float64], "n 4"]:
        """Return the boxes on a slice: x0, y0, x1, y1 in pixels, x1 and y1 one past the last pixel.

        Raises:
            InputError: If what holds the boxes is of another image.
        """
        ...


@dataclass(frozen=True, eq=False)
class StructureBoxes:
    """Boxes around the structures that a method finds."""

    segmenter: Segmenter

    @property
    def sha256(self) -> str | None:
        """Hash of the method's weights."""
        return self.segmenter.weights_sha256

    def boxes_on(self, image: CTSlice) -> Annotated[NDArray[np.float64], "n 4"]:
        """Return the box around each structure; see `BoxSource`."""
        return boxes_from_labels(self.segmenter.segment(image).labels)[1].astype(np.float64)


@dataclass(frozen=True, eq=False)
class TableBoxes:
    """Boxes of a table."""

    table: "BoxTable"
    sha256: str

    def boxes_on(self, image: CTSlice) -> Annotated[NDArray[np.float64], "n 4"]:
        """Return the boxes that the table has for a slice; see `BoxSource`."""
        return self.table.boxes_of(image)


@dataclass(frozen=True, eq=False)
class LabelMapBoxes:
    """Boxes around the structures of a label map."""

    label_map: LabelMap
    path: Path
    sha256: str

    def boxes_on(self, image: CTSlice) -> Annotated[NDArray[np.float64], "n 4"]:
        """Return the box around each structure of the label map that lies on a slice; see `BoxSource`."""
        labels = _labels_on(image, self.label_map, self.path)
        return boxes_from_labels(labels)[1].astype(np.float64)


def open_box_source(source: str | Method) -> BoxSource:
    """Open a file of boxes, or a method that finds them.

    A label map that knows its place in the patient is placed on the slice's grid; another has the slice's
    shape, or is a stack of such for a scan.

    Args:
        source: A method; or a file, CSV or JSON as `fewct.io.boxes.read_boxes` takes them, or a label map.

    Raises:
        InputError: If the file or the method's weights are absent or damaged.
        MissingExtraError: For NRRD and MetaImage without SimpleITK.
    """
    if not isinstance(source, str):
        return StructureBoxes(source.load())
    path = Path(source)
    sha256 = file_sha256(path)
    if path.suffix.lower() in TABLES:
        from fewct.io.boxes import read_boxes

        return TableBoxes(read_boxes(path), sha256)
    from fewct.io import read_labels

    return LabelMapBoxes(read_labels(path), path, sha256)


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
