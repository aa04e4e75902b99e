"""Augmentation: random crops, flips, rotation, deformation; blur, noise, streaks and windows of scanners."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn import functional

from fewct.data.examples import TrainingExample
from fewct.types import CTSlice, Image, Labels, Mask


@dataclass(frozen=True, eq=False)
class WarpedExample:
    """An example on the grid of a training crop; see `TrainingExample` for its maps."""

    image: CTSlice
    labels: Labels
    structure: Annotated[NDArray[np.uint8], "rows columns"]
    border_weight: Annotated[NDArray[np.float32], "rows columns"]
    body: Mask


def warp(
    example: TrainingExample, size_px: int, rng: np.random.Generator, no_flips: bool = False
) -> WarpedExample:
    """Cut a random square of side `size_px` out of an example: flipped, rotated, scaled and deformed.

    With `no_flips` there are neither flips nor quarter turns.
    """
    grid = _sampling_grid(example, size_px, rng, no_flips)
    pixels = _sample(example.pixels, grid, "bilinear", "border")
    rows, columns = example.pixels.shape
    label_grid = grid - torch.tensor([2 * example.label_offset_px / side for side in (columns, rows)])
    labels = _sample(example.labels.astype(np.float32), label_grid, "nearest", "zeros")
    structure = _sample(example.structure.astype(np.float32), label_grid, "nearest", "zeros")
    weight = _sample(example.border_weight, label_grid, "nearest", "zeros")
    body = _sample(example.body.astype(np.float32), grid, "nearest", "zeros") > 0
    image = CTSlice(pixels, example.unit)
    return WarpedExample(image, labels.astype(np.int32), structure.astype(np.uint8), weight, body)


def _sampling_grid(
    example: TrainingExample, size_px: int, rng: np.random.Generator, no_flips: bool
) -> Tensor:
    """Return the place of each pixel of the crop in the example, (1, size, size, 2): x and y in [-1, 1]."""
    rows, columns = example.pixels.shape
    zoom = example.zoom * np.exp(rng.uniform(-0.25, 0.22))
    quarters, angle, flip = rng.integers(4), rng.normal(0, 0.12), rng.choice([-1.0, 1.0])
    if not no_flips:
        angle += quarters * np.pi / 2
    flip = 1.0 if no_flips else flip
    stretch = np.exp(rng.normal(0, 0.06))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = turn @ np.diag([flip * stretch, 1 / stretch]) / zoom
    steps = np.linspace(-(size_px - 1) / 2, (size_px - 1) / 2, size_px)
    offsets = np.stack(np.meshgrid(steps, steps, indexing="xy"), axis=-1) + _displacement(size_px, rng)
    centre = _centre(example, size_px / zoom, rng)
    places = offsets @ matrix.T + centre
    normalised = (2 * places + 1) / np.array([columns, rows]) - 1
    return torch.from_numpy(normalised[None].astype(np.float32))


def _displacement(size_px: int, rng: np.random.Generator) -> Annotated[NDArray[np.float32], "size size 2"]:
    """Return a smooth random displacement in pixels."""
    knots = torch.from_numpy(rng.standard_normal((1, 2, 7, 7), dtype=np.float32))
    field = functional.interpolate(knots, size=(size_px, size_px), mode="bicubic", align_corners=True)
    return np.float32(rng.uniform(0, 6)) * field[0].permute(1, 2, 0).numpy()


def _centre(example: TrainingExample, side: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the crop's centre (x, y) in the example: anywhere that keeps the patient mostly in view."""
    centre = []
    for axis in (0, 1):
        extent = np.flatnonzero(example.body.any(axis=axis))
        low, high = (extent[0], extent[-1]) if extent.size else (0, example.body.shape[1 - axis])
        slack = abs((high - low) - side) / 2 + 0.06 * side
        centre.append((low + high) / 2 + rng.uniform(-1, 1) * slack)
    return np.array(centre)


def _sample(values: NDArray[np.float32], grid: Tensor, mode: str, padding: str) -> NDArray[np.float32]:
    source = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))[None, None]
    sampled = functional.grid_sample(source, grid, mode=mode, padding_mode=padding, align_corners=False)
    return sampled[0, 0].numpy()


