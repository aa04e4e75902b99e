"""A U-Net on an EfficientNet-Lite encoder at half resolution, with fine levels of its own."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from fewct.nn.efficientnet_lite import EfficientNetLite
from fewct.nn.folded_unet import FOLD_PX, two_convolutions

STRIDE = 64  # rows and columns of the input must be multiples of this
FINE_WIDTHS = (24, 32)
"""Channels of the levels at 1/2 and 1/4 of the input's resolution that see each pixel."""
DECODER_WIDTHS = (24, 40, 64, 80, 96)


class EncoderUNet(nn.Module):
    """A U-Net without a head, whose features have half the input's resolution or less.

    The encoder sees the input at half resolution: a whole slice is then as large as the pictures that it was
    pretrained on, at a quarter of the cost. Squares of 2 x 2 pixels folded into channels keep what it misses.

    Args:
        encoder: Its weights may be pretrained.
        widths: Channels of the decoder's levels, from 1/2 of the input's resolution downwards.
    """

    def __init__(self, encoder: EfficientNetLite, widths: Sequence[int] = DECODER_WIDTHS) -> None:
        super().__init__()
        self.encoder = encoder
        self.fine = two_convolutions(encoder.in_channels * FOLD_PX**2, FINE_WIDTHS[0])
        self.coarser = two_convolutions(FINE_WIDTHS[0], FINE_WIDTHS[1])
        skipped = (FINE_WIDTHS[0], encoder.channels[0] + FINE_WIDTHS[1], *encoder.channels[1:-1])
        below = (*widths[1:], encoder.channels[-1])
        self.reduce = nn.ModuleList(
            nn.Conv2d(inputs, width, 1, bias=False) for inputs, width in zip(below, widths, strict=True)
        )
        self.up = nn.ModuleList(
            two_convolutions(skip + width, width) for skip, width in zip(skipped, widths, strict=True)
        )
        self.widths = tuple(widths)

    def features(self, x: Tensor) -> list[Tensor]:
        """Return the features of each level of the decoder, the finest first.

        Args:
            x: float (batch, channels, rows, columns); sides are multiples of `STRIDE`.

        Returns:
            For level i (batch, widths[i], rows / 2^(i + 1), columns / 2^(i + 1)).
        """
        fine = self.fine(functional.pixel_unshuffle(x, FOLD_PX))
        first, *encoded = self.encoder(functional.avg_pool2d(x, 2))
        coarser = torch.cat([first, self.coarser(functional.max_pool2d(fine, 2))], dim=1)
        skipped = [fine, coarser, *encoded]
        y = skipped.pop()
        decoded: list[Tensor] = []
        for reduce, up, skip in zip(reversed(self.reduce), reversed(self.up), reversed(skipped), strict=True):
            below = functional.interpolate(reduce(y), scale_factor=2, mode="nearest")
            y = up(torch.cat([skip, below], dim=1))
            decoded.insert(0, y)
        return decoded
