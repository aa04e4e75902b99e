"""Chambers of the heart, drawn into its label: blood pools brighter or darker than the muscle around one."""

import math

import torch
from torch import Tensor

from fewct.training.batches.anatomies import BUILDS, LABELS, TissueTable
from fewct.training.batches.distances import distance_within
from fewct.training.batches.randomness import Randomness, constant

FIRST_CHAMBER = LABELS - 5  # four blood pools, then the muscle of the left ventricle
MYOCARDIUM = LABELS - 1
SHARE = 0.85  # of the hearts that get chambers
WALL_MM = (6.0, 14.0)
BLOOD_PLAIN_HU, BLOOD_ENHANCED_HU = (30.0, 48.0), (110.0, 420.0)
MUSCLE_PLAIN_HU, MUSCLE_ENHANCED_HU = (38.0, 58.0), (70.0, 130.0)


def with_chambers(
    labels: Tensor,
    tissues: TissueTable,
    xy_mm: Tensor,
    pixel_mm: Tensor,
    least_pixel_mm: float,
    random: Randomness,
) -> tuple[Tensor, TissueTable]:
    """Divide hearts into two ventricles, two atria and the muscle of the left ventricle.

    Args:
        labels: int64 (n, k, S, S).
        tissues: Of each label.
        xy_mm: float32 (n, S, S, 2): places of the crop's pixels.
        pixel_mm: float32 (n,): side of a pixel.
        least_pixel_mm: None is smaller.
        random: Source of randomness.

    Returns:
        Labels with chambers, and the tissues with theirs.
    """
    heart = tissues.build[labels] == BUILDS.index("heart")
    n, size = len(labels), labels.shape[-1]
    heart &= random.happens(SHARE, n)[:, None, None, None]
    area = heart[:, 0].flatten(1).sum(1)
    heart &= (area > 200)[:, None, None, None]
    if labels.device.type == "cpu" and not heart.any():  # a GPU would have to be waited for
        return labels, tissues
    weight = heart[:, 0].float()[..., None]
    centre = (xy_mm * weight).sum((1, 2)) / weight.sum((1, 2)).clamp_min(1)
    radius = (area.clamp_min(1) * pixel_mm**2 / math.pi).sqrt()
    turn = random.uniform(0, 2 * math.pi, n, 1) + constant((0.0, 1.9, 3.2, 4.6), labels.device)
    turn = turn + random.uniform(-0.3, 0.3, n, 4)
    away = radius[:, None, None] * random.uniform(0.35, 0.6, n, 4, 1)
    seeds = centre[:, None] + away * torch.stack([turn.cos(), turn.sin()], -1)
    reach = (
        random.uniform(0.7, 1.3, n, 4, 1, 1) * constant((1.5, 1.1, 0.9, 0.9), labels.device)[:, None, None]
    )
    apart = (xy_mm[:, None] - seeds[:, :, None, None]).norm(dim=-1) / reach
    bend = 0.12 * radius[:, None, None, None] * random.smooth_field((n, 4), size, size / 6)
    two = (apart + bend).topk(2, dim=1, largest=False)
    chamber, margin = two.indices[:, 0], two.values[:, 1] - two.values[:, 0]
    wall = random.uniform(*WALL_MM, n)[:, None, None]
    radius_px = max(1, round(WALL_MM[1] / least_pixel_mm))
    depth = distance_within(~heart, radius_px) * pixel_mm[:, None, None, None]
    in_wall = (depth < wall[:, None]) | (margin < 0.7 * wall)[:, None]
    parted = torch.where((chamber == 0)[:, None] & in_wall, MYOCARDIUM, FIRST_CHAMBER + chamber[:, None])
    return torch.where(heart, parted, labels), _with_tissues(tissues, random)


def _with_tissues(tissues: TissueTable, random: Randomness) -> TissueTable:
    """Return the tissues with those of chambers and muscle."""
    changed = TissueTable(*(column.clone() for column in tissues))
    chambers = slice(FIRST_CHAMBER, MYOCARDIUM)
    changed.build[FIRST_CHAMBER:] = BUILDS.index("heart")
    device = tissues.plain_hu.device
    changed.plain_hu[chambers] = constant(BLOOD_PLAIN_HU, device)
    changed.enhanced_hu[chambers] = constant(BLOOD_ENHANCED_HU, device)
    changed.plain_hu[MYOCARDIUM] = constant(MUSCLE_PLAIN_HU, device)
    changed.enhanced_hu[MYOCARDIUM] = constant(MUSCLE_ENHANCED_HU, device)
    changed.texture_hu[FIRST_CHAMBER:] = random.uniform(3, 12, LABELS - FIRST_CHAMBER)
    return changed
