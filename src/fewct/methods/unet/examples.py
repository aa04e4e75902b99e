"""Labelled slices as tensors for the U-Net: structure, background or unknown, at working size."""

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fewct.data.examples import STRUCTURE, UNKNOWN, TrainingExample, labelled_example
from fewct.imaging.resample import resize
from fewct.methods.unet.preprocessing import pad, preprocess, resize_nearest, working_shape
from fewct.training.augment import simulate_scanner, warp
from fewct.training.crops import ExampleSampler
from fewct.training.sampling import RandomDataset
from fewct.types import CTSlice, Image, Mask

KEPT_EXAMPLES = 500  # unlabelled slices that each process keeps preprocessed


class Patch(NamedTuple):
    """A slice as tensors, or a batch of them.

    Args:
        image: float32 (1, rows, columns): input of the network.
        target: float32 (rows, columns): 1 in a structure.
        weight: float32 (rows, columns): 1 where that is annotated, else 0.
        number: int64 (): of the item, which seeds dropout, so that a resumed training repeats it.
    """

    image: Tensor
    target: Tensor
    weight: Tensor
    number: Tensor


def random_patches(
    examples: Sequence[TrainingExample],
    size_px: int,
    length: int,
    seed: int,
    augment: bool,
    no_flips: bool = False,
) -> RandomDataset[Patch]:
    """Return patches of random slices, as many as `length`.

    Args:
        examples: Drawn uniformly.
        size_px: Side of a patch; the longest side of a slice is brought to it.
        length: Number of patches.
        seed: Patch `i` depends on it and on `i` alone.
        augment: Whether slices are augmented.
        no_flips: Whether augmented slices are neither flipped nor turned by quarters.
    """

    def draw(rng: np.random.Generator, number: int) -> Patch:
        example = examples[int(rng.integers(len(examples)))]
        if not augment:
            return whole_patch(example, size_px, number)
        zoomed = replace(example, zoom=size_px / max(example.pixels.shape))
        warped = warp(zoomed, size_px, rng, no_flips)
        image = preprocess(simulate_scanner(warped.image, False, rng), warped.body)
        return _patch(image, warped.structure, number)

    return RandomDataset(draw, length, seed)


def unlabelled_source(images: Sequence[CTSlice], size_px: int) -> ExampleSampler:
    """Return a source of unlabelled slices, drawn uniformly; their longest side is brought to `size_px`."""

    @lru_cache(maxsize=KEPT_EXAMPLES)
    def example(number: int) -> TrainingExample:
        image = images[number]
        unknown = labelled_example(image, np.zeros(image.shape, dtype=np.int32), complete=False)
        return replace(unknown, zoom=size_px / max(image.shape))

    return lambda rng: example(int(rng.integers(len(images))))


def preprocess_channels(image: CTSlice, body: Mask) -> NDArray[np.float32]:
    """Return the input of the network with an axis of channels, float32 (1, rows, columns)."""
    return preprocess(image, body)[None]


def whole_patch(example: TrainingExample, size_px: int, number: int) -> Patch:
    """Return a slice without augmentation, its longest side brought to `size_px`, padded to a square."""
    shape, square = working_shape(example.pixels.shape, size_px), (size_px, size_px)
    image = preprocess(CTSlice(example.pixels, example.unit), example.body)
    structure = pad(resize_nearest(example.structure, shape), square, UNKNOWN)
    return _patch(pad(resize(image, shape), square, -1), structure, number)


def _patch(image: Image, structure: NDArray[np.uint8], number: int) -> Patch:
    return Patch(
        torch.from_numpy(np.ascontiguousarray(image, dtype=np.float32))[None],
        torch.from_numpy((structure == STRUCTURE).astype(np.float32)),
        torch.from_numpy((structure != UNKNOWN).astype(np.float32)),
        torch.tensor(number),
    )
