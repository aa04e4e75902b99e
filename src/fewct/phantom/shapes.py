"""Solids whose sections are smooth closed curves, and smooth random fields.

Coordinates are those of a standard person, in millimetres: x to the patient's left, y to
posterior, z to superior; the origin is the spinal canal at the middle of the fifth lumbar vertebra.
A section's signed field is negative inside; near the boundary it is about the distance in millimetres.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import gaussian_filter1d

from fewct.types import Image

Vector: TypeAlias = Annotated[NDArray[np.float64], "n"]
Box: TypeAlias = tuple[float, float, float, float]

_TURN = 720  # samples of a closed curve


class CrossSection(Protocol):
    """A plane region."""

    @property
    def box(self) -> Box:
        """x0, x1, y0, y1 in millimetres, around the region."""

    def signed(self, x: Image, y: Image) -> Image:
        """Return the field that is negative inside, about in millimetres, at points x, y."""


class Solid(Protocol):
    """A region of space, given by its axial sections."""

    def section(self, z: float) -> CrossSection | None:
        """Return the section at height z, None where the solid does not reach."""


def _between(z: Vector, values: NDArray[np.float64], at: float) -> NDArray[np.float64]:
    """Return the row of `values` at height `at`, interpolated between the rows at heights `z`."""
    above = int(np.clip(np.searchsorted(z, at), 1, len(z) - 1))
    share = (at - z[above - 1]) / (z[above] - z[above - 1])
    return np.asarray((1 - share) * values[above - 1] + share * values[above])


def polar(x: Image, y: Image, centre: tuple[float, float]) -> tuple[Image, Image]:
    """Return distance from a centre, and turn from posterior over the right in [-1/2, 1/2]."""
    dx, dy = np.float32(centre[0]) - x, y - np.float32(centre[1])
    return np.hypot(dx, dy), np.arctan2(dx, dy) * np.float32(0.5 / np.pi)


@dataclass(frozen=True, eq=False)
class PolarCrossSection:
    """A curve about a centre: radius by angle, from posterior over the right, anterior and the left."""

    x: float
    y: float
    radius: Vector

    @property
    def box(self) -> Box:
        """x0, x1, y0, y1 in millimetres, around the region."""
        reach = float(self.radius.max())
        return self.x - reach, self.x + reach, self.y - reach, self.y + reach

    def signed(self, x: Image, y: Image) -> Image:
        """Return the distance from the centre less the curve's radius in that direction."""
        return self.signed_polar(*polar(x, y, (self.x, self.y)))

    def signed_polar(self, distance: Image, turn: Image) -> Image:
        """Return the signed field at points given by distance from the centre and turn, as from `polar`."""
        samples = np.rint(turn * np.float32(_TURN)).astype(np.int16)
        signed: Image = distance - self.radius.astype(np.float32)[samples]
        return signed


@dataclass(frozen=True, eq=False)
class Loft:
    """A solid between curves in polar form at several heights, rounded off at its ends.

    Args:
        z: Heights of the curves, rising, (n,).
        centres: x, y of each curve's centre, (n, 2).
        radii: Radius at evenly spaced angles from posterior over the patient's right, (n, angles).
        caps_mm: Length over which the lower and the upper end are rounded.
    """

    z: Vector
    centres: Annotated[NDArray[np.float64], "n 2"]
    radii: Annotated[NDArray[np.float64], "n angles"]
    caps_mm: tuple[float, float] = (12.0, 12.0)

    def section(self, z: float) -> PolarCrossSection | None:
        """Return the section at height z, None where the solid does not reach."""
        low, high = self.z[0], self.z[-1]
        if not low < z < high:
            return None
        below = max(0.0, 1 - (z - low) / self.caps_mm[0])
        above = max(0.0, 1 - (high - z) / self.caps_mm[1])
        x, y = _between(self.z, self.centres, z)
        knots = _between(self.z, self.radii, z) * np.sqrt((1 - below**2) * (1 - above**2))
        angles = np.linspace(0, len(knots), _TURN, endpoint=False)
        radius = np.interp(angles, np.arange(len(knots) + 1), np.append(knots, knots[0]))
        return PolarCrossSection(
            float(x), float(y), gaussian_filter1d(radius, 0.4 * _TURN / len(knots), mode="wrap")
        )


