"""Rendering a label map as Hounsfield values."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from fewct.errors import UsageError, as_labels
from fewct.phantom.shapes import RandomField, Vector
from fewct.phantom.tissue import Tissue
from fewct.types import Image


@dataclass(frozen=True, eq=False)
class Texture:
    """The random fields that make tissue uneven, drawn once a patient so that slices fit together.

    Args:
        fine: Texture of a few millimetres.
        coarse: Texture of a few centimetres.
        strands: Field whose zeros are the strands.
    """

    fine: RandomField
    coarse: RandomField
    strands: RandomField

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Texture":
        """Return random fields."""
        return cls(
            RandomField.draw(rng, (3.0, 9.0), 48),
            RandomField.draw(rng, (18.0, 60.0), 24),
            RandomField.draw(rng, (9.0, 32.0), 48),
        )


def render(
    labels: NDArray[Any],
    tissues: Mapping[int, Tissue],
    rng: np.random.Generator,
    *,
    spacing_mm: tuple[float, float, float],
) -> Annotated[NDArray[np.float32], "*grid"]:
    """Return the Hounsfield values of any label map, without blur and noise.

    Args:
        labels: Label map of integers, (rows, columns) or (slices, rows, columns). Every label needs a
            tissue, the background too (air is -1000 HU).
        spacing_mm: Distance between (slices, rows, columns) in millimetres.

    Returns:
        float32 of the labels' shape, in Hounsfield units.

    Raises:
        InputError: If `labels` is no label map.
        UsageError: If a label has no tissue.

    Example:
        >>> tissues = {0: Tissue(hu=-1000), 1: Tissue(hu=60)}
        >>> labels = np.array([[0, 1], [1, 1]])
        >>> render(labels, tissues, np.random.default_rng(0), spacing_mm=(1.0, 1.0, 1.0)).tolist()
        [[-1000.0, 60.0], [60.0, 60.0]]
    """
    volume = np.atleast_3d(as_labels(labels).T).T
    texture = Texture.draw(rng)
    slice_mm, row_mm, column_mm = spacing_mm
    rows_mm = row_mm * np.arange(volume.shape[1], dtype=np.float64)
    columns_mm = column_mm * np.arange(volume.shape[2], dtype=np.float64)
    slices = [
        render_slice(plane, tissues, texture, columns_mm, rows_mm, slice_mm * k)
        for k, plane in enumerate(volume)
    ]
    return np.stack(slices).reshape(labels.shape)


def render_slice(
    labels: NDArray[Any],
    tissues: Mapping[int, Tissue],
    texture: Texture,
    columns_mm: Vector,
    rows_mm: Vector,
    z_mm: float,
) -> Image:
    """Return the Hounsfield values of one slice of labels, with textures that go on from slice to slice.

    Args:
        labels: Integer labels (rows, columns), none negative.
        columns_mm: x of the columns, (columns,).
        rows_mm: y of the rows, (rows,).

    Raises:
        UsageError: If a label has no tissue.
    """
    present = np.flatnonzero(np.bincount(labels.ravel()))
    missing = [int(label) for label in present if int(label) not in tissues]
    if missing:
        raise UsageError(
            "tissues",
            expected="a tissue for every label",
            found=f"none for label {missing[0]}",
            fix="Add it to the mapping; use Tissue(hu=-1000) for air.",
        )
    used = {int(label): tissues[int(label)] for label in present}
    mean, fine, coarse, strands = np.zeros((4, int(present[-1]) + 1), dtype=np.float32)
    for label, tissue in used.items():
        mean[label], fine[label], coarse[label] = tissue.hu, tissue.fine_hu, tissue.coarse_hu
        strands[label] = tissue.strands_hu
    hu: Image = mean[labels]
    hu += fine[labels] * texture.fine.on_grid(columns_mm, rows_mm, z_mm)
    uneven = texture.coarse.on_grid(columns_mm, rows_mm, z_mm)
    hu += coarse[labels] * uneven
    near_strand = np.exp(-((texture.strands.on_grid(columns_mm, rows_mm, z_mm) / 0.14) ** 2))
    hu += strands[labels] * near_strand * np.clip(0.6 + 0.6 * uneven, 0, 1.4)
    _add_rims(hu, labels, used, abs(float(columns_mm[1] - columns_mm[0])) if len(columns_mm) > 1 else 1.0)
    return hu


def _add_rims(hu: Image, labels: NDArray[Any], tissues: Mapping[int, Tissue], pixel_mm: float) -> None:
    """Blend each tissue into its rim, in place.

    A mask blurred over the rim's thickness falls from 1 deep inside to 1/2 at a straight boundary; that
    fall is the rim's share.
    """
    for rim_mm in sorted({tissue.rim_mm for tissue in tissues.values() if tissue.rim_hu is not None}):
        rim_hu = np.zeros(max(tissues) + 1, dtype=np.float32)
        rimmed = np.zeros(max(tissues) + 1, dtype=np.bool_)
        for label, tissue in tissues.items():
            if tissue.rim_hu is not None and tissue.rim_mm == rim_mm:
                rim_hu[label], rimmed[label] = tissue.rim_hu, True
        mask = rimmed[labels]
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        margin = 1 + int(2 * rim_mm / pixel_mm)
        window = (
            slice(max(0, rows[0] - margin), rows[-1] + margin),
            slice(max(0, columns[0] - margin), columns[-1] + margin),
        )
        inner = gaussian_filter(mask[window].astype(np.float32), 0.8 * rim_mm / pixel_mm, truncate=2.5)
        share = np.where(mask[window], np.clip(2.0 - 2.0 * inner, 0, 1), 0)
        hu[window] += share * (rim_hu[labels[window]] - hu[window])
