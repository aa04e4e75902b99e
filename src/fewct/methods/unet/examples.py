"""Labelled slices as the U-Net learns from them: structure, background or unknown, at working size."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from fewct.data.examples import STRUCTURE, UNKNOWN, TrainingExample, labelled_example
from fewct.imaging.resample import resize
from fewct.methods.unet.preprocessing import network_input, pad, resize_nearest, working_shape
from fewct.training.augment import simulate_scanner, warp
from fewct.training.crops import ExampleSampler
from fewct.types import CTSlice, Image, Mask

KEPT_EXAMPLES = 500  # of slices without labels, a process that prepares data


class Patch(NamedTuple):
    """A slice as tensors, or a batch of them.

    Args:
        image: float32 (1, rows, columns): what the network sees.
        target: float32 (rows, columns): 1 in a structure.
        weight: float32 (rows, columns): 1 where that is known, else 0.
        number: int64 (): of the item; dropout depends on it, so that a resumed training repeats it.
    """

    image: Tensor
    target: Tensor
    weight: Tensor
    number: Tensor


class Patches(Dataset[Patch]):
    """Slices by number, drawn at random or in order.

    Args:
        examples: What to draw from.
        size_px: Side of a patch; the longest side of a slice is brought to it.
        length: How many there are.
        seed: Patch `i` depends on it and on `i` alone; None for the slices in order, as they are.
        augment: Whether drawn slices are turned, bent, blurred and so on.
        upright: Whether drawn slices are neither flipped nor turned by quarters.
    """

    def __init__(
        self,
        examples: Sequence[TrainingExample],
        size_px: int,
        length: int,
        seed: int | None,
        augment: bool,
        upright: bool = False,
    ) -> None:
        self.examples = examples
        self.size_px = size_px
        self.length = length
        self.seed = seed
        self.augment = augment
        self.upright = upright

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Patch:
        if self.seed is None:
            return whole_patch(self.examples[index], self.size_px, index)
        rng = np.random.default_rng((self.seed, index))
        example = self.examples[int(rng.integers(len(self.examples)))]
        if not self.augment:
            return whole_patch(example, self.size_px, index)
        return augmented_patch(example, self.size_px, index, rng, self.upright)


def unlabelled_source(images: Sequence[CTSlice], size_px: int) -> ExampleSampler:
    """Return a source of slices of which nothing is known but the patient, each as likely as the others.

    Args:
        images: What to choose from.
        size_px: The longest side of a slice is brought to this.
    """

    @lru_cache(maxsize=KEPT_EXAMPLES)
    def example(number: int) -> TrainingExample:
        image = images[number]
        unknown = labelled_example(image, np.zeros(image.shape, dtype=np.int32), complete=False)
        return replace(unknown, zoom=size_px / max(image.shape))

    return lambda rng: example(int(rng.integers(len(images))))


def channels(image: CTSlice, body: Mask) -> NDArray[np.float32]:
    """Return what the network sees of a slice, with the axis of channels: float32 (1, rows, columns)."""
    return network_input(image, body)[None]


def whole_patch(example: TrainingExample, size_px: int, number: int) -> Patch:
    """Return a slice as it is, its longest side brought to `size_px`, filled up to a square."""
    shape, square = working_shape(example.pixels.shape, size_px), (size_px, size_px)
    seen = network_input(CTSlice(example.pixels, example.unit), example.body)
    known = pad(resize_nearest(example.structure, shape), square, UNKNOWN)
    return _patch(pad(resize(seen, shape), square, -1), known, number)


def augmented_patch(
    example: TrainingExample, size_px: int, number: int, rng: np.random.Generator, upright: bool = False
) -> Patch:
    """Return a slice as another scanner might show it: turned, scaled, bent, blurred, noisy, windowed."""
    zoom = size_px / max(example.pixels.shape)
    warped = warp(replace(example, zoom=zoom), size_px, rng, upright)
    seen = network_input(simulate_scanner(warped.image, False, rng), warped.body)
    return _patch(seen, warped.structure, number)


def _patch(seen: Image, structure: NDArray[np.uint8], number: int) -> Patch:
    return Patch(
        torch.from_numpy(np.ascontiguousarray(seen, dtype=np.float32))[None],
        torch.from_numpy((structure == STRUCTURE).astype(np.float32)),
        torch.from_numpy((structure != UNKNOWN).astype(np.float32)),
        torch.tensor(number),
    )
