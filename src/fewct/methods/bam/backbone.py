"""BAM's small residual backbone, which is trained from random weights."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from fewct.methods.bam.preprocessing import N_CHANNELS

WIDTHS = (32, 64, 96, 128)
BLOCKS = (1, 2, 2, 2)
STRIDES = (2, 1, 2, 1)  # after a stem of stride 2
DILATIONS = (1, 1, 1, 2)


class Features(NamedTuple):
    """Features of a batch of slices.

    Args:
        low: float (batch, channels, any rows, any columns), for Gram matrices.
        middle: float (batch, channels, rows / 4, columns / 4), for prototypes.
        deep: float (batch, channels, rows / 8, columns / 8), for the base learner and the prior.
        place: float (batch, 2, rows / 4, columns / 4): x and y in the patient's box, from -1 to 1.
    """

    low: Tensor
    middle: Tensor
    deep: Tensor
    place: Tensor


class Backbone(nn.Module):
    """A residual network (https://doi.org/10.1109/CVPR.2016.90) of four stages, the last ones not coarser.

    Args:
        widths: Channels of each stage.
    """

    def __init__(self, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        folded = N_CHANNELS * 4
        self.stem = nn.Sequential(
            nn.Conv2d(folded, widths[0], 3, padding=1, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(inplace=True),
        )
        inputs = (widths[0], *widths[:-1])
        self.stages = nn.ModuleList(
            _stage(*shape) for shape in zip(inputs, widths, BLOCKS, STRIDES, DILATIONS, strict=True)
        )
        self.channels = (widths[1], widths[1] + widths[2], widths[3])

    def forward(self, x: Tensor) -> Features:
        """Return the features.

        Args:
            x: float (batch, N_CHANNELS, rows, columns), as `preprocess` gives; sides are multiples of 8.
        """
        place = functional.avg_pool2d(x[:, 1:], 4)
        x = functional.pixel_unshuffle(x, 2).contiguous(memory_format=torch.channels_last)
        _, second, third, fourth = self._stages(self.stem(x))
        raised = functional.interpolate(third, size=second.shape[-2:], mode="bilinear")
        return Features(second, torch.cat([second, raised], dim=1), fourth, place)

    def _stages(self, x: Tensor) -> list[Tensor]:
        outputs = []
        for stage in self.stages:
            x = stage(x)
            outputs.append(x)
        return outputs


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions with batch normalisation and a skip connection.

    Args:
        inputs: Number of input channels.
        outputs: Number of output channels.
        stride: Of the first convolution.
        dilation: Of both.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, dilation, dilation, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, 1, dilation, dilation, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.skip: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.skip = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return the features of one block."""
        return functional.relu(self.body(x) + self.skip(x))


def _stage(inputs: int, outputs: int, blocks: int, stride: int, dilation: int) -> nn.Sequential:
    first = ResidualBlock(inputs, outputs, stride, dilation)
    return nn.Sequential(first, *(ResidualBlock(outputs, outputs, 1, dilation) for _ in range(blocks - 1)))
