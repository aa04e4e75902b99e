"""Low-rank adapters (https://arxiv.org/abs/2106.09685): small matrices that learn beside frozen ones."""

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from fewct.errors import UsageError
from fewct.methods.sam.modeling.sam import Sam

LORA_LAYERS = "qkv"
"""Name of the linear layers that get one: the projections to queries, keys and values."""


class LowRankUpdate(nn.Module):
    """A matrix with the product of two thin ones added; 0 at first."""

    def __init__(self, rows: int, columns: int, rank: int) -> None:
        super().__init__()
        self.down = nn.Parameter(torch.randn(rank, columns) / columns**0.5)
        self.up = nn.Parameter(torch.zeros(rows, rank))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the matrix with what was learnt."""
        return weight + self.up @ self.down


def add_lora(network: Sam, rank: int) -> None:
    """Freeze an image encoder, in place, and let small matrices in its attention learn.

    Args:
        network: Its image encoder is a vision transformer.
        rank: Of what is added to each matrix.

    Raises:
        UsageError: If the image encoder has no attention.
    """
    network.image_encoder.requires_grad_(False)
    layers = _layers(network)
    if not layers:
        raise UsageError(
            "trainable",
            expected="decoder, prompts or all for an image encoder without attention",
            found="adapters",
            fix="Use --trainable all: this encoder is small.",
        )
    for layer in layers:
        rows, columns = layer.weight.shape
        parametrize.register_parametrization(layer, "weight", LowRankUpdate(rows, columns, rank))


def merge_lora(network: Sam) -> None:
    """Make what the adapters of a network learnt part of its own matrices, in place."""
    for layer in _layers(network):
        if parametrize.is_parametrized(layer):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)


def _layers(network: Sam) -> list[nn.Linear]:
    named = network.image_encoder.named_modules()
    return [m for name, m in named if name.endswith(f".{LORA_LAYERS}") and isinstance(m, nn.Linear)]
