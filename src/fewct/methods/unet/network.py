"""The founding paper's U-Net, and its decoder, which a pretrained ResNet may go before."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTHS = (64, 128, 256, 512, 1024)
DROPOUT = 0.5
DROPOUT_LEVELS = 2  # the deepest ones


class StructureLogits(NamedTuple):
    """Output of the network.

    Args:
        foreground: float (batch, rows, columns): logit of a structure.
    """

    foreground: Tensor


class UNetNetwork(nn.Module):
    """Two 3 x 3 convolutions with ReLU a level, max pooling down, transposed convolutions up.

    After Ronneberger et al. (https://doi.org/10.1007/978-3-319-24574-4_28), with padding, so that the output
    is on the input's grid, and dropout at the two deepest levels.

    Args:
        widths: Channels of each level, from full resolution downwards.
        batch_norm: Whether each convolution is followed by batch normalisation.
    """

    def __init__(self, widths: Sequence[int] = WIDTHS, batch_norm: bool = False) -> None:
        super().__init__()
        self.down = nn.ModuleList(
            _two_convolutions(inputs, outputs, batch_norm) for inputs, outputs in pairwise((1, *widths))
        )
        first_dropout = len(widths) - DROPOUT_LEVELS
        self.dropout = nn.ModuleList(
            nn.Dropout(DROPOUT) if level >= first_dropout else nn.Identity() for level in range(len(widths))
        )
        self.decoder = UNetDecoder(widths, widths[:-1], batch_norm)
        self.head = nn.Conv2d(widths[0], 1, 1)

    def forward(self, x: Tensor) -> StructureLogits:
        """Return the logits.

        Args:
            x: float (batch, 1, rows, columns), as `preprocess` gives; sides are multiples of 32.
        """
        features: list[Tensor] = []
        for level, block in enumerate(self.down):
            x = self.dropout[level](block(x if level == 0 else functional.max_pool2d(x, 2)))
            features.append(x)
        return StructureLogits(self.head(self.decoder(features))[:, 0])


class UNetDecoder(nn.Module):
    """Transposed convolutions up from the deepest features, with skip connections at each level.

    Args:
        features: Channels of the encoder's features, finest first.
        widths: Channels of the output of each level but the deepest, finest first.
        batch_norm: Whether each convolution is followed by batch normalisation.
    """

    def __init__(self, features: Sequence[int], widths: Sequence[int], batch_norm: bool) -> None:
        super().__init__()
        below = (*widths[1:], features[-1])
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(inputs, outputs, 2, stride=2)
            for inputs, outputs in zip(below, widths, strict=True)
        )
        self.join = nn.ModuleList(
            _two_convolutions(skip + width, width, batch_norm)
            for skip, width in zip(features[:-1], widths, strict=True)
        )

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Return the output of the finest level.

        Args:
            features: float (batch, channels, rows, columns) each, finest first, each half the size of the one
                before.
        """
        x = features[-1]
        for level in reversed(range(len(self.up))):
            x = self.join[level](torch.cat([features[level], self.up[level](x)], dim=1))
        return x


def _two_convolutions(inputs: int, outputs: int, batch_norm: bool) -> nn.Sequential:
    """Return two 3 x 3 convolutions with ReLU."""
    layers: list[nn.Module] = []
    for channels in (inputs, outputs):
        layers.append(nn.Conv2d(channels, outputs, 3, padding=1, bias=not batch_norm))
        if batch_norm:
            layers.append(nn.BatchNorm2d(outputs))
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)
