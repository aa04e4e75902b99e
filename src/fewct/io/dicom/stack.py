"""Image planes sorted along the normal; a warning names copies, gaps and uneven spacing."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fewct.errors import FewctWarning, InputError
from fewct.io.dicom.pixels import read_plane
from fewct.io.dicom.planes import Place, Plane
from fewct.types import Geometry, Unit

SAME_PLACE_MM = 0.01
"""Planes closer than this along the normal are in one place."""
STEP_TOLERANCE = 0.1
"""Share of the slice spacing by which a step may differ: positions in headers are often rounded."""
_UNKNOWN_STEP_MM = 1.0
"""Slice step of a single image without thickness and spacing in its header."""
_NAMES_SHOWN = 5

Placed: TypeAlias = tuple[Plane, Place]


@dataclass(frozen=True, eq=False)
class Stack:
    """Planes in slice order.

    Args:
        planes: One a slice, ascending along the normal (row axis x column axis of the patient, as DICOM
            counts them).
        geometry: None where the files have no pixel spacing.
        unit: "hu" if every plane is in Hounsfield units.
    """

    planes: tuple[Plane, ...]
    geometry: Geometry | None
    unit: Unit


def stack_planes(planes: Sequence[Plane], subject: object) -> Stack:
    """Sort planes by their place in the patient and check that they make one scan.

    Exact copies in one place are dropped; copies, missing slices and uneven spacing are named in a warning.
    Slices without any position are sorted by instance number, also with a warning.

    Args:
        planes: Planes of one series, in any order.

    Returns:
        The planes in slice order. The slice step of their geometry runs from the first plane to the last,
        divided evenly, so that a tilted gantry's shear is kept.

    Raises:
        InputError: If sizes, orientations or pixel spacings are mixed, some planes only have a position, or
            different images stand in one place, or the spacing is not above 0.
    """
    unit: Unit = "hu" if all(plane.unit == "hu" for plane in planes) else "grey"
    placed = [(plane, plane.place) for plane in planes if plane.place is not None]
    if 0 < len(placed) < len(planes):
        raise InputError(
            subject,
            expected="a position and an orientation in every image of the series",
            found=f"none in {listed([plane.name for plane in planes if plane.place is None])}",
            fix="Leave these files out.",
        )
    check_alike(planes, subject)
    if not placed:
        return _stack(_by_number(planes, subject), unit)
    unique = _without_copies(_by_distance(placed), subject)
    _warn_of_uneven_steps(unique, subject)
    return _stack([plane for plane, _ in unique], unit)


def _stack(ordered: Sequence[Plane], unit: Unit) -> Stack:
    return Stack(tuple(ordered), geometry_of(ordered[0], ordered[-1], len(ordered)), unit)


def check_alike(planes: Sequence[Plane], subject: object) -> None:
    """Raise unless all planes have one size, one orientation and one pixel spacing.

    Raises:
        InputError: If they are mixed; the message names the values and who has them.
    """
    nothing = np.empty(0)
    for what, separator, tolerance, values in (
        ("sizes", " x ", 0.0, [np.array(plane.header.shape) for plane in planes]),
        ("orientations", ", ", 0.01, [nothing if p.place is None else p.place.axes for p in planes]),
        ("pixel spacings (mm)", " x ", 0.001, [np.array(plane.spacing_mm or nothing) for plane in planes]),
    ):
        kinds = _kinds(values, [plane.name for plane in planes], tolerance)
        if len(kinds) > 1:
            raise InputError(
                subject,
                expected="images of one size, orientation and pixel spacing",
                found=f"mixed {what} in a series: "
                + "; ".join(f"{_written(value, separator)} in {listed(names)}" for value, names in kinds),
                fix="Move the images that do not belong to the scan elsewhere.",
            )


def _kinds(
    values: Sequence[NDArray[Any]], names: Sequence[str], tolerance: float
) -> list[tuple[NDArray[Any], list[str]]]:
    """Return the different values, each with the names of all that have it."""
    kinds: list[tuple[NDArray[Any], list[str]]] = []
    for value, name in zip(values, names, strict=True):
        for kind, members in kinds:
            if kind.shape == value.shape and np.allclose(kind, value, rtol=0, atol=tolerance):
                members.append(name)
                break
        else:
            kinds.append((value, [name]))
    return kinds


def _by_number(planes: Sequence[Plane], subject: object) -> list[Plane]:
    """Return planes without positions by instance number; frames of one file keep their order."""
    if len(planes) == 1:
        return list(planes)
    numbers = [(plane.header.integer("InstanceNumber", -1), plane.frame) for plane in planes]
    if len(set(numbers)) < len(numbers):
        raise InputError(
            subject,
            expected="images with positions, or at least with instance numbers of their own",
            found=f"{len(planes)} images without positions and with doubled instance numbers",
            fix="The order of the slices is not known: read the files one by one.",
        )
    _warn(
        f"{subject}: the images have no positions; they are sorted by instance number, and the slice spacing "
        "may be wrong"
    )
    return [planes[index] for index in np.lexsort(np.array(numbers).T[::-1])]


def _by_distance(placed: Sequence[Placed]) -> list[Placed]:
    """Return planes ascending along the normal, those in one place by instance number."""
    normal = placed[0][1].normal

    def order(item: Placed) -> tuple[float, int, str]:
        plane, place = item
        return float(place.position @ normal), plane.header.integer("InstanceNumber", 0), plane.name

    return sorted(placed, key=order)


def _without_copies(ordered: Sequence[Placed], subject: object) -> list[Placed]:
    """Return planes without those with the place and pixels of another."""
    normal = ordered[0][1].normal
    unique = [ordered[0]]
    copies = []
    for plane, place in ordered[1:]:
        last, last_place = unique[-1]
        if (place.position - last_place.position) @ normal > SAME_PLACE_MM:
            unique.append((plane, place))
        elif np.array_equal(read_plane(last), read_plane(plane), equal_nan=True):
            copies.append(plane.name)
        else:
            raise InputError(
                subject,
                expected="one image in each place",
                found=f"different images at {place.position @ normal:g} mm along the normal: "
                f"{last.name} and {plane.name}",
                fix="The series holds several scans (phases, reconstructions): part them into folders.",
            )
    if copies:
        _warn(f"{subject}: left out exact copies of other images: {listed(copies)}")
    return unique


def _warn_of_uneven_steps(ordered: Sequence[Placed], subject: object) -> None:
    """Name missing slices (steps of a multiple of the usual one), uneven steps and a bent stack."""
    if len(ordered) < 3:
        return
    positions = np.stack([place.position for _, place in ordered])
    distances = positions @ ordered[0][1].normal
    steps = np.diff(distances)
    usual = float(np.median(steps))
    multiples = np.round(steps / usual)
    uneven = (np.abs(steps / usual - multiples) > STEP_TOLERANCE) | (multiples == 0)
    gaps = np.flatnonzero((multiples > 1) & ~uneven).tolist()
    if gaps:
        places = [
            f"{multiples[k] - 1:g} between {ordered[k][0].name} and {ordered[k + 1][0].name}" for k in gaps
        ]
        _warn(
            f"{subject}: slices are missing ({listed(places)}) in a spacing of {usual:g} mm; "
            f"the geometry has the average of {steps.mean():g} mm"
        )
    if uneven.any():
        _warn(
            f"{subject}: uneven slice spacing of {steps.min():g} to {steps.max():g} mm; "
            f"the geometry has the average of {steps.mean():g} mm"
        )
    shares = (distances - distances[0]) / (distances[-1] - distances[0])
    line = positions[0] + shares[:, None] * (positions[-1] - positions[0])
    drift = float(np.linalg.norm(positions - line, axis=1).max())
    if drift > STEP_TOLERANCE * usual:
        _warn(f"{subject}: the slices do not stand on one line, they are up to {drift:.3g} mm off sideways")


def geometry_of(first: Plane, last: Plane, slices: int) -> Geometry | None:
    """Return the geometry of an even stack of planes.

    Args:
        slices: Number of slices from the first to the last.

    Returns:
        The slice step runs from the first plane to the last; for one slice along the normal, by the distance
        between slices or the thickness in the header, 1 mm if there is neither. Without places only the
        spacing is known, without pixel spacing nothing (None).

    Raises:
        InputError: If a distance or thickness is needed and is not above 0.
    """
    if first.spacing_mm is None:
        return None
    if first.place is None or last.place is None:
        return Geometry.from_spacing((_header_step_mm(first), *first.spacing_mm))
    affine = np.eye(4)
    if slices > 1:
        affine[:3, 0] = (last.place.position - first.place.position) / (slices - 1)
    else:
        affine[:3, 0] = first.place.normal * _header_step_mm(first)
    affine[:3, 1:3] = first.place.axes.T * first.spacing_mm
    affine[:3, 3] = first.place.position
    return Geometry(affine, first.header.text("FrameOfReferenceUID") or None)


def _header_step_mm(plane: Plane) -> float:
    """Return the slice step in a plane's header."""
    for keyword, length in (("SpacingBetweenSlices", plane.step_mm), ("SliceThickness", plane.thickness_mm)):
        if length is not None and length <= 0:
            raise InputError(
                plane.header.file,
                expected=f"{keyword} above 0 mm",
                found=f"{length:g}",
                fix="Repair the spacing in the file's header, or export it again.",
            )
        if length is not None:
            return length
    return _UNKNOWN_STEP_MM


def _written(value: NDArray[Any], separator: str) -> str:
    """Return numbers for people."""
    return separator.join(f"{number:g}" for number in value.ravel()) or "unknown"


def listed(names: Sequence[str]) -> str:
    """Return names for people: only the first few where there are many."""
    more = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _warn(message: str) -> None:
    warnings.warn(message, FewctWarning, stacklevel=3)
