"""Random numbers on the device that trains, a function of the seed and the step alone."""

import hashlib
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

BILINEAR_DEVIATION = 2 / 3  # of values between independent knots of standard deviation 1, on average


@dataclass(frozen=True, eq=False)
class Randomness:
    """A source of random tensors on one device.

    Args:
        generator: On the device.
        host: Of plain numbers, which are known without waiting for the device.
    """

    generator: torch.Generator
    host: np.random.Generator

    @classmethod
    def of(cls, device: torch.device, *seed: int) -> "Randomness":
        """Return the source that some numbers stand for."""
        generator = torch.Generator(device)
        digest = hashlib.sha256(repr(seed).encode()).digest()
        generator.manual_seed(int.from_bytes(digest[:8], "little") >> 1)
        return cls(generator, np.random.default_rng(int.from_bytes(digest[8:16], "little")))

    @property
    def device(self) -> torch.device:
        """Where its tensors lie."""
        return self.generator.device

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Return float32 of a shape, uniform in [low, high)."""
        return low + (high - low) * torch.rand(shape, generator=self.generator, device=self.device)

    def log_uniform(self, low: float, high: float, *shape: int) -> Tensor:
        """Return float32 of a shape whose logarithm is uniform."""
        return self.uniform(math.log(low), math.log(high), *shape).exp()

    def normal(self, *shape: int) -> Tensor:
        """Return float32 of a shape, of mean 0 and standard deviation 1."""
        return torch.randn(shape, generator=self.generator, device=self.device)

    def happens(self, probability: float, *shape: int) -> Tensor:
        """Return bool of a shape, each True with a probability."""
        return torch.rand(shape, generator=self.generator, device=self.device) < probability

    def integers(self, count: int | Tensor, *shape: int) -> Tensor:
        """Return int64 of a shape in [0, count)."""
        return (torch.rand(shape, generator=self.generator, device=self.device) * count).long()

    def smooth_field(self, shape: tuple[int, ...], size_px: int, scale_px: float) -> Tensor:
        """Return smooth noise of mean 0 and standard deviation 1 on average.

        Args:
            shape: Leading axes.
            size_px: Side of the field.
            scale_px: Distance of its knots.

        Returns:
            float32 (*shape, size_px, size_px).
        """
        knots = max(2, round(size_px / scale_px)) + 2
        coarse = self.normal(math.prod(shape), 1, knots, knots) / BILINEAR_DEVIATION
        field = functional.interpolate(coarse, size=(size_px, size_px), mode="bilinear", align_corners=False)
        return field.view(*shape, size_px, size_px)


@lru_cache(maxsize=256)
def constant(values: tuple[Any, ...], device: torch.device) -> Tensor:
    """Return numbers as a tensor that is copied to the device once, not to be changed in place."""
    return torch.tensor(values, device=device)


def by_item(values: Tensor, like: Tensor) -> Tensor:
    """Return values (items,) with axes added, so that they broadcast over a tensor (items, ...)."""
    return values.view(-1, *(1,) * (like.ndim - 1))