@dataclass(frozen=True, eq=False)
class ChainCrossSection:
    """The points within a radius of a chain of segments that may leave the plane.

    Args:
        starts: x, y and height above the plane of each segment's start, (n, 3).
        radii: Radius at start and end, (n, 2).
    """

    starts: Annotated[NDArray[np.float64], "n 3"]
    ends: Annotated[NDArray[np.float64], "n 3"]
    radii: Annotated[NDArray[np.float64], "n 2"]

    @property
    def box(self) -> Box:
        """x0, x1, y0, y1 in millimetres, around the region."""
        points, reach = np.concatenate([self.starts, self.ends]), float(self.radii.max())
        (x0, y0), (x1, y1) = points[:, :2].min(axis=0) - reach, points[:, :2].max(axis=0) + reach
        return float(x0), float(x1), float(y0), float(y1)

    def signed(self, x: Image, y: Image) -> Image:
        """Return the distance to the chain less its radius."""
        nearest = np.full(x.shape, np.inf, dtype=np.float32)
        for start, end, (r0, r1) in zip(
            self.starts.astype(np.float32),
            self.ends.astype(np.float32),
            self.radii.astype(np.float32),
            strict=True,
        ):
            along = end - start
            dx, dy, dz = x - start[0], y - start[1], -start[2]
            share = (dx * along[0] + dy * along[1] + dz * along[2]) / max(np.float32(1e-6), along @ along)
            share = np.clip(share, 0, 1)
            distance = np.sqrt(
                (dx - share * along[0]) ** 2 + (dy - share * along[1]) ** 2 + (dz - share * along[2]) ** 2
            )
            np.minimum(nearest, distance - (r0 + share * (r1 - r0)), out=nearest)
        return nearest


@dataclass(frozen=True, eq=False)
class Tube:
    """A solid around a curve in space.

    Args:
        points: x, y, z along the curve, (n, 3).
        radii: Radius at each point, (n,).
        tall: How much farther the tube reaches along z than sideways.
    """

    points: Annotated[NDArray[np.float64], "n 3"]
    radii: Vector
    tall: float = 1.0

    def section(self, z: float) -> ChainCrossSection | None:
        """Return the section at height z, None where the solid does not reach."""
        points = self.points - (0, 0, z)
        points[:, 2] /= self.tall
        height = points[:, 2]
        reach = np.maximum(self.radii[:-1], self.radii[1:])
        near = (np.minimum(height[:-1], height[1:]) < reach) & (np.maximum(height[:-1], height[1:]) > -reach)
        if not near.any():
            return None
        return ChainCrossSection(
            points[:-1][near], points[1:][near], np.column_stack([self.radii[:-1], self.radii[1:]])[near]
        )


@dataclass(frozen=True, eq=False)
class Band:
    """A plate, a chain of segments in the plane that changes with height.

    Args:
        z: Heights of the chains, rising, (n,).
        points: x, y along each chain, (n, points, 2).
        half_widths: Half the plate's thickness at each point, (n, points).
    """

    z: Vector
    points: Annotated[NDArray[np.float64], "n points 2"]
    half_widths: Annotated[NDArray[np.float64], "n points"]

    def section(self, z: float) -> ChainCrossSection | None:
        """Return the section at height z, None where the solid does not reach."""
        if not self.z[0] < z < self.z[-1]:
            return None
        plane = _between(self.z, self.points, z)
        chain = np.column_stack([plane, np.zeros(len(plane))])
        radii = _between(self.z, self.half_widths, z)
        return ChainCrossSection(chain[:-1], chain[1:], np.column_stack([radii[:-1], radii[1:]]))


