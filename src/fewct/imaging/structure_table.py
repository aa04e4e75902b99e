"""The table of structures: areas, boxes, centroids and mean intensities, gathered slice by slice."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fewct.errors import InputError, as_labels, check_same_shape
from fewct.types import CTSlice, CTVolume, Image, Labels, Structure

_SUMS = ("pixels", "x", "y", "z", "intensity", "measured", "score", "scored", "quality", "linked")


class StructureTable:
    """Gathers the rows of the table while slices go by; memory grows with the largest id only.

    Args:
        spacing_mm: Distance between neighbouring (slices, rows, columns), None where unknown.

    Example:
        >>> table = StructureTable(spacing_mm=(2.0, 1.0, 1.0))
        >>> table.add_slice(0, np.array([[0, 1, 1]], np.int32), np.array([[9, 20, 40]], np.float32))
        >>> row, = table.rows()
        >>> row.area_px, row.volume_mm3, row.centroid_x, row.mean_intensity
        (2, 4.0, 1.5, 30.0)
    """

    def __init__(self, spacing_mm: tuple[float, float, float] | None) -> None:
        self._spacing_mm = (np.nan, np.nan, np.nan) if spacing_mm is None else spacing_mm
        self._sums = np.zeros((len(_SUMS), 1))
        self._low = np.zeros((3, 1), dtype=np.int64)
        self._high = np.zeros((3, 1), dtype=np.int64)

    def add_slice(
        self,
        index: int,
        labels: Labels,
        pixels: Image,
        scores: ArrayLike | None = None,
        link_qualities: ArrayLike | None = None,
    ) -> None:
        """Add one slice.

        Args:
            index: Its place in the scan, 0 for a single slice.
            labels: int32 (rows, columns).
            pixels: float32 (rows, columns); pixels that are not finite are left out of the mean intensity.
            scores: One for each id, so that structure k has `scores[k - 1]`; NaN by default.
            link_qualities: The same for how well each is linked to the slice before; NaN where it starts.

        Raises:
            InputError: If labels and pixels differ in shape, or a structure has no score.
        """
        labels = as_labels(labels)
        check_same_shape(labels, pixels, ("labels", "pixels"))
        y, x = np.nonzero(labels)
        if len(y) == 0:
            return
        ids, values = labels[y, x], pixels[y, x].astype(np.float64)
        score = _scores_by_id(scores, int(ids.max()))[ids - 1]
        self._grow(int(ids.max()) + 1)
        z = np.full(len(ids), index)
        quality = _scores_by_id(link_qualities, int(ids.max()))[ids - 1]
        weights = [np.ones(len(ids)), x, y, z]
        for column in (values, score, quality):
            known = np.isfinite(column)
            weights += [np.where(known, column, 0), known]
        for row, weight in enumerate(weights):
            sums = np.bincount(ids, weights=weight)
            self._sums[row, : len(sums)] += sums
        for row, places in enumerate((x, y, z)):
            np.minimum.at(self._low[row], ids, places)
            np.maximum.at(self._high[row], ids, places + 1)

    def rows(self) -> tuple[Structure, ...]:
        """Return one row for each structure that occurs, by id.

        Areas and volumes are those of all slices together; score and link quality are the means over
        slices, weighted by area.
        """
        return tuple(self._row(i) for i in np.flatnonzero(self._sums[0]).tolist())

    def _row(self, i: int) -> Structure:
        slice_mm, row_mm, column_mm = self._spacing_mm
        pixels, x, y, z, intensity, measured, score, scored, quality, linked = self._sums[:, i].tolist()
        (x0, y0, z0), (x1, y1, z1) = self._low[:, i].tolist(), self._high[:, i].tolist()
        return Structure(
            id=i,
            area_px=int(pixels),
            area_mm2=pixels * row_mm * column_mm,
            volume_mm3=pixels * row_mm * column_mm * slice_mm,
            x0=x0,
            y0=y0,
            z0=z0,
            x1=x1,
            y1=y1,
            z1=z1,
            centroid_x=x / pixels,
            centroid_y=y / pixels,
            centroid_z=z / pixels,
            mean_intensity=intensity / measured if measured else float("nan"),
            score=score / scored if scored else float("nan"),
            link_quality=quality / linked if linked else float("nan"),
        )

    def _grow(self, size: int) -> None:
        """Make room for ids below `size`."""
        more = size - self._sums.shape[1]
        if more > 0:
            self._sums = np.pad(self._sums, ((0, 0), (0, more)))
            self._low = np.pad(self._low, ((0, 0), (0, more)), constant_values=np.iinfo(np.int64).max)
            self._high = np.pad(self._high, ((0, 0), (0, more)))


def structure_table(
    labels: NDArray[Any], image: CTSlice | CTVolume, scores: ArrayLike | None = None
) -> tuple[Structure, ...]:
    """Describe each structure of a label map.

    Args:
        labels: Label map (rows, columns) or (slices, rows, columns).
        image: The slice or scan that it belongs to.
        scores: One for each id, so that structure k has `scores[k - 1]`; NaN by default.

    Returns:
        One row for each structure that occurs, by id.

    Raises:
        InputError: If labels and image differ in shape, or a structure has no score.
    """
    labels = as_labels(labels)
    if labels.shape != image.shape:
        raise InputError(
            "labels",
            expected=f"the image's shape {image.shape}",
            found=f"shape {labels.shape}",
            fix="Pass the image that the label map was made from.",
        )
    table = StructureTable(None if image.geometry is None else image.geometry.spacing_mm)
    slices = [image] if isinstance(image, CTSlice) else image
    for index, ct_slice in enumerate(slices):
        plane = labels if labels.ndim == 2 else labels[index]
        table.add_slice(index, plane, ct_slice.pixels, scores)
    return table.rows()


def _scores_by_id(scores: ArrayLike | None, largest: int) -> NDArray[np.float64]:
    by_id = np.full(largest, np.nan) if scores is None else np.asarray(scores, dtype=np.float64)
    if by_id.ndim != 1 or len(by_id) < largest:
        raise InputError(
            "scores",
            expected=f"one score for each id up to {largest}",
            found=f"shape {by_id.shape}",
            fix="Number the structures 1 .. n and pass n scores.",
        )
    return by_id
