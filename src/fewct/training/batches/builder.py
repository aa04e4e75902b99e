"""Batches from several sources, a function of the seed and the step alone."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
import torch
from torch.utils.data import Dataset

from fewct.training.batches.randomness import Randomness
from fewct.training.batches.scenes import Scenes

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True, eq=False)
class SceneSource:
    """A source of scenes.

    Args:
        name: For messages.
        share: How often it is drawn from, relative to the other sources.
        draw: Draws scenes, given how many, the side of crops, whether with neighbours, and randomness.
    """

    name: str
    share: float
    draw: Callable[[int, int, bool, Randomness], Scenes]


class BatchBuilder(Dataset[T_co], Generic[T_co]):
    """Whole batches by step: the same in every run, and in every process that prepares data.

    Args:
        sources: Where crops come from.
        finish: Makes a batch of scenes, such as by a scanner's effects and a network's preprocessing.
        size_px: Side of a crop.
        batch_size: Crops of a batch.
        neighbour_share: Share of the batches' crops that have neighbours, in [0, 1].
        steps: Number of batches.
        device: Where they are built.
        seed: Batch `i` depends on it and on `i` alone.
    """

    def __init__(
        self,
        sources: Sequence[SceneSource],
        finish: Callable[[list[Scenes], Randomness], T_co],
        *,
        size_px: int,
        batch_size: int,
        neighbour_share: float,
        steps: int,
        device: torch.device,
        seed: tuple[int, ...],
    ) -> None:
        self.sources = list(sources)
        self.finish = finish
        self.size_px, self.batch_size, self.neighbour_share = size_px, batch_size, neighbour_share
        self.steps, self.device, self.seed = steps, device, seed

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> T_co:
        random = Randomness.of(self.device, *self.seed, step)
        with_neighbours = int(random.host.binomial(self.batch_size, self.neighbour_share))
        shares = np.array([source.share for source in self.sources])
        parts: list[Scenes] = []
        for count, neighbours in ((self.batch_size - with_neighbours, False), (with_neighbours, True)):
            if count:
                numbers = random.host.multinomial(count, shares / shares.sum())
                scenes = [
                    source.draw(int(number), self.size_px, neighbours, random)
                    for source, number in zip(self.sources, numbers, strict=True)
                    if number
                ]
                parts.append(Scenes.joined(scenes))
        return self.finish(parts, random)

    def ahead(self, steps: range) -> Iterator[T_co]:
        """Yield the batches of some steps; a thread builds the next one while the last one is in use."""
        following: Future[T_co] | None = None
        with ThreadPoolExecutor(1) as thread:
            for step in steps:
                built = following or thread.submit(self.__getitem__, step)
                following = thread.submit(self.__getitem__, step + 1) if step + 1 in steps else None
                yield built.result()
