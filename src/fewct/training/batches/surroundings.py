"""What surrounds structures in synthetic CT: muscle, fat, skin, arms, tables, blankets, tubes, air."""

from typing import NamedTuple

import torch
from torch import Tensor

from fewct.training.batches.randomness import Randomness
from fewct.training.synthetic_tissues import FAT_HU, MUSCLE, SKIN_HU

TUBES = 3
ARM_BONES = (249, 250)  # labels


class Surroundings(NamedTuple):
    """Slices without structures, and where the body ends.

    Args:
        hu: float32 (n, k, S, S).
        body: bool (n, k, S, S).
        skin_mm: float32 (n, k, S, S): distance from the skin, negative inside.
    """

    hu: Tensor
    body: Tensor
    skin_mm: Tensor


def surroundings(outside_mm: Tensor, random: Randomness) -> Surroundings:
    """Render air, skin, fat, and muscle around and between structures.

    Args:
        outside_mm: float32 (n, k, S, S): distance from the hull of all structures, negative inside.
        random: Source of randomness.
    """
    n, size = len(outside_mm), outside_mm.shape[-1]

    def drawn(low: float, high: float) -> Tensor:
        return random.uniform(low, high, n, 1, 1, 1)

    wobble = random.smooth_field((n, 1), size, 40)
    outside = outside_mm + drawn(0, 4) * wobble
    wall = drawn(3, 14)
    fat = torch.where(random.happens(0.5, n, 1, 1, 1), drawn(2, 12), drawn(8, 45))
    fat_mm = (fat * (1 + 0.25 * random.smooth_field((n, 1), size, 70))).clamp_min(2)
    skin_mm = outside - wall - fat_mm
    body = skin_mm < 0
    air = torch.where(random.happens(0.5, n, 1, 1, 1), -1024.0, -1000.0)
    fat_hu = drawn(*FAT_HU) + 6 * random.smooth_field(outside_mm.shape[:2], size, 4)
    hu = torch.where(body, fat_hu, air)
    hu = torch.where(body & (skin_mm > -drawn(1.5, 3.0)), drawn(*SKIN_HU), hu)
    share = random.uniform(0, 1, n, 1, 1, 1)
    muscle_hu = (1 - share) * drawn(*MUSCLE.plain_hu) + share * drawn(*MUSCLE.enhanced_hu)
    fibres = random.smooth_field(outside_mm.shape[:2], size, random.host.uniform(3, 9)) + 0.7 * wobble
    inner = drawn(6, 20)
    muscle = (outside < wall) & (outside > -inner) & (fibres > drawn(-2.2, -0.6))
    filler = (outside <= -inner) & (fibres > drawn(-0.5, 1.6))
    hu = torch.where(muscle | filler, muscle_hu + drawn(4, 14) * fibres, hu)
    return Surroundings(hu, body, skin_mm)


def add_arms(
    hu: Tensor, labels: Tensor, around: Surroundings, extent_mm: Tensor, xy_mm: Tensor, random: Randomness
) -> None:
    """Render arms beside some trunks, their bones as structures; change all in place.

    Args:
        hu: float32 (n, k, S, S).
        labels: int64 (n, k, S, S); bones get free labels.
        around: Its body grows by the arms.
        extent_mm: float32 (n, 4): columns and rows that structures extend over.
        xy_mm: float32 (n, S, S, 2).
        random: Source of randomness.
    """
    n = len(hu)
    has_arms = random.happens(0.45, n)
    x, y = xy_mm[:, None, ..., 0], xy_mm[:, None, ..., 1]

    def drawn(low: float, high: float) -> Tensor:
        return random.uniform(low, high, n, 1, 1, 1)

    for side in (0, 1):
        radius = drawn(20, 48)
        beyond = radius + drawn(8, 50)
        centre = extent_mm[:, side].view(-1, 1, 1, 1) + (2 * side - 1) * beyond
        top, bottom = (extent_mm[:, k].view(-1, 1, 1, 1) for k in (2, 3))
        row = top + drawn(0.0, 1.0) * (bottom - top)
        from_axis = torch.hypot((y - row) * drawn(0.8, 1.1), x - centre)
        arm = (from_axis < radius) & ~around.body & has_arms.view(-1, 1, 1, 1)
        values = torch.where(from_axis < radius * drawn(0.6, 0.9), drawn(40, 70), drawn(*FAT_HU))
        values = torch.where(from_axis > radius - 1.5, drawn(*SKIN_HU), values)
        bone_axis = torch.hypot(y - row - drawn(-4, 4), x - centre)
        bone = arm & (bone_axis < drawn(7, 14))
        values = torch.where(bone, drawn(600, 1300), values)
        values = torch.where(bone & (bone_axis < drawn(2, 6)), drawn(-60, 300), values)
        hu.copy_(torch.where(arm, values, hu))
        labels.copy_(torch.where(bone, ARM_BONES[side], labels))
        around.body.logical_or_(arm)


def add_things_around(
    hu: Tensor, around: Surroundings, extent_mm: Tensor, xy_mm: Tensor, random: Randomness
) -> None:
    """Render a table, a mattress, blankets or clothes, and tubes outside of the body, in place.

    Arguments are those of `add_arms`.
    """
    n = len(hu)
    x, y = xy_mm[:, None, ..., 0], xy_mm[:, None, ..., 1]
    free = ~around.body

    def drawn(low: float, high: float) -> Tensor:
        return random.uniform(low, high, n, 1, 1, 1)

    def paint(where: Tensor, probability: float, values: Tensor) -> None:
        chosen = random.happens(probability, n).view(-1, 1, 1, 1) & free & where
        hu.copy_(torch.where(chosen, values, hu))

    cloth = drawn(0, 25) + 6 * random.smooth_field((n, 1), hu.shape[-1], 60)
    paint((around.skin_mm - cloth).abs() < drawn(0.5, 4), 0.25, drawn(-950, -100))
    folds = random.smooth_field((n, 1), hu.shape[-1], 25)
    paint((around.skin_mm - drawn(5, 40) - 8 * folds).abs() < drawn(2, 14), 0.2, drawn(-980, -700))
    middle = extent_mm[:, :2].mean(1).view(-1, 1, 1, 1)
    bottom = extent_mm[:, 3].view(-1, 1, 1, 1) + drawn(15, 60)
    sag = torch.where(random.happens(0.5, n, 1, 1, 1), drawn(-0.2, 1.2), 0.0)
    row = y + sag * ((x - middle) / 100) ** 2 * 15
    end = bottom + drawn(8, 40)
    paint((row > bottom) & (row < end), 0.7, drawn(-1010, -880))
    for line, probability in ((bottom, 0.7), (end, 0.45), (end + drawn(5, 25), 0.25)):
        paint((row - line).abs() < drawn(0.5, 1.5), probability, drawn(-600, 250))
    for _ in range(TUBES):
        across = middle + drawn(-220, 220)
        down = extent_mm[:, 2].view(-1, 1, 1, 1) + drawn(-60, 60)
        from_axis = torch.hypot(x - across, y - down)
        radius = drawn(1, 6)
        paint(from_axis < radius, 0.1, drawn(-200, 1000))
        paint(from_axis < 0.6 * radius, 0.05, drawn(-1000, 100))
