"""Crops of real slices with their neighbours, from a stack on the device that trains."""

import numpy as np
import torch

from fewct.data.stacks import SLICE_LABELS, SliceStack
from fewct.training.batches.randomness import Randomness
from fewct.training.batches.scenes import Scenes, random_places

WORKING_SIDE_PX = 512  # to which slices are enlarged in use
UNKNOWN_GAP_MM = (1.5, 5.0)  # drawn where the distance of neighbours is not known
LARGEST_GAP_MM = 12.0  # slices further apart are no neighbours


class RealSlices:
    """The slices of a stack, to cut crops of.

    Args:
        stack: The slices.
        device: Where their pixels are kept.
    """

    def __init__(self, stack: SliceStack, device: torch.device) -> None:
        self.is_hu = stack.unit == "hu"
        self.offset_px = stack.label_offset_px
        self.zoom = WORKING_SIDE_PX / max(stack.pixels.shape[1:])
        self.pixels = torch.from_numpy(stack.pixels).to(device)
        known = (stack.labels, stack.structure, stack.border_weight, stack.body.astype(np.uint8))
        self.known = torch.from_numpy(np.stack(known, axis=1)).to(device)
        self.extent = torch.from_numpy(_extents(stack.body)).to(device)
        near = (stack.above >= 0) & ~(stack.gap_mm > LARGEST_GAP_MM)
        above = np.where(near, stack.above, -1).astype(np.int64)
        below = np.full(len(above), -1, dtype=np.int64)
        below[above[near]] = np.flatnonzero(near)
        self.neighbours = torch.from_numpy(np.stack([above, below], axis=1)).to(device)
        gaps = np.where(near, stack.gap_mm, 0).astype(np.float32)
        self.gaps = torch.from_numpy(np.stack([gaps, np.where(below >= 0, gaps[below], 0)], axis=1)).to(
            device
        )

    def __len__(self) -> int:
        return len(self.pixels)

    def draw(self, count: int, size_px: int, with_neighbours: bool, random: Randomness) -> Scenes:
        """Draw crops.

        Args:
            count: How many.
            size_px: Side of a crop.
            with_neighbours: Whether crops have the neighbours that their slices have.
            random: Source of randomness.
        """
        index = random.integers(len(self), count)
        zoom = torch.full((count,), self.zoom, device=index.device)
        places = random_places(size_px, zoom, self.extent[index], random)
        shown = (self.neighbours[index] >= 0) & with_neighbours
        neighbours = torch.where(shown, self.neighbours[index], index[:, None])
        slices = torch.cat([index[:, None], neighbours], dim=1) if with_neighbours else index[:, None]
        pixels = places.sample(self.pixels[slices].float(), "bilinear", "border")
        known = torch.cat([self.known[index], self.known[neighbours[:, :1], 0]], dim=1)
        known = places.sample(known.float(), "nearest", "zeros", self.offset_px)
        body = places.sample(self.known[index, 3:].float(), "nearest", "zeros")[:, 0] > 0
        drawn = random.uniform(*UNKNOWN_GAP_MM, count, 1)
        gaps = torch.where(self.gaps[index].isnan(), drawn, self.gaps[index])
        labels, above = known[:, 0].long(), known[:, 4].long()
        lasting = (labels < SLICE_LABELS) & (above < SLICE_LABELS) & shown[:, :1, None]
        return Scenes(
            pixels,
            torch.full((count,), self.is_hu, device=pixels.device),
            torch.zeros(count, dtype=torch.bool, device=pixels.device),
            torch.where(shown, gaps, 0.0),
            labels,
            known[:, 1].to(torch.uint8),
            known[:, 2] / 255,
            body,
            torch.where(lasting, above, -1),
        )


def _extents(body: np.ndarray) -> np.ndarray:
    """Return the first and last column and row of each patient, float32 (slices, 4)."""
    extents = np.empty((len(body), 4), dtype=np.float32)
    for mask, extent in zip(body, extents, strict=True):
        for start, axis in ((0, 0), (2, 1)):
            taken = np.flatnonzero(mask.any(axis=axis))
            extent[start : start + 2] = (taken[0], taken[-1]) if taken.size else (0, mask.shape[1 - axis] - 1)
    return extents
