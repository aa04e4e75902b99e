"""A U-Net whose encoder is a pretrained ResNet."""

from typing import Any

from torch import Tensor, nn

from fewct.methods.unet.network import StructureLogits, UNetDecoder

FINE_WIDTHS = (16, 32)  # of full and half resolution, where the ResNet has no features


class ResNetUNet(nn.Module):
    """The decoder of the U-Net on the features of a ResNet (https://doi.org/10.1109/CVPR.2016.90).

    Args:
        backbone: A `transformers.ResNetModel` of one channel, as `fewct.nn.pretrained_resnet` gives, of four
            stages and no downsampling in the first.
    """

    def __init__(self, backbone: Any) -> None:
        super().__init__()
        self.backbone = backbone
        stages = tuple(backbone.config.hidden_sizes)
        self.at_full = nn.Sequential(nn.Conv2d(1, FINE_WIDTHS[0], 3, padding=1), nn.ReLU(inplace=True))
        self.at_half = nn.Sequential(
            nn.Conv2d(FINE_WIDTHS[0], FINE_WIDTHS[1], 3, stride=2, padding=1), nn.ReLU(inplace=True)
        )
        widths = (*FINE_WIDTHS, *(min(width, 256) for width in stages[:-1]))
        self.decoder = UNetDecoder((*FINE_WIDTHS, *stages), widths, batch_norm=True)
        self.head = nn.Conv2d(FINE_WIDTHS[0], 1, 1)

    def forward(self, x: Tensor) -> StructureLogits:
        """Return the logits.

        Args:
            x: float (batch, 1, rows, columns), as `preprocess` gives; sides are multiples of 32.
        """
        full = self.at_full(x)
        _, *stages = self.backbone(x, output_hidden_states=True).hidden_states
        return StructureLogits(self.head(self.decoder([full, self.at_half(full), *stages]))[:, 0])
