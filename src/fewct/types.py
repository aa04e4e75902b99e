"""The records that travel through fewct, and the array types they are made of.

Arrays are (rows, columns), volumes (slices, rows, columns). Points and boxes are x, y in pixels, x along
the columns. Background is 0. Patient space is LPS (towards left, posterior, superior) in millimetres, as
in DICOM.
"""

import operator
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, get_args, overload

import numpy as np
from numpy.typing import NDArray

from fewct.errors import InputError, as_labels, check_choice, check_image

Image: TypeAlias = Annotated[NDArray[np.float32], "rows columns"]
Mask: TypeAlias = Annotated[NDArray[np.bool_], "rows columns"]
Labels: TypeAlias = Annotated[NDArray[np.int32], "rows columns"]
AnyLabels: TypeAlias = Annotated[NDArray[np.int32], "*grid"]
Boxes: TypeAlias = Annotated[NDArray[np.int64], "n 4"]
Affine: TypeAlias = Annotated[NDArray[np.float64], "4 4"]

Unit: TypeAlias = Literal["hu", "grey"]
UnitChoice: TypeAlias = Literal["auto", "hu", "grey"]
WindowName: TypeAlias = Literal["soft-tissue", "lung", "bone", "brain", "liver", "mediastinum"]
Format: TypeAlias = Literal["nifti", "nrrd", "metaimage", "dicom-seg", "png", "npz", "coco"]


@dataclass(frozen=True, eq=False)
class Geometry:
    """Where a pixel grid stands in the patient.

    Args:
        affine: Maps (slice, row, column, 1) to (x, y, z, 1) in LPS millimetres, at voxel centres.
        frame_of_reference_uid: DICOM's name of that patient space, where known.

    Raises:
        InputError: If the affine is not finite or maps two voxels to one place.
    """

    affine: Affine
    frame_of_reference_uid: str | None = None

    def __post_init__(self) -> None:
        affine = np.asarray(self.affine, dtype=np.float64)
        if affine.shape != (4, 4) or not np.isfinite(affine).all() or abs(np.linalg.det(affine)) < 1e-12:
            raise InputError(
                "geometry",
                expected="an invertible 4 x 4 affine of finite numbers (spacing above 0)",
                found=np.array2string(affine, precision=4, separator=", ").replace("\n", ""),
                fix="Repair the spacing, origin and direction in the file's header.",
            )
        object.__setattr__(self, "affine", affine)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring (slices, rows, columns) in millimetres."""
        slice_mm, row_mm, column_mm = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(slice_mm), float(row_mm), float(column_mm)

    def at_slice(self, index: int) -> "Geometry":
        """Return the geometry whose slice 0 is this one's slice `index`."""
        affine = self.affine.copy()
        affine[:3, 3] += index * affine[:3, 0]
        return replace(self, affine=affine)

    @classmethod
    def from_spacing(cls, spacing_mm: tuple[float, float, float]) -> "Geometry":
        """Return an axis-aligned geometry at the origin from (slice, row, column) spacing in millimetres.

        Example:
            >>> Geometry.from_spacing((5.0, 0.8, 0.7)).spacing_mm
            (5.0, 0.8, 0.7)
        """
        slice_mm, row_mm, column_mm = spacing_mm
        affine = np.zeros((4, 4))
        affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = slice_mm, row_mm, column_mm, 1.0
        return cls(affine)


@dataclass(frozen=True)
class Provenance:
    """Where pixels came from, so that results can be written in the input's own kind and grid.

    Args:
        path: The file or folder that the user named.
        format: "dicom", "nifti", "nrrd", "metaimage", "image", "numpy", or another package's format.
        name: A name safe for files, from which output names are made.
        files: The files read, for DICOM in slice order; members of a zip are `zipfile.Path`.
        stored_axes: For formats that store axes in any order: for each of (slice, row, column) the
            file's axis, counted from 1, negative where it runs the other way.
        stored_ndim: Number of dimensions of the array in the file.
    """

    path: Path
    format: str
    name: str
    files: tuple[Path | zipfile.Path, ...] = ()
    stored_axes: tuple[int, int, int] | None = None
    stored_ndim: int | None = None


