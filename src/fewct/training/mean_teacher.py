"""Self-training on slices without labels: the network learns to agree with its own moving average.

A mean teacher (https://doi.org/10.48550/arXiv.1703.01780): the average of the weights, which the loop keeps
anyway, judges a slice as it is, and the network has to say the same of the slice as another scanner might
show it. Any network whose answer is a tuple of logits can be trained so, with any recipe.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from fewct.training.augment import scan, warp
from fewct.training.crops import ExampleSource, NetworkInput


class Pair(NamedTuple):
    """One place twice, or a batch of such.

    Args:
        plain: float32 (channels, rows, columns): what the average sees.
        altered: float32 (channels, rows, columns): the same pixels with other noise, sharpness and window.
    """

    plain: Tensor
    altered: Tensor


class Pairs(Dataset[Pair]):
    """Pairs by number.

    Args:
        example: Draws a slice; its labels are not looked at.
        network_input: Turns a slice and its body into what the network sees, (channels, rows, columns).
        size_px: Side of a crop.
        length: How many there are.
        seed: Pair `i` depends on it and on `i` alone.
        upright: Whether slices are neither flipped nor turned by quarters.
    """

    def __init__(
        self,
        example: ExampleSource,
        network_input: NetworkInput,
        size_px: int,
        length: int,
        seed: int,
        upright: bool = False,
    ) -> None:
        self.example = example
        self.network_input = network_input
        self.size_px = size_px
        self.length = length
        self.seed = seed
        self.upright = upright

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Pair:
        rng = np.random.default_rng((self.seed, 1, index))
        warped = warp(self.example(rng), self.size_px, rng, self.upright)
        altered = scan(warped.image, synthetic=False, rng=rng)
        plain, other = (self.network_input(image, warped.body) for image in (warped.image, altered))
        return Pair(torch.from_numpy(plain), torch.from_numpy(other))


def disagreement(network: nn.Module, average: nn.Module, pair: Pair) -> Tensor:
    """Return how far the network's answers to altered slices are from the average's to plain ones.

    The Kullback-Leibler divergence of the network's probabilities from the average's, averaged over pixels
    and over the maps of the answer; 0 where they agree. Gradients flow into the network alone.

    Args:
        network: Gives a tuple of logits.
        average: The same network with averaged weights.
        pair: A batch.
    """
    average.eval()
    with torch.no_grad():
        wanted = average(pair.plain)
    answer = network(pair.altered)
    return torch.stack([divergence(*logits).mean() for logits in zip(answer, wanted, strict=True)]).mean()


def divergence(logits: Tensor, wanted: Tensor) -> Tensor:
    """Return the Kullback-Leibler divergence of each probability from the wanted one, both given as logits.

    `p log(p / q) + (1 - p) log((1 - p) / (1 - q))`, with `p` the wanted probability and `q` the other, in
    float32 and from logits, so that it stays finite and exact where a network is sure.

    Args:
        logits: float (...).
        wanted: float (...).

    Example:
        >>> divergence(torch.tensor([0.0, 50.0]), torch.tensor([0.0, 50.0])).tolist()
        [0.0, 0.0]
    """
    q, p = logits.float(), wanted.float()
    inside = torch.sigmoid(p) * (functional.logsigmoid(p) - functional.logsigmoid(q))
    return inside + torch.sigmoid(-p) * (functional.logsigmoid(-p) - functional.logsigmoid(-q))
