"""The network of `mosaic`: a narrow U-Net that works at half resolution and answers at full resolution."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from fewct.methods.mosaic.affinities import SPACING_PX, STEPS
from fewct.methods.mosaic.inputs import N_CHANNELS

WIDTHS = (24, 48, 96, 152, 160)
STRIDE = 2 ** len(WIDTHS)  # rows and columns of the input must be multiples of this
SHUFFLE = SPACING_PX


class MapLogits(NamedTuple):
    """The network's answer.

    Args:
        boundary: float (batch, rows, columns): logit of lying on a border between two structures.
        structure: float (batch, rows, columns): logit of lying in a structure.
        affinity: float (batch, steps, rows / 2, columns / 2): logit that a pixel and the one `STEPS` further
            lie in the same structure.
    """

    boundary: Tensor
    structure: Tensor
    affinity: Tensor


class MosaicNet(nn.Module):
    """Boundary, structure and affinity logits from the two channels of `network_input`.

    The input is folded 2 x 2 pixels into channels, so that all convolutions run at half resolution or below,
    and the answer is unfolded again: thin ribs and fissures stay exact to a pixel at a quarter of the cost.

    Args:
        widths: Channels of each level, from half resolution downwards.
    """

    def __init__(self, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        folded = N_CHANNELS * SHUFFLE**2
        self.down = nn.ModuleList(
            _two_convolutions(inputs, outputs)
            for inputs, outputs in zip((folded, *widths[:-1]), widths, strict=True)
        )
        self.reduce = nn.ModuleList(
            nn.Conv2d(below, width, 1, bias=False)
            for below, width in zip(widths[1:], widths[:-1], strict=True)
        )
        self.up = nn.ModuleList(_two_convolutions(2 * width, width) for width in widths[:-1])
        self.head = nn.Conv2d(widths[0], 2 * SHUFFLE**2, 1)
        self.affinity = nn.Conv2d(widths[0], len(STEPS), 1)

    def forward(self, x: Tensor) -> MapLogits:
        """Return the logits.

        Args:
            x: float (batch, 2, rows, columns), as `network_input` gives; sides are multiples of `STRIDE`.
        """
        x = functional.pixel_unshuffle(x, SHUFFLE)
        skips: list[Tensor] = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else functional.max_pool2d(x, 2))
            skips.append(x)
        for level in reversed(range(len(self.up))):
            below = functional.interpolate(self.reduce[level](x), scale_factor=2, mode="nearest")
            x = self.up[level](torch.cat([skips[level], below], dim=1))
        logits = functional.pixel_shuffle(self.head(x), SHUFFLE)
        return MapLogits(logits[:, 0], logits[:, 1], self.affinity(x))


def _two_convolutions(inputs: int, outputs: int) -> nn.Sequential:
    """Return two 3 x 3 convolutions, each with batch normalisation and ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def parameter_count(network: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(p.numel() for p in network.parameters())
