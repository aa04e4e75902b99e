"""BAM's backbone of a pretrained ResNet, as in the paper."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fewct.methods.bam.backbone import Features


class ResNetBackbone(nn.Module):
    """A ResNet (https://doi.org/10.1109/CVPR.2016.90) whose last two stages are dilated, not coarser.

    Args:
        network: A `transformers.ResNetModel` of one channel, as `fewct.nn.pretrained_resnet` gives, of four
            stages and no downsampling in the first; changed in place.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network
        for stage, before in zip(network.encoder.stages[2:], (1, 2), strict=True):
            _dilate(stage, before)
        _, second, third, fourth = network.config.hidden_sizes
        self.channels = (second, second + third, fourth)

    def forward(self, x: Tensor) -> Features:
        """Return the features; all but `place` are of 1 / 8 of the resolution, `middle` is enlarged.

        Args:
            x: float (batch, N_CHANNELS, rows, columns), as `preprocess` gives; sides are multiples of 8.
        """
        place = functional.avg_pool2d(x[:, 1:], 4)
        _, _, second, third, fourth = self.network(x[:, :1], output_hidden_states=True).hidden_states
        middle = functional.interpolate(
            torch.cat([second, third], dim=1), size=place.shape[-2:], mode="bilinear"
        )
        return Features(second, middle, fourth, place)


def _dilate(stage: nn.Module, before: int) -> None:
    """Replace a stage's stride by dilation, in place; every second feature stays as it was.

    Args:
        stage: Of a ResNet.
        before: Dilation of the stage in front of it.
    """
    for layer in stage.modules():
        if isinstance(layer, nn.Conv2d):
            dilation = before if layer.stride != (1, 1) else 2 * before
            layer.stride = (1, 1)
            if layer.kernel_size == (3, 3):
                layer.dilation = layer.padding = (dilation, dilation)
