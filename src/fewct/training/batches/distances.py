"""Distance transforms on tensors, exact within a radius."""

import torch
from torch import Tensor
from torch.nn import functional

FAR_PX = 1e4


def distance_within(zero: Tensor, radius_px: int) -> Tensor:
    """Return the distance of each pixel from the next True one, as far as `radius_px` along either axis.

    Args:
        zero: bool (..., rows, columns).
        radius_px: Farther pixels get `radius_px`.

    Returns:
        float32 in pixels.
    """
    squared = torch.where(zero, 0.0, FAR_PX**2)
    for axis in (-1, -2):
        padding = (radius_px, radius_px, 0, 0) if axis == -1 else (0, 0, radius_px, radius_px)
        padded = functional.pad(squared, padding, value=FAR_PX**2)
        nearest = squared
        for k in range(2 * radius_px + 1):
            shifted = padded.narrow(axis, k, squared.shape[axis])
            nearest = torch.minimum(nearest, shifted + (k - radius_px) ** 2)
        squared = nearest
    return squared.sqrt().clamp_max(radius_px)