def ellipses(
    knots: Sequence[tuple[float, float, float, float, float, float]],
    *,
    power: float = 2.2,
    caps_mm: tuple[float, float] = (12.0, 12.0),
) -> Loft:
    """Return a solid between superellipses.

    Args:
        knots: For each height z, x, y, half axes a and b in millimetres, and how far a is turned in
            degrees from x towards y.
        power: Exponent of the superellipse: 2 for an ellipse, more for a squarer one.
        caps_mm: Length over which the lower and the upper end are rounded.
    """
    z, x, y, a, b, turned = np.array(knots, dtype=np.float64).T[..., None]
    angle = np.linspace(0, 2 * np.pi, 48, endpoint=False) + np.pi / 2 - np.radians(turned)
    radii = (np.abs(np.cos(angle) / a) ** power + np.abs(np.sin(angle) / b) ** power) ** (-1 / power)
    return Loft(z[:, 0], np.column_stack([x, y]), radii, caps_mm)


def tube(
    knots: Sequence[tuple[float, float, float, float]], *, tall: float = 1.0, step_mm: float = 8.0
) -> Tube:
    """Return a tube along a smooth curve through knots (x, y, z, radius) in millimetres.

    Args:
        knots: Points on the curve, with the radius there.
        tall: How much farther the tube reaches along z than sideways.
        step_mm: Length of the segments that the curve is made of.
    """
    array = np.array(knots, dtype=np.float64)
    length = np.append(0, np.cumsum(np.linalg.norm(np.diff(array[:, :3], axis=0), axis=1)))
    smooth = PchipInterpolator(length, array)(np.linspace(0, length[-1], 2 + int(length[-1] / step_mm)))
    return Tube(smooth[:, :3], smooth[:, 3], tall)


def band(
    z: Sequence[float],
    points: Sequence[Sequence[tuple[float, float]]],
    half_widths: Sequence[Sequence[float]],
) -> Band:
    """Return a plate along smooth curves through points in several planes.

    Args:
        z: Heights of the planes, rising.
        points: x, y of the points in each plane.
        half_widths: Half the plate's thickness at each point.
    """
    along = np.linspace(0, len(points[0]) - 1, 4 * len(points[0]) - 3)
    smooth = PchipInterpolator(np.arange(len(points[0])), np.array(points, dtype=np.float64), axis=1)(along)
    widths = PchipInterpolator(np.arange(len(points[0])), np.array(half_widths, dtype=np.float64), axis=1)(
        along
    )
    return Band(np.array(z, dtype=np.float64), smooth, widths)


def mirrored(points: Sequence[Sequence[tuple[float, float]]], side: int) -> list[list[tuple[float, float]]]:
    """Return points x, y of the left side for a side: -1 for right, 1 for left."""
    return [[(side * x, y) for x, y in row] for row in points]


@dataclass(frozen=True, eq=False)
class RandomField:
    """A smooth random function of space with mean 0 and variance 1: a sum of plane waves.

    Args:
        waves: Wave vectors along x, y, z in radians a millimetre, (n, 3).
        phases: Phase of each wave, (n,).
    """

    waves: Annotated[NDArray[np.float64], "n 3"]
    phases: Vector

    @classmethod
    def draw(
        cls, rng: np.random.Generator, wavelengths_mm: tuple[float, float], count: int = 32
    ) -> "RandomField":
        """Return a field of waves in random directions, with lengths between two limits."""
        directions = rng.normal(size=(count, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        shortest, longest = (float(np.log(length)) for length in wavelengths_mm)
        numbers = 2 * np.pi / np.exp(rng.uniform(shortest, longest, size=(count, 1)))
        return cls(directions * numbers, rng.uniform(0, 2 * np.pi, count))

    def on_grid(self, x: Vector, y: Vector, z: float) -> Image:
        """Return the field on the grid of columns x and rows y at height z, float32 (rows, columns)."""
        kx, ky, kz = self.waves.T
        across, down = np.outer(x, kx), np.outer(y, ky) + z * kz + self.phases
        left = np.sqrt(2 / len(self.phases)) * np.concatenate([np.cos(down), -np.sin(down)], axis=1)
        right = np.concatenate([np.cos(across), np.sin(across)], axis=1)
        # Not a BLAS product: that rounds differently with another number of threads.
        field: Image = np.einsum("rk,ck->rc", left.astype(np.float32), right.astype(np.float32))
        return field
