"""The image encoder of `prompt-small`: a narrow U-Net whose maps are folded into one embedding.

It keeps features of half resolution: the finest maps become channels of the embedding, from which the
mask decoder's upscaling can resolve edges that fall between two of its pixels. Convolutions do not know where
they are, so positions are added, by the frequencies of the prompt encoder.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from fewct.methods.sam.modeling.layers import neck
from fewct.methods.sam.modeling.prompt_encoder import FourierPositions
from fewct.nn.folded_unet import WIDTHS, FoldedUNet

DECODER_HEADS = 4
"""Attention heads of the mask decoder behind this encoder, which no shape of its weights reveals."""
N_FOLDED = 3  # levels that the embedding is made of: half, a quarter and an eighth of the input's resolution


@dataclass(frozen=True)
class SmallShape:
    """What the encoder is made of.

    Args:
        widths: Channels of each level of the U-Net, from half resolution downwards.
        outputs: Channels of the embedding.
    """

    widths: tuple[int, ...] = WIDTHS
    outputs: int = 128

    channels = 2
    """Of the input."""
    stride_px = 2**N_FOLDED
    """Pixels of the input for one pixel of the embedding."""
    native_px = 256
    """Side of the images that it is trained on."""


class SmallEncoder(FoldedUNet):
    """The embedding of an image of any size that 2 to the number of levels divides."""

    def __init__(self, shape: SmallShape) -> None:
        super().__init__(shape.channels, shape.widths)
        self.neck = neck(folded_channels(shape.widths), shape.outputs)
        self.pe_layer = FourierPositions(shape.outputs // 2)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the embedding.

        Args:
            pixels: float (batch, 2, side, side), as `preprocess` gives for "ranks".

        Returns:
            (batch, outputs, side / 8, side / 8).
        """
        maps = self.features(pixels.contiguous(memory_format=torch.channels_last))[:N_FOLDED]
        folded = [functional.pixel_unshuffle(x, 2 ** (N_FOLDED - 1 - level)) for level, x in enumerate(maps)]
        embedding: Tensor = self.neck(torch.cat(folded, dim=1))
        return embedding + self.pe_layer.of_grid(embedding.shape[-1])


def folded_channels(widths: Sequence[int]) -> int:
    """Return the number of channels once all levels are folded to the resolution of the coarsest of them.

    Example:
        >>> folded_channels((24, 48, 96, 152, 160))
        672
    """
    return sum(width * 4 ** (N_FOLDED - 1 - level) for level, width in enumerate(widths[:N_FOLDED]))
