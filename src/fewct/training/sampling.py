"""Data sets of random items, batches of given ones, and the size of crops."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
from torch.utils.data import Dataset, default_collate

from fewct.errors import UsageError

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")


class RandomDataset(Dataset[T_co]):
    """Random items by number: the same in every run, and in every process that prepares data.

    Args:
        draw: Draws an item, given its source of randomness and its number.
        length: Number of items.
        seed: Item `i` depends on it and on `i` alone.
    """

    def __init__(self, draw: Callable[[np.random.Generator, int], T_co], length: int, *seed: int) -> None:
        self.draw = draw
        self.length = length
        self.seed = seed

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> T_co:
        return self.draw(np.random.default_rng((*self.seed, index)), index)


def collate_batches(items: Sequence[T], batch_size: int) -> list[T]:
    """Return items, named tuples of tensors, as batches; the last one may be smaller."""
    starts = range(0, len(items), batch_size)
    batches: list[Any] = [default_collate(list(items[start : start + batch_size])) for start in starts]
    return batches


def check_size(size_px: int, stride: int) -> None:
    """Raise unless the side of crops is a multiple of a network's stride.

    Raises:
        UsageError: If it is not.
    """
    if size_px < stride or size_px % stride:
        raise UsageError(
            "size_px",
            expected=f"a multiple of {stride}",
            found=f"{size_px}",
            fix="Leave it out for the default.",
        )
