"""Synthetic CT rendered on the device that trains, from label maps of real anatomy and their neighbours.

Structures get random intensities and textures about those of their tissue, hollow ones a content, hearts
chambers. A wall of muscle, fat and skin, arms, a table, blankets and tubes are added around them.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from fewct.data.examples import BACKGROUND, STRUCTURE, UNKNOWN
from fewct.training.batches.anatomies import (
    BUILDS,
    HULL_PX,
    LABELS,
    AnatomySlices,
    TissueTable,
    slices_around,
)
from fewct.training.batches.chambers import with_chambers
from fewct.training.batches.distances import distance_within
from fewct.training.batches.randomness import Randomness, constant
from fewct.training.batches.scenes import SCALE_LOG, CropPlaces, Scenes, random_places
from fewct.training.batches.surroundings import Surroundings, add_arms, add_things_around, surroundings
from fewct.training.synthetic_ct import HIGHEST_HU, LOWEST_HU

WORKING_MM = (0.62, 1.1)  # side of a pixel of the crop, before the places' own scaling
DEPTH_MM = 6.0  # the inner structure of tissues reaches this far from their borders
LARGEST_GAP_MM = 6.0
WILD_SHARE = 0.15  # of the crops with solid organs of any brightness


def draw(
    anatomy: AnatomySlices, count: int, size_px: int, with_neighbours: bool, random: Randomness
) -> Scenes:
    """Draw crops rendered from an anatomy.

    Args:
        anatomy: The label map.
        count: How many.
        size_px: Side of a crop.
        with_neighbours: Whether crops have neighbours.
        random: Source of randomness.
    """
    slices, gap_mm = slices_around(anatomy, count, LARGEST_GAP_MM, random)
    if not with_neighbours:
        slices, gap_mm = slices[:, :1], torch.zeros_like(gap_mm)
    working_mm = random.host.uniform(*WORKING_MM, count).astype(np.float32)
    zoom = anatomy.pixel_mm / torch.from_numpy(working_mm).to(random.device, non_blocking=True)
    least_pixel_mm = float(working_mm.min()) / math.exp(SCALE_LOG[1])
    extent = anatomy.extent[slices[:, 0]]
    wall = constant((-1.0, 1.0, -1.0, 1.0), extent.device) * 30 / anatomy.pixel_mm
    places = random_places(size_px, zoom, extent + wall, random)
    labels = places.sample(anatomy.labels[slices].float(), "nearest", "zeros").long()
    hull_places = CropPlaces((places.xy + anatomy.margin_px + 0.5) / HULL_PX - 0.5, places.zoom)
    outside_mm = hull_places.sample(anatomy.hull_mm[slices], "bilinear", "border")
    pixel_mm = anatomy.pixel_mm / places.zoom
    xy_mm = places.xy * anatomy.pixel_mm
    labels, tissues = with_chambers(labels, anatomy.tissues, xy_mm, pixel_mm, least_pixel_mm, random)
    around = surroundings(outside_mm, random)
    hu = _render(labels, tissues, around, xy_mm, pixel_mm, least_pixel_mm, random)
    if anatomy.complete:
        add_arms(hu, labels, around, extent * anatomy.pixel_mm, xy_mm, random)
    add_things_around(hu, around, extent * anatomy.pixel_mm, xy_mm, random)
    body, centre = around.body[:, 0], labels[:, 0]
    rest = torch.where(body, BACKGROUND if anatomy.complete else UNKNOWN, BACKGROUND)
    return Scenes(
        hu.clamp(LOWEST_HU, HIGHEST_HU),
        torch.ones(count, dtype=torch.bool, device=hu.device),
        torch.ones(count, dtype=torch.bool, device=hu.device),
        gap_mm,
        centre,
        torch.where(centre > 0, STRUCTURE, rest).to(torch.uint8),
        torch.ones_like(hu[:, 0]),
        body,
        torch.where(gap_mm[:, :1, None] > 0, labels[:, -2 if with_neighbours else 0], -1),
    )


def border_pixels(labels: Tensor) -> Tensor:
    """Return the pixels with one of their four neighbours in another label, bool (..., rows, columns)."""
    edges = torch.zeros_like(labels, dtype=torch.bool)
    across = labels[..., 1:, :] != labels[..., :-1, :]
    edges[..., 1:, :] |= across
    edges[..., :-1, :] |= across
    along = labels[..., 1:] != labels[..., :-1]
    edges[..., 1:] |= along
    edges[..., :-1] |= along
    return edges


def _render(
    labels: Tensor,
    tissues: TissueTable,
    around: Surroundings,
    xy_mm: Tensor,
    pixel_mm: Tensor,
    least_pixel_mm: float,
    random: Randomness,
) -> Tensor:
    """Return Hounsfield units of slices (n, k, S, S) with labels."""
    n = len(labels)
    depth_px = distance_within(border_pixels(labels), round(DEPTH_MM / least_pixel_mm))
    depth = depth_px * pixel_mm[:, None, None, None]
    fine, coarse = (
        correlated_field(labels.shape, 2.2, 0.3, random),
        correlated_field(labels.shape, 9.0, 0.8, random),
    )

    def each(table: Tensor) -> Tensor:
        """Return the value (n, LABELS) of each pixel's label."""
        return table.gather(1, labels.flatten(1)).view(labels.shape)

    def drawn(low: float, high: float) -> Tensor:
        return each(random.uniform(low, high, n, LABELS))

    build = tissues.build.expand(n, LABELS)
    mix = drawn(0, 1)
    texture = each(random.uniform(0.3, 1.5, n, LABELS) * tissues.texture_hu)
    values = each(_means(tissues, n, random)) + texture * (mix * fine + (1 - mix) * coarse)
    built = each(build)

    fatty = each(torch.where(random.happens(0.35, n, LABELS), random.uniform(100, 350, n, LABELS), 0.0))
    bone = torch.where(depth < drawn(0.5, 3.2), drawn(250, 1100), values - fatty)
    vessels = (coarse > drawn(1.6, 2.2)) & (depth > 3)
    lung = torch.where(vessels, drawn(-300, 80), values)
    kidney = torch.where(depth < drawn(3, 6), values + drawn(0, 70), values)
    has_vessels = each(random.uniform(0, 1, n, LABELS)) < 0.4
    thin = ((coarse - drawn(-0.5, 0.5)).abs() < 0.06) & (depth > 4) & has_vessels
    solid = torch.where(thin, values + drawn(-40, 60), values)
    hollow = _hollow(values, depth, labels, coarse, xy_mm, each, random)
    kinds = {"solid": solid, "bone": bone, "hollow": hollow, "lung": lung, "kidney": kidney}
    hu = around.hu.clone()
    for name, rendered in kinds.items():
        hu = torch.where((labels > 0) & (built == BUILDS.index(name)), rendered, hu)
    return torch.where((labels > 0) & (built == BUILDS.index("heart")), solid, hu)


