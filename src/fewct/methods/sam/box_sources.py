"""Where boxes of a slice come from: another method's structures, a table, or a label map."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fewct.errors import InputError, UsageError, check_choice
from fewct.imaging.labelmap import place_on_grid
from fewct.imaging.masks import boxes_from_labels
from fewct.methods.classical import Felzenszwalb, Watershed
from fewct.methods.mosaic.method import Mosaic
from fewct.methods.protocol import Method
from fewct.methods.sam.checkpoints.layout import file_sha256
from fewct.methods.sam.everything import Everything
from fewct.methods.unet.method import UNet
from fewct.types import AnyLabels, CTSlice, LabelMap

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


@dataclass(frozen=True, eq=False)
class BoxSource:
    """Where the boxes of a slice come from.

    Args:
        boxes_on: Returns the boxes on a slice: x0, y0, x1, y1 in pixels, x1 and y1 one past the last pixel.
            Raises an InputError if what holds the boxes is of another image.
        sha256: Hash of what decides the boxes beside the slice; None for methods without weights.
    """

    boxes_on: Callable[[CTSlice], Annotated[NDArray[np.float64], "n 4"]]
    sha256: str | None


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
        segmenter = source.load()
        return BoxSource(
            lambda image: _boxes_around(segmenter.segment(image).labels), segmenter.weights_sha256
        )
    path = Path(source)
    try:
        sha256 = file_sha256(path)
    except OSError as error:
        raise InputError(
            path,
            expected="a table of boxes or a label map",
            found=(error.strerror or str(error)).lower(),
            fix="Check the path to the boxes.",
        ) from error
    if path.suffix.lower() in TABLES:
        from fewct.io.boxes import read_boxes

        return BoxSource(read_boxes(path).boxes_of, sha256)
    from fewct.io import read_labels

    label_map = read_labels(path)
    return BoxSource(lambda image: _boxes_around(_labels_on(image, label_map, path)), sha256)


def _boxes_around(labels: AnyLabels) -> Annotated[NDArray[np.float64], "n 4"]:
    return boxes_from_labels(labels)[1].astype(np.float64)


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
