"""A U-Net on an EfficientNet-Lite encoder with a light decoder."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from fewct.nn.efficientnet_lite import EfficientNetLite
from fewct.nn.folded_unet import FOLD_PX, two_convolutions

STRIDE = 32  # rows and columns of the input must be multiples of this
DECODER_WIDTHS = (24, 32, 48, 96)
FOLDED_WIDTH = 16


class EncoderUNet(nn.Module):
    """A U-Net without a head, whose features have half the input's resolution or less.

    Beside the encoder's stem, squares of 2 x 2 pixels are folded into channels, so that the finest features
    know each pixel.

    Args:
        encoder: Its weights may be pretrained.
        widths: Channels of the decoder's levels, from half resolution downwards.
    """

    def __init__(self, encoder: EfficientNetLite, widths: Sequence[int] = DECODER_WIDTHS) -> None:
        super().__init__()
        self.encoder = encoder
        self.fold = nn.Sequential(
            nn.Conv2d(encoder.in_channels * FOLD_PX**2, FOLDED_WIDTH, 3, padding=1, bias=False),
            nn.BatchNorm2d(FOLDED_WIDTH),
            nn.ReLU(inplace=True),
        )
        skipped = (encoder.channels[0] + FOLDED_WIDTH, *encoder.channels[1:-1])
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
        encoded = self.encoder(x)
        encoded[0] = torch.cat([encoded[0], self.fold(functional.pixel_unshuffle(x, FOLD_PX))], dim=1)
        y = encoded.pop()
        decoded: list[Tensor] = []
        for reduce, up, skip in zip(reversed(self.reduce), reversed(self.up), reversed(encoded), strict=True):
            below = functional.interpolate(reduce(y), scale_factor=2, mode="nearest")
            y = up(torch.cat([skip, below], dim=1))
            decoded.insert(0, y)
        return decoded
