"""Effects of a scanner and of an export on crops: blur, kernels, noise, streaks, low resolution, windows."""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from fewct.training.batches.randomness import Randomness, by_item, constant
from fewct.training.batches.scenes import Scenes

RADIUS_PX = 4  # of all blurs
GREY_PER_HU = 0.06  # noise on grey values, relative to that in Hounsfield units
FIXED_WINDOWS_HU = ((-125.0, 275.0), (-160.0, 240.0), (-150.0, 250.0), (-1000.0, 1000.0))


class Scanned(NamedTuple):
    """Crops as a file would hold them.

    Args:
        pixels: float32 (n, k, S, S): Hounsfield units or grey values.
        is_hu: bool (n,): which of the two.
    """

    pixels: Tensor
    is_hu: Tensor


def scan(scenes: Scenes, random: Randomness) -> Scanned:
    """Return the pixels of scenes with random effects, those of a crop's slices alike."""
    pixels, clean = scenes.pixels, scenes.is_clean
    n = len(pixels)
    sigma = torch.where(clean, random.uniform(0.4, 1.4, n), random.uniform(0.2, 1.0, n))
    pixels = torch.where(by_item(clean | random.happens(0.3, n), pixels), blur(pixels, sigma), pixels)
    pixels = _sharpened(pixels, random)
    pixels = _at_low_resolution(pixels, random)
    scale = torch.where(scenes.is_hu, 1.0, GREY_PER_HU)
    pixels = pixels + by_item(scale * _noise_strength(clean, random), pixels) * _noise(pixels, random)
    streaks = torch.where(random.happens(0.15, n), random.uniform(5, 25, n), 0.0)
    pixels = pixels + by_item(scale * streaks, pixels) * _streaks(n, pixels.shape[-1], random)[:, None]
    to_grey = scenes.is_hu & random.happens(0.6, n)
    miscalibrated = by_item(random.uniform(0.93, 1.07, n), pixels) * pixels
    miscalibrated = miscalibrated + by_item(random.uniform(-12, 12, n), pixels)
    as_hu = torch.where(by_item(scenes.is_hu, pixels), miscalibrated, pixels)
    return Scanned(
        torch.where(by_item(to_grey, pixels), _windowed(pixels, random), as_hu), scenes.is_hu & ~to_grey
    )


def blur(pixels: Tensor, sigma_px: Tensor) -> Tensor:
    """Return slices (n, slices, rows, columns) blurred by Gaussians of standard deviations (n,)."""
    steps = torch.arange(-RADIUS_PX, RADIUS_PX + 1, device=pixels.device)
    kernel = torch.exp(-(steps**2) / (2 * sigma_px[:, None].clamp_min(0.05) ** 2))
    kernel = kernel / kernel.sum(1, keepdim=True)
    for axis in (2, 3):
        padding = (0, 0, RADIUS_PX, RADIUS_PX) if axis == 2 else (RADIUS_PX, RADIUS_PX, 0, 0)
        padded = functional.pad(pixels, padding, mode="replicate")
        length = pixels.shape[axis]
        shifted = (padded.narrow(axis, k, length) for k in range(kernel.shape[1]))
        weighted = [by_item(kernel[:, k], pixels) * part for k, part in enumerate(shifted)]
        pixels = torch.stack(weighted).sum(0)
    return pixels


def _sharpened(pixels: Tensor, random: Randomness) -> Tensor:
    """Return some slices with their edges enhanced, as sharp kernels do."""
    n = len(pixels)
    gain = torch.where(random.happens(0.15, n), random.uniform(0.3, 1.5, n), 0.0)
    if pixels.device.type == "cpu" and not (gain > 0).any():  # a GPU would have to be waited for
        return pixels
    detail = pixels - blur(pixels, random.uniform(0.8, 1.6, n))
    return pixels + by_item(gain, pixels) * detail


def _at_low_resolution(pixels: Tensor, random: Randomness) -> Tensor:
    """Return the slices, one crop in eight as if it had been taken with larger pixels."""
    n, size = len(pixels), pixels.shape[-1]
    chosen, factor = random.host.random(n) < 0.12, random.host.uniform(1.5, 3.0, n)
    restored = [pixels[k : k + 1] for k in range(n)]
    for index in (k for k in range(n) if chosen[k]):
        small = functional.interpolate(restored[index], size=int(size / factor[index]), mode="area")
        restored[index] = functional.interpolate(small, size=size, mode="bilinear")
    return torch.cat(restored)


def _noise_strength(clean: Tensor, random: Randomness) -> Tensor:
    """Return the standard deviation of each crop's noise in Hounsfield units, (n,)."""
    n = len(clean)
    drawn = torch.where(clean, random.log_uniform(3, 45, n), random.log_uniform(3, 25, n))
    return torch.where(clean | random.happens(0.5, n), drawn, 0.0)


def _noise(pixels: Tensor, random: Randomness) -> Tensor:
    """Return correlated noise of standard deviation 1 in the shape of the slices."""
    noise = blur(random.normal(*pixels.shape), random.uniform(0.4, 1.3, len(pixels)))
    return noise / noise.std(dim=(2, 3), keepdim=True)


def _streaks(n: int, size_px: int, random: Randomness) -> Tensor:
    """Return parallel streaks of random direction that fade across the crop, (n, size, size)."""
    steps = torch.arange(size_px, device=random.device)
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    angle = random.uniform(0, math.pi, n)[:, None, None]
    across = angle.cos() * x + angle.sin() * y
    profile = blur(random.normal(n, 1, 1, 4 * size_px), random.uniform(0.8, 2.5, n))[:, 0, 0]
    profile = profile / profile.std(dim=1, keepdim=True)
    fade = torch.exp(
        -(((across - random.uniform(0.2, 0.8, n)[:, None, None] * size_px) / (0.15 * size_px)) ** 2)
    )
    index = (across + size_px).long().flatten(1) % profile.shape[1]
    return profile.gather(1, index).view(n, size_px, size_px) * fade


def _windowed(pixels_hu: Tensor, random: Randomness) -> Tensor:
    """Return 8-bit grey values through fixed, random or slice-wise windows, some with a gamma."""
    n = len(pixels_hu)
    kind = random.uniform(0, 1, n)
    fixed = constant(FIXED_WINDOWS_HU, pixels_hu.device)[random.integers(len(FIXED_WINDOWS_HU), n)]
    level, width = random.uniform(-20, 120, n), random.log_uniform(250, 2500, n)
    padded = torch.where(kind > 0.5, -1024 - random.uniform(0, 1100, n), pixels_hu[:, 0].amin((1, 2)))
    low = torch.where(kind < 0.3, fixed[:, 0], torch.where(kind < 0.6, padded, level - width / 2))
    high = torch.where(
        kind < 0.3, fixed[:, 1], torch.where(kind < 0.6, pixels_hu[:, 0].amax((1, 2)), level + width / 2)
    )
    low, high = by_item(low, pixels_hu), by_item(high, pixels_hu)
    share = ((pixels_hu - low) / (high - low).clamp_min(1.0)).clamp(0, 1)
    gamma = torch.where(random.happens(0.3, n), (0.2 * random.normal(n)).exp(), 1.0)
    return (share ** by_item(gamma, share) * 255).round()
