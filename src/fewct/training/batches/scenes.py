"""What a batch holds before the scanner's effects, and the random places that crops are cut at."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from fewct.training.batches.randomness import Randomness, constant

MARGIN_SHARE = 0.06  # of a crop's side: how far it may leave the patient
LARGEST_SHIFT_PX = 6.0  # of the elastic deformation
SCALE_LOG = (-0.3, 0.25)  # random scaling, as the logarithm of its factor
KNOTS = 7  # of the elastic deformation along a crop's side


class Scenes(NamedTuple):
    """Crops of slices, alone or with their two neighbours, with what is known of them, n of side S.

    Args:
        pixels: float32 (n, k, S, S): Hounsfield units or grey values; the slice, and where k is 3 the one
            above and the one below.
        is_hu: bool (n,): whether pixels are in Hounsfield units.
        is_clean: bool (n,): whether they are rendered without blur and noise.
        gap_mm: float32 (n, 2): distance to the slice above and below; 0 where there is none, and pixels there
            are the slice's own.
        labels: int64 (n, S, S): structures of the slice, 0 for the rest.
        structure: uint8 (n, S, S): UNKNOWN, BACKGROUND or STRUCTURE.
        border_weight: float32 (n, S, S) in [0, 1].
        body: bool (n, S, S): the patient.
        labels_above: int64 (n, S, S): structures of the slice above by the same numbers; -1 where unknown.
    """

    pixels: Tensor
    is_hu: Tensor
    is_clean: Tensor
    gap_mm: Tensor
    labels: Tensor
    structure: Tensor
    border_weight: Tensor
    body: Tensor
    labels_above: Tensor

    @staticmethod
    def joined(parts: "list[Scenes]") -> "Scenes":
        """Return the scenes of all parts."""
        return Scenes(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))


@dataclass(frozen=True, eq=False)
class CropPlaces:
    """Where the pixels of n crops of side S lie on their slices.

    Args:
        xy: float32 (n, S, S, 2): column and row.
        zoom: float32 (n,): pixels of the crop to one of the slice.
    """

    xy: Tensor
    zoom: Tensor

    def sample(self, values: Tensor, mode: str, padding: str, offset_px: float = 0.0) -> Tensor:
        """Return slices at the places.

        Args:
            values: float (n, channels, rows, columns).
            mode: "bilinear" or "nearest".
            padding: "border" or "zeros".
            offset_px: How far up, and as far left, of the places to look.

        Returns:
            float (n, channels, S, S).
        """
        rows, columns = values.shape[2:]
        sides = constant((columns, rows), values.device)
        grid = (2 * (self.xy - offset_px) + 1) / sides - 1
        return functional.grid_sample(values, grid, mode=mode, padding_mode=padding, align_corners=False)


def random_places(size_px: int, zoom: Tensor, extent: Tensor, random: Randomness) -> CropPlaces:
    """Draw where crops lie: flipped, turned, scaled, stretched, bent, with the patient in view.

    Args:
        size_px: Side of a crop.
        zoom: float32 (n,): mean scale from the slice to the crop.
        extent: float32 (n, 4): first column, last column, first row, last row of the patient.
        random: Source of randomness.
    """
    n = len(zoom)
    zoom = zoom * random.uniform(*SCALE_LOG, n).exp()
    angle = 0.12 * random.normal(n) + random.integers(4, n) * (math.pi / 2)
    flip = 1 - 2 * random.integers(2, n)
    stretch = (0.06 * random.normal(n)).exp()
    cos, sin = angle.cos(), angle.sin()
    first = torch.stack([cos, sin], -1) * (flip * stretch / zoom)[:, None]
    second = torch.stack([-sin, cos], -1) * (1 / (stretch * zoom))[:, None]
    steps = torch.arange(size_px, device=zoom.device) - (size_px - 1) / 2
    offsets = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), -1)
    knots = random.normal(n, 2, KNOTS, KNOTS)
    bend = functional.interpolate(knots, size=(size_px, size_px), mode="bicubic", align_corners=True)
    bend = bend * random.uniform(0, LARGEST_SHIFT_PX, n)[:, None, None, None]
    across, down = offsets[..., 0] + bend[:, 0], offsets[..., 1] + bend[:, 1]
    side = size_px / zoom
    low, high = extent[:, 0::2], extent[:, 1::2]
    slack = ((high - low) - side[:, None]).abs() / 2 + MARGIN_SHARE * side[:, None]
    centre = (low + high) / 2 + random.uniform(-1, 1, n, 2) * slack
    xy = across[..., None] * first[:, None, None] + down[..., None] * second[:, None, None]
    return CropPlaces(xy + centre[:, None, None], zoom)
