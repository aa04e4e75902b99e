"""A narrow U-Net at half resolution, the base of the small networks of several methods."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTHS = (24, 48, 96, 152, 160)
STRIDE = 2 ** len(WIDTHS)  # rows and columns of the input must be multiples of this
FOLD_PX = 2
"""Side of the square of pixels that is folded into channels at the input."""


class FoldedUNet(nn.Module):
    """A U-Net without a head, whose features have half the input's resolution or less.

    Squares of 2 x 2 pixels are folded into channels, so that convolutions run at half resolution or below.

    Args:
        channels: Of the input.
        widths: Channels of each level, from half resolution downwards.
    """

    def __init__(self, channels: int, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        folded = channels * FOLD_PX**2
        self.down = nn.ModuleList(
            two_convolutions(inputs, outputs)
            for inputs, outputs in zip((folded, *widths[:-1]), widths, strict=True)
        )
        self.reduce = nn.ModuleList(
            nn.Conv2d(below, width, 1, bias=False)
            for below, width in zip(widths[1:], widths[:-1], strict=True)
        )
        self.up = nn.ModuleList(two_convolutions(2 * width, width) for width in widths[:-1])

    def features(self, x: Tensor) -> list[Tensor]:
        """Return the features of each level, the finest first.

        Args:
            x: float (batch, channels, rows, columns); sides are multiples of 2 to the number of levels.

        Returns:
            For level i (batch, widths[i], rows / 2^(i + 1), columns / 2^(i + 1)).
        """
        x = functional.pixel_unshuffle(x, FOLD_PX)
        maps: list[Tensor] = []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else functional.max_pool2d(x, 2))
            maps.append(x)
        for level in reversed(range(len(self.up))):
            below = functional.interpolate(self.reduce[level](x), scale_factor=2, mode="nearest")
            x = self.up[level](torch.cat([maps[level], below], dim=1))
            maps[level] = x
        return maps


def two_convolutions(inputs: int, outputs: int) -> nn.Sequential:
    """Return two 3 x 3 convolutions, each with batch normalisation and ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )
