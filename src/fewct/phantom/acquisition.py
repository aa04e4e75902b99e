"""Effects of the scanner: partial volume, blur, noise and streaks."""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, uniform_filter, zoom

from fewct.types import Image

LOWEST_HU = -1024.0
_VIEWS_PER_COLUMN = 0.7
_WATER_PER_MM = 0.0195  # attenuation of water in 1/mm


def acquire(
    hu: Image,
    rng: np.random.Generator,
    *,
    pixel_mm: float,
    noise_hu: float,
    blur_px: float = 0.65,
    streaks: float = 1.0,
) -> Image:
    """Return a slice as a scanner would reconstruct it.

    Noise is white noise passed through the band of a soft reconstruction kernel; streaks are what errors
    in the projections (beam hardening by bone, few photons behind thick parts) become after filtered
    back projection.

    Args:
        hu: True Hounsfield values, float32 (rows, columns).
        noise_hu: Standard deviation of the fine noise inside the body.
        blur_px: Standard deviation of the point spread in pixels.
        streaks: Strength of streaks and of coarse noise; 0 for none, 1 for what is usual.

    Returns:
        float32 (rows, columns), not below -1024 HU.
    """
    image: Image = gaussian_filter(hu, blur_px)
    thickness = uniform_filter((image > -500).astype(np.float32), int(120 / pixel_mm))
    image = image + noise_hu * (0.45 + 0.65 * thickness) * _kernel_noise(hu.shape, rng)
    if streaks > 0:
        image = image + np.float32(streaks) * _streaks(hu, rng, pixel_mm, noise_hu)
    return np.maximum(image, np.float32(LOWEST_HU)).astype(np.float32)


def _kernel_noise(shape: tuple[int, ...], rng: np.random.Generator) -> Image:
    """Return noise of variance 1 without low and with damped high frequencies."""
    white = rng.standard_normal(shape, dtype=np.float32)
    noise = gaussian_filter(white, 0.85) - 0.9 * gaussian_filter(white, 2.6)
    return np.asarray(noise / noise.std(), dtype=np.float32)


def _streaks(hu: Image, rng: np.random.Generator, pixel_mm: float, noise_hu: float) -> Image:
    """Return the streaks of a slice in Hounsfield units, computed on a grid of half the resolution."""
    factor = 2
    rows, columns = (side - side % factor for side in hu.shape)
    coarse = hu[:rows, :columns].reshape(rows // factor, factor, columns // factor, factor).mean(axis=(1, 3))
    step_mm = pixel_mm * factor
    everything = np.clip(coarse / 1000 + 1, 0, 2) * _WATER_PER_MM * step_mm
    bone = np.clip(coarse - 250, 0, 1200) / 1000 * _WATER_PER_MM * step_mm
    geometry = _views(everything.shape)
    body_sums, bone_sums = _project(everything, geometry), _project(bone, geometry)
    photons = rng.standard_normal(body_sums.shape, dtype=np.float32) * np.exp(0.5 * (body_sums - 6.0))
    starved = _back_project(0.020 * photons, geometry, everything.shape)
    hardened = _back_project(-0.14 * bone_sums * body_sums / 6.0, geometry, everything.shape)
    image = (starved * noise_hu / 12 + hardened) * (1000 / (_WATER_PER_MM * step_mm))
    shape = (hu.shape[0] / image.shape[0], hu.shape[1] / image.shape[1])
    return np.asarray(zoom(image, shape, order=1, grid_mode=True, mode="nearest"), dtype=np.float32)


def _views(shape: tuple[int, int]) -> list[NDArray[np.int32]]:
    """Return for each view the detector cell that sees each pixel, int32 (rows, columns)."""
    rows, columns = shape
    y, x = np.arange(rows) - 0.5 * (rows - 1), np.arange(columns) - 0.5 * (columns - 1)
    middle = 0.5 * np.hypot(rows, columns) + 1
    angles = np.arange(0, np.pi, np.pi / max(8, round(_VIEWS_PER_COLUMN * columns)))
    return [(np.add.outer(y * np.sin(a), x * np.cos(a)) + middle + 0.5).astype(np.int32) for a in angles]


def _project(image: Image, views: list[NDArray[np.int32]]) -> Annotated[NDArray[np.float32], "views cells"]:
    """Return line integrals of an image."""
    cells = int(np.hypot(*image.shape)) + 4
    weights = image.ravel()
    return np.stack([np.bincount(view.ravel(), weights, cells) for view in views]).astype(np.float32)


def _back_project(
    sums: Annotated[NDArray[np.float32], "views cells"],
    views: list[NDArray[np.int32]],
    shape: tuple[int, int],
) -> Image:
    """Return the filtered back projection (ramp filter, smoothed) of line integrals."""
    cells = sums.shape[1]
    frequency = np.fft.rfftfreq(2 * cells)
    ramp = 2 * frequency * np.exp(-((frequency / 0.28) ** 2))
    filtered = np.fft.irfft(np.fft.rfft(sums, 2 * cells, axis=1) * ramp, axis=1)[:, :cells].astype(np.float32)
    image = np.zeros(shape, dtype=np.float32)
    for row, view in zip(filtered, views, strict=True):
        image += row[view]
    return image * np.float32(np.pi / (2 * len(views)))
