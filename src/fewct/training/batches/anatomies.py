"""Label maps of real anatomy on the device that trains, with the hull of each slice."""

import math
from typing import NamedTuple

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from fewct.training.batches.randomness import Randomness, constant
from fewct.training.batches.real import UNKNOWN_GAP_MM
from fewct.training.synthetic_ct import CLOSING_MM, Anatomy
from fewct.types import Image, Mask

HULL_PX = 4  # pixels of a label map along the side of one of its hull's
MARGIN_MM = 90.0  # around the label map on the hull's grid
LABELS = 256
FARTHEST_MM = 200.0  # from the hull, inside or outside
LEAST_SHARE = 0.01  # of a slice that must be labelled
BUILDS = ("solid", "bone", "hollow", "lung", "kidney", "heart")


class TissueTable(NamedTuple):
    """How the labels of an anatomy are rendered, each (LABELS,).

    Args:
        plain_hu: float32 (LABELS, 2): range of the mean without contrast agent.
        enhanced_hu: float32 (LABELS, 2): range of the mean at full enhancement.
        texture_hu: float32.
        build: int64: index into `BUILDS`.
    """

    plain_hu: Tensor
    enhanced_hu: Tensor
    texture_hu: Tensor
    build: Tensor


class AnatomySlices:
    """The slices of an anatomy, to render crops of.

    Args:
        anatomy: The label map, from feet to head or from head to feet.
        device: Where it is kept.
    """

    def __init__(self, anatomy: Anatomy, device: torch.device) -> None:
        self.pixel_mm, self.slice_mm = anatomy.pixel_mm, anatomy.slice_mm
        self.complete = anatomy.complete
        self.labels = torch.from_numpy(anatomy.labels).to(device)
        self.tissues = _tissue_table(anatomy, device)
        self.margin_px = HULL_PX * round(MARGIN_MM / anatomy.pixel_mm / HULL_PX)
        hulls = [_hull_mm(plane, anatomy.pixel_mm, self.margin_px) for plane in anatomy.labels > 0]
        self.hull_mm = torch.from_numpy(np.stack(hulls)).to(device)
        share = (self.labels > 0).float().mean((1, 2))
        self.usable = torch.nonzero(share > LEAST_SHARE)[:, 0]
        self.extent = torch.from_numpy(_extents(anatomy.labels)).to(device)

    def __len__(self) -> int:
        return len(self.usable)


def slices_around(
    anatomy: AnatomySlices, count: int, largest_gap_mm: float, random: Randomness
) -> tuple[Tensor, Tensor]:
    """Draw slices with their neighbours.

    Returns:
        int64 (count, 3): numbers of the slice, the one above and the one below; and float32 (count, 2), their
        distances in mm, 0 where there is none (its number is then the slice's own).
    """
    index = anatomy.usable[random.integers(len(anatomy), count)]
    known = not math.isnan(anatomy.slice_mm)
    slice_mm = anatomy.slice_mm if known else random.uniform(*UNKNOWN_GAP_MM, count, 1)
    most = max(1, int(largest_gap_mm / anatomy.slice_mm)) if known else 1
    step = 1 + random.integers(most, count, 1)
    neighbours = index[:, None] + step * constant((1, -1), index.device)
    exists = (neighbours >= 0) & (neighbours < len(anatomy.labels))
    gap_mm = torch.where(exists, step * slice_mm, 0.0)
    return torch.cat([index[:, None], torch.where(exists, neighbours, index[:, None])], 1), gap_mm


def _hull_mm(taken: Mask, pixel_mm: float, margin_px: int) -> Image:
    """Return the distance from the hull of all structures in mm, negative inside, on a grid of `HULL_PX`.

    Args:
        taken: bool (rows, columns): pixels of structures.
        pixel_mm: Side of a pixel.
        margin_px: Pixels to add on all sides, a multiple of `HULL_PX`.
    """
    padded = np.pad(taken, [(margin_px, margin_px + -side % HULL_PX) for side in taken.shape])
    rows, columns = padded.shape
    coarse = padded.reshape(rows // HULL_PX, HULL_PX, columns // HULL_PX, HULL_PX).any(axis=(1, 3))
    if not coarse.any():
        return np.full(coarse.shape, FARTHEST_MM, dtype=np.float32)
    pixel = HULL_PX * pixel_mm
    near = ndimage.distance_transform_edt(~coarse) * pixel < CLOSING_MM
    hull = ndimage.binary_fill_holes((ndimage.distance_transform_edt(near) * pixel > CLOSING_MM) | coarse)
    signed = ndimage.distance_transform_edt(~hull) - ndimage.distance_transform_edt(hull)
    clipped: Image = np.clip(signed * pixel, -FARTHEST_MM, FARTHEST_MM).astype(np.float32)
    return clipped


def _tissue_table(anatomy: Anatomy, device: torch.device) -> TissueTable:
    table = TissueTable(
        torch.zeros(LABELS, 2), torch.zeros(LABELS, 2), torch.zeros(LABELS), torch.zeros(LABELS).long()
    )
    for label, tissue in anatomy.tissues.items():
        table.plain_hu[label] = torch.tensor(tissue.plain_hu)
        table.enhanced_hu[label] = torch.tensor(tissue.enhanced_hu)
        table.texture_hu[label] = tissue.texture_hu
        table.build[label] = BUILDS.index(tissue.build)
    return TissueTable(*(column.to(device) for column in table))


def _extents(labels: np.ndarray) -> np.ndarray:
    """Return the first and last column and row of what each slice has labelled, float32 (slices, 4)."""
    extents = np.zeros((len(labels), 4), dtype=np.float32)
    for plane, extent in zip(labels > 0, extents, strict=True):
        for start, axis in ((0, 0), (2, 1)):
            taken = np.flatnonzero(plane.any(axis=axis))
            extent[start : start + 2] = (
                (taken[0], taken[-1]) if taken.size else (0, plane.shape[1 - axis] - 1)
            )
    return extents