def simulate_scanner(image: CTSlice, synthetic: bool, rng: np.random.Generator) -> CTSlice:
    """Add the effects of a scanner and an export: blur, noise, streaks, low resolution, a window.

    Args:
        image: In Hounsfield units it may become grey values of some window.
        synthetic: Whether it was rendered without blur and noise.
        rng: Source of randomness.
    """
    unit_hu = image.unit == "hu"
    pixels = image.pixels
    if synthetic or rng.random() < 0.3:
        pixels = ndimage.gaussian_filter(
            pixels, rng.uniform(0.4, 1.4) if synthetic else rng.uniform(0.2, 1.0)
        )
    if rng.random() < 0.12:
        pixels = _low_resolution(pixels, rng.uniform(1.5, 3.0))
    scale = 1.0 if unit_hu else 0.06
    if synthetic or rng.random() < 0.5:
        strength = np.exp(rng.uniform(np.log(3), np.log(45 if synthetic else 25)))
        pixels = pixels + np.float32(scale * strength) * _noise(pixels.shape, rng)
    if rng.random() < 0.15:
        pixels = pixels + np.float32(scale * rng.uniform(5, 25)) * _streaks(pixels.shape, rng)
    if unit_hu and rng.random() < 0.6:
        return CTSlice(_window(pixels, rng), "grey")
    if unit_hu:
        pixels = np.float32(rng.uniform(0.93, 1.07)) * pixels + np.float32(rng.uniform(-12, 12))
    return CTSlice(pixels.astype(np.float32), image.unit)


def _low_resolution(pixels: Image, factor: float) -> Image:
    rows, columns = pixels.shape
    source = torch.from_numpy(np.ascontiguousarray(pixels))[None, None]
    small = functional.interpolate(source, size=(int(rows / factor), int(columns / factor)), mode="area")
    restored: Image = functional.interpolate(small, size=(rows, columns), mode="bilinear")[0, 0].numpy()
    return restored


def _noise(shape: tuple[int, int], rng: np.random.Generator) -> Image:
    """Return correlated noise of standard deviation 1."""
    noise = ndimage.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), rng.uniform(0.4, 1.3))
    return np.asarray(noise / noise.std(), dtype=np.float32)


def _streaks(shape: tuple[int, int], rng: np.random.Generator) -> Image:
    """Return parallel streaks of random direction, standard deviation about 1, fading across the slice."""
    angle = rng.uniform(0, np.pi)
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    across = np.cos(angle) * x + np.sin(angle) * y
    profile = ndimage.gaussian_filter1d(rng.standard_normal(2 * sum(shape)), rng.uniform(0.8, 2.5))
    profile /= profile.std()
    centre = rng.uniform(0.2, 0.8) * max(shape)
    fade = np.exp(-(((across - centre) / (0.15 * max(shape))) ** 2))
    index = (across + sum(shape) / 2).astype(np.int32) % profile.size
    return np.asarray(profile[index] * fade, dtype=np.float32)


def _window(pixels_hu: Image, rng: np.random.Generator) -> Image:
    """Return 8-bit grey values through a fixed, random or slice-wise window, with a random gamma."""
    kind = rng.random()
    if kind < 0.3:
        low, high = rng.choice([(-125.0, 275.0), (-160.0, 240.0), (-150.0, 250.0)])
    elif kind < 0.6:
        low, high = float(pixels_hu.min()), float(pixels_hu.max())
        if kind > 0.5:
            low = -1024.0 - rng.uniform(0, 1100)
    else:
        level, width = rng.uniform(-20, 120), np.exp(rng.uniform(np.log(250), np.log(2500)))
        low, high = level - width / 2, level + width / 2
    share = np.clip((pixels_hu - low) / max(high - low, 1.0), 0, 1)
    if rng.random() < 0.3:
        share = share ** np.exp(rng.normal(0, 0.2))
    return np.asarray(np.rint(share * 255), dtype=np.float32)