def correlated_field(shape: torch.Size, scale_px: float, common: float, random: Randomness) -> Tensor:
    """Return smooth noise (n, k, S, S), of which a share of the variance is the same in all k slices."""
    n, k, size = shape[:3]
    own = random.smooth_field((n, k), size, scale_px)
    if k == 1:
        return own
    shared: Tensor = random.smooth_field((n, 1), size, scale_px)
    return math.sqrt(common) * shared + math.sqrt(1 - common) * own


def _means(tissues: TissueTable, n: int, random: Randomness) -> Tensor:
    """Draw the mean of each label in each crop, (n, LABELS), between without and with contrast agent."""
    agent = torch.where(random.happens(0.35, n), 0.0, random.uniform(0.2, 1.0, n))[:, None]
    share = (agent + 0.15 * random.normal(n, LABELS)).clamp(0, 1)
    ranges = (tissues.plain_hu, tissues.enhanced_hu)
    plain, enhanced = (
        limits[:, 0] + (limits[:, 1] - limits[:, 0]) * random.uniform(0, 1, n, LABELS) for limits in ranges
    )
    mean = (1 - share) * plain + share * enhanced
    wild = random.happens(WILD_SHARE, n, 1) & (tissues.build == BUILDS.index("solid"))
    return torch.where(wild, random.uniform(-40, 180, n, LABELS), mean)


def _hollow(
    values: Tensor,
    depth: Tensor,
    labels: Tensor,
    coarse: Tensor,
    xy_mm: Tensor,
    each: Callable[[Tensor], Tensor],
    random: Randomness,
) -> Tensor:
    """Put a wall around a content: fluid, stool, contrast agent, and gas on top."""
    n = len(labels)
    kind = each(random.uniform(0, 1, n, LABELS))
    dense = each(random.uniform(100, 400, n, LABELS))
    stool = each(random.uniform(20, 160, n, LABELS)) * coarse.clamp_max(0.5)
    content = values + torch.where(kind < 0.2, dense, torch.where(kind < 0.45, stool, 0.0))
    gas = each(random.uniform(0, 1, n, LABELS))
    gas_hu = each(random.uniform(-1000, -850, n, LABELS))
    y = xy_mm[:, None, ..., 1].expand(labels.shape)
    top, bottom = (
        torch.full((n, LABELS), fill, device=y.device).scatter_reduce(1, labels.flatten(1), y.flatten(1), how)
        for fill, how in ((1e6, "amin"), (-1e6, "amax"))
    )
    level = each(top + random.uniform(0.0, 1.0, n, LABELS) * (bottom - top))
    bubbles = (coarse > each(random.uniform(0.5, 1.5, n, LABELS))) & (gas > 0.8)
    content = torch.where(((gas < 0.5) & (y < level)) | bubbles, gas_hu, content)
    wall = depth < each(random.uniform(0, 3.5, n, LABELS))
    return torch.where(wall, each(random.uniform(20, 90, n, LABELS)), content)
