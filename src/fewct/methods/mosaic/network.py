"""The network of `mosaic`: a narrow U-Net at half resolution with output at full resolution."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional

from fewct.methods.mosaic.maps import STEPS
from fewct.methods.mosaic.preprocessing import N_CHANNELS
from fewct.nn.folded_unet import FOLD_PX, WIDTHS, FoldedUNet


class MapLogits(NamedTuple):
    """Output of the network.

    Args:
        boundary: float (batch, rows, columns): logit of a border between two structures.
        structure: float (batch, rows, columns): logit of a structure.
        affinity: float (batch, steps, rows / 2, columns / 2): logit that a pixel and the one `STEPS` further
            are in the same structure.
    """

    boundary: Tensor
    structure: Tensor
    affinity: Tensor


class MosaicNet(FoldedUNet):
    """Boundary, structure and affinity logits from the two channels of `preprocess`.

    The output is unfolded from half to full resolution: thin ribs and fissures stay exact to a pixel at a
    quarter of the cost.

    Args:
        widths: Channels of each level, from half resolution downwards.
    """

    def __init__(self, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__(N_CHANNELS, widths)
        self.head = nn.Conv2d(widths[0], 2 * FOLD_PX**2, 1)
        self.affinity = nn.Conv2d(widths[0], len(STEPS), 1)

    def forward(self, x: Tensor) -> MapLogits:
        """Return the logits.

        Args:
            x: float (batch, 2, rows, columns), as `preprocess` gives; sides are multiples of
                `folded_unet.STRIDE`.
        """
        finest = self.features(x)[0]
        logits = functional.pixel_shuffle(self.head(finest), FOLD_PX)
        return MapLogits(logits[:, 0], logits[:, 1], self.affinity(finest))