class _ShowsItself:
    """Shows itself as a picture in a notebook."""

    def _repr_png_(self) -> bytes:
        # by its name, as it stands above: whoever asks for a picture loads what draws it
        picture: bytes = import_module("fewct.plot").png_of(self)
        return picture


@dataclass(frozen=True, eq=False, repr=False)
class CTSlice(_ShowsItself):
    """One CT slice.

    Args:
        pixels: float32 (rows, columns): Hounsfield units or grey values; NaN marks padding.
        unit: "hu" for Hounsfield units, "grey" for values windowed in an unknown way.
        geometry: Where the slice stands (its slice index is 0); None where the file does not tell.
        source: Where it came from; None for arrays.
        index: Its place in the scan, counted from 0; None for a slice alone.

    Raises:
        InputError: If `pixels` is not a non-empty two-dimensional array of real numbers.
    """

    pixels: Image
    unit: Unit
    geometry: Geometry | None = None
    source: Provenance | None = None
    index: int | None = None

    def __post_init__(self) -> None:
        pixels = np.asarray(self.pixels)
        check_image(pixels)
        check_choice("unit", self.unit, get_args(Unit))
        object.__setattr__(self, "pixels", pixels.astype(np.float32, copy=False))

    def __repr__(self) -> str:
        return f"CTSlice({_size(self.shape, self.spacing_mm)}, {self.unit})"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.pixels, dtype=dtype, copy=copy)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns)."""
        rows, columns = self.pixels.shape
        return rows, columns

    @property
    def spacing_mm(self) -> tuple[float, float] | None:
        """Distance between neighbouring (rows, columns) in millimetres, None where unknown."""
        return None if self.geometry is None else self.geometry.spacing_mm[1:]

    @property
    def pixel_area_mm2(self) -> float:
        """Area of one pixel in square millimetres, NaN where the spacing is unknown."""
        return float("nan") if self.spacing_mm is None else self.spacing_mm[0] * self.spacing_mm[1]


@dataclass(frozen=True, eq=False, repr=False)
class CTVolume(_ShowsItself):
    """A scan, read slice by slice: it never holds the whole unless made from an array.

    `scan[3]` is a slice, `scan[5:8]` a scan, `np.asarray(scan)` all pixels.

    Args:
        shape: (slices, rows, columns).
        load: Returns the float32 pixels (rows, columns) of the slice with a given index.
        unit: "hu" or "grey", as in `CTSlice`.
        geometry: Where the scan stands; None where the file does not tell.
        source: Where it came from; None for arrays.
    """

    shape: tuple[int, int, int]
    load: Callable[[int], Image]
    unit: Unit
    geometry: Geometry | None = None
    source: Provenance | None = None

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise _no_volume(self.shape)
        check_choice("unit", self.unit, get_args(Unit))

    @classmethod
    def from_array(
        cls,
        pixels: NDArray[Any],
        unit: Unit,
        geometry: Geometry | None = None,
        source: Provenance | None = None,
    ) -> "CTVolume":
        """Return a volume over an array (slices, rows, columns) of real numbers.

        Raises:
            InputError: If the array has another number of dimensions or no slices.
        """
        if pixels.ndim != 3 or pixels.size == 0:
            raise _no_volume(pixels.shape)
        check_image(pixels[0])
        slices, rows, columns = pixels.shape
        return cls((slices, rows, columns), lambda k: pixels[k].astype(np.float32), unit, geometry, source)

    @property
    def spacing_mm(self) -> tuple[float, float, float] | None:
        """Distance between neighbouring (slices, rows, columns) in millimetres, None where unknown."""
        return None if self.geometry is None else self.geometry.spacing_mm

    def __repr__(self) -> str:
        return f"CTVolume({_size(self.shape, self.spacing_mm)}, {self.unit})"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("a scan is read slice by slice: its array is always a copy")
        return np.stack([plane.pixels for plane in self]).astype(dtype or np.float32, copy=False)

    def __len__(self) -> int:
        return self.shape[0]

    @overload
    def __getitem__(self, index: int) -> CTSlice: ...
    @overload
    def __getitem__(self, index: slice) -> "CTVolume": ...
    def __getitem__(self, index: int | slice) -> "CTSlice | CTVolume":
        if isinstance(index, slice):
            return self._part(range(len(self))[index])
        index = operator.index(index)
        if not -len(self) <= index < len(self):
            raise IndexError(f"slice {index} of a volume of {len(self)}")
        index %= len(self)
        geometry = None if self.geometry is None else self.geometry.at_slice(index)
        return CTSlice(self.load(index), self.unit, geometry, self.source, index)

    def _part(self, chosen: range) -> "CTVolume":
        """Return the volume of some slices."""
        geometry, source = self.geometry, self.source
        if geometry is not None and len(chosen):
            affine = geometry.at_slice(chosen[0]).affine
            affine[:3, 0] *= chosen.step
            geometry = replace(geometry, affine=affine)
        if source is not None and len(source.files) == len(self):
            source = replace(source, files=tuple(source.files[k] for k in chosen))
        shape = (len(chosen), *self.shape[1:])
        return CTVolume(shape, lambda k: self.load(chosen[k]), self.unit, geometry, source)

    def __iter__(self) -> Iterator[CTSlice]:
        return (self[index] for index in range(len(self)))


@dataclass(frozen=True, eq=False, repr=False)
class LabelMap(_ShowsItself):
    """A label map with its place in the patient.

    Args:
        labels: (rows, columns) or (slices, rows, columns), 0 for background; any integers of 0 or more that
            int32 holds are taken, and kept as int32.
        geometry: Where it stands; None where the file does not tell.
        source: Where it came from; None for arrays.

    Raises:
        InputError: If labels have another dimension, or are fractional, negative or too large.
    """

    labels: AnyLabels
    geometry: Geometry | None = None
    source: Provenance | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", as_labels(np.asarray(self.labels)))

    def __repr__(self) -> str:
        spacing_mm = None if self.geometry is None else self.geometry.spacing_mm[-self.labels.ndim :]
        n_labels = np.unique(self.labels[self.labels > 0]).size
        return f"LabelMap({_size(self.labels.shape, spacing_mm)}, {n_labels} labels)"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.labels, dtype=dtype, copy=copy)


@dataclass(frozen=True, eq=False)
class MaskProposals:
    """Masks that may overlap, each kept cropped to its box.

    Args:
        shape: (rows, columns) of the slice.
        boxes_xyxy: int64 (n, 4): x0, y0, x1, y1 in pixels, x1 and y1 one past the last pixel.
        crops: For each mask a bool array (y1 - y0, x1 - x0).
        scores: float32 (n,), higher is better.
    """

    shape: tuple[int, int]
    boxes_xyxy: Boxes
    crops: tuple[NDArray[np.bool_], ...]
    scores: Annotated[NDArray[np.float32], "n"]

    def __post_init__(self) -> None:
        sizes = [(y1 - y0, x1 - x0) for x0, y0, x1, y1 in np.reshape(self.boxes_xyxy, (-1, 4)).tolist()]
        if sizes != [crop.shape for crop in self.crops] or np.shape(self.scores) != (len(sizes),):
            raise InputError(
                "masks",
                expected="for each box a crop of its size and a score",
                found=f"{len(sizes)} boxes, {len(self.crops)} crops, {len(self.scores)} scores",
                fix="Crop each mask to its box.",
            )

    def __len__(self) -> int:
        return len(self.crops)

    @property
    def areas(self) -> Annotated[NDArray[np.int64], "n"]:
        """Number of pixels of each mask."""
        return np.array([np.count_nonzero(crop) for crop in self.crops], dtype=np.int64)

    def mask(self, index: int) -> Mask:
        """Return mask `index` in full size, bool (rows, columns)."""
        full = np.zeros(self.shape, dtype=np.bool_)
        x0, y0, x1, y1 = self.boxes_xyxy[index]
        full[y0:y1, x0:x1] = self.crops[index]
        return full

    def keep(self, index: NDArray[Any]) -> "MaskProposals":
        """Return the proposals that an index array (integers in any order, or a bool mask) selects."""
        chosen = np.arange(len(self))[index]
        return MaskProposals(
            self.shape, self.boxes_xyxy[chosen], tuple(self.crops[i] for i in chosen), self.scores[chosen]
        )


@dataclass(frozen=True, eq=False)
class MergeTree:
    """A hierarchy of regions: which neighbours merge first, and at what level.

    Node 0 .. n - 1 are the leaves, n .. 2n - 2 the merges in the order they happen, the last one the root.

    Args:
        leaves: int32 (rows, columns): the over-segmentation, node number + 1; 0 lies outside the tree.
        parents: int64 (nodes,): parent of each node; the root is its own.
        levels: float64 (nodes,): level in [0, 1] at which a node comes to be; 0 for leaves. Never below
            the level of a child.
    """

    leaves: Labels
    parents: Annotated[NDArray[np.int64], "nodes"]
    levels: Annotated[NDArray[np.float64], "nodes"]

    def __post_init__(self) -> None:
        if len(self.parents) != len(self.levels) or int(np.max(self.leaves, initial=0)) != self.n_leaves:
            raise InputError(
                "merge tree",
                expected="leaves numbered 1 .. n, and parents and levels of all 2 n - 1 nodes",
                found=f"{np.max(self.leaves, initial=0)} leaves, {len(self.parents)} parents, "
                f"{len(self.levels)} levels",
                fix="Build it with fewct.imaging.agglomeration.merge_tree.",
            )

    @property
    def n_leaves(self) -> int:
        """Number of leaves."""
        return (len(self.parents) + 1) // 2


@dataclass(frozen=True)
class Structure:
    """One row of the table of structures.

    Coordinates are voxels: x along columns, y along rows, z along slices (0 on a single slice); the box's
    upper ends are one past the last voxel. In a scan, `score` is the mean over slices, and `link_quality`
    the mean intersection over union of cross-sections on neighbouring slices, both weighted by area. What
    is not known (spacing, score, links) is NaN.
    """

    id: int
    area_px: int
    area_mm2: float
    volume_mm3: float
    x0: int
    y0: int
    z0: int
    x1: int
    y1: int
    z1: int
    centroid_x: float
    centroid_y: float
    centroid_z: float
    mean_intensity: float
    score: float
    link_quality: float


@dataclass(frozen=True)
class Manifest:
    """How a result came to be.

    Args:
        version: Version of fewct.
        method: Name of the method.
        configuration: All its settings.
        weights_sha256: Hash of the network's weights, None for methods without.
        input_sha256: Hash of the input's files (of its pixels, for arrays).
        unit: "hu" or "grey", as the input was read.
        seconds: Wall-clock time by step; the one field that differs between equal runs.
    """

    version: str
    method: str
    configuration: Mapping[str, Any]
    weights_sha256: str | None
    input_sha256: str
    unit: Unit
    seconds: Mapping[str, float] = field(default_factory=dict)


def _no_volume(shape: Sequence[int]) -> InputError:
    return InputError(
        "pixels",
        expected="a non-empty array (slices, rows, columns)",
        found=f"shape {tuple(shape)}",
        fix="Use CTSlice for one slice; choose at least one slice of a scan.",
    )


def _size(shape: Sequence[int], spacing_mm: Sequence[float] | None) -> str:
    """Return a size in pixels, and in millimetres where they are known."""
    pixels = " x ".join(map(str, shape)) + (" px" if len(shape) == 2 else " voxels")
    return pixels if spacing_mm is None else f"{pixels} of {' x '.join(f'{mm:.3g}' for mm in spacing_mm)} mm"
