"""Self-training on unlabelled slices with a mean teacher (https://doi.org/10.48550/arXiv.1703.01780).

The teacher is the moving average of the weights, which the loop keeps anyway. Its prediction on a slice is
the target of the network's on the same slice with other noise, sharpness and window. The network's output
must be a tuple of logits.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fewct.training.augment import simulate_scanner, warp
from fewct.training.crops import ExampleSampler, Preprocess
from fewct.training.sampling import RandomDataset


class ViewPair(NamedTuple):
    """The same crop as network input twice, or a batch of such.

    Args:
        plain: float32 (channels, rows, columns): for the teacher.
        altered: float32 (channels, rows, columns): for the network, with other noise, sharpness and window.
    """

    plain: Tensor
    altered: Tensor


def view_pairs(
    example: ExampleSampler,
    preprocess: Preprocess,
    size_px: int,
    length: int,
    seed: int,
    no_flips: bool = False,
) -> RandomDataset[ViewPair]:
    """Return random crops of unlabelled slices as pairs of views, as many as `length`.

    Args:
        example: Draws a slice, whose labels are ignored.
        preprocess: Makes the network's input.
        size_px: Side of a crop.
        length: Number of pairs.
        seed: Pair `i` depends on it and on `i` alone.
        no_flips: Whether slices are neither flipped nor turned by quarters.
    """

    def draw(rng: np.random.Generator, _: int) -> ViewPair:
        warped = warp(example(rng), size_px, rng, no_flips)
        altered = simulate_scanner(warped.image, synthetic=False, rng=rng)
        plain, other = (preprocess(image, warped.body) for image in (warped.image, altered))
        return ViewPair(torch.from_numpy(plain), torch.from_numpy(other))

    return RandomDataset(draw, length, seed, 1)


def consistency_loss(network: nn.Module, teacher: nn.Module, pair: ViewPair) -> Tensor:
    """Return the divergence of the network's predictions on altered views from the teacher's on plain ones.

    The mean over pixels and output maps of the binary Kullback-Leibler divergence; 0 where both agree.
    Gradients flow into the network alone.
    """
    teacher.eval()
    with torch.no_grad():
        target = teacher(pair.plain)
    predicted = network(pair.altered)
    return torch.stack([binary_kl(*logits).mean() for logits in zip(predicted, target, strict=True)]).mean()


def binary_kl(logits: Tensor, target: Tensor) -> Tensor:
    """Return the Kullback-Leibler divergence of each probability from the target, both given as logits.

    `p log(p / q) + (1 - p) log((1 - p) / (1 - q))`, with `p` the target and `q` the other, in float32
    and from logits, so that it stays finite and exact at saturated logits.

    Args:
        logits: float (...).
        target: float (...).

    Example:
        >>> binary_kl(torch.tensor([0.0, 50.0]), torch.tensor([0.0, 50.0])).tolist()
        [0.0, 0.0]
    """
    q, p = logits.float(), target.float()
    inside = torch.sigmoid(p) * (functional.logsigmoid(p) - functional.logsigmoid(q))
    return inside + torch.sigmoid(-p) * (functional.logsigmoid(-p) - functional.logsigmoid(-q))
