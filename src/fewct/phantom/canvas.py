"""The grid of one axial slice, onto which parts are painted."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fewct.phantom.shapes import Box, CrossSection, RandomField, Solid, Vector
from fewct.phantom.structures import PARTS
from fewct.types import Image, Mask

Parts: TypeAlias = Annotated[NDArray[np.int16], "rows columns"]
Window: TypeAlias = tuple[slice, slice]

_WARP_MARGIN_MM = 14.0  # more than the warp ever moves a point


@dataclass(frozen=True, eq=False)
class Canvas:
    """A grid of points in the standard person's frame, and the parts painted on it so far.

    Args:
        columns_mm: x of the columns before the warp, rising, (columns,).
        rows_mm: y of the rows before the warp, rising, (rows,).
        z: Height of the slice in millimetres.
        x: x of each point, float32 (rows, columns).
        y: y of each point, float32 (rows, columns).
        bumps: Random field that makes boundaries uneven, float32 (rows, columns).
        parts: int16 (rows, columns): number of the part at each point; painting changes it.
    """

    columns_mm: Vector
    rows_mm: Vector
    z: float
    x: Image
    y: Image
    bumps: Image
    parts: Parts

    def window(self, box: Box) -> Window:
        """Return the rows and columns that hold a box given in millimetres."""
        x0, x1, y0, y1 = box
        return (
            slice(*np.searchsorted(self.rows_mm, (y0 - _WARP_MARGIN_MM, y1 + _WARP_MARGIN_MM)).tolist()),
            slice(*np.searchsorted(self.columns_mm, (x0 - _WARP_MARGIN_MM, x1 + _WARP_MARGIN_MM)).tolist()),
        )

    def field(self, field: RandomField) -> Image:
        """Return a random field on the canvas, float32 (rows, columns)."""
        return field.on_grid(self.columns_mm, self.rows_mm, self.z)

    def signed(self, section: CrossSection, window: Window) -> Image:
        """Return a section's signed field in a window."""
        return section.signed(self.x[window], self.y[window])

    def paint(
        self,
        part: str,
        solid: Solid,
        *,
        onto: Collection[str] = (),
        limit: Image | None = None,
        rough_mm: float = 0.0,
        grow_mm: float = 0.0,
    ) -> None:
        """Paint a part wherever its solid lies.

        Args:
            onto: Names of the parts it may cover; all of them if empty.
            limit: Signed field (rows, columns) that the part must also lie inside.
            rough_mm: How uneven its boundary is.
            grow_mm: Distance by which the solid is made larger.
        """
        section = solid.section(self.z)
        if section is None:
            return
        window = self.window(section.box)
        signed = (
            self.signed(section, window) + np.float32(rough_mm) * self.bumps[window] - np.float32(grow_mm)
        )
        if limit is not None:
            signed = np.maximum(signed, limit[window])
        self.fill(part, signed < 0, window=window, onto=onto)

    def fill(
        self,
        part: str,
        mask: Mask,
        *,
        window: Window = (slice(None), slice(None)),
        onto: Collection[str] = (),
    ) -> None:
        """Paint a part where a mask, given in a window of the canvas, is true."""
        under = self.parts[window]
        if onto:
            mask = mask & np.isin(under, [PARTS[name] for name in onto])
        under[mask] = PARTS[part]
