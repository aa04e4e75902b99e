"""The network of `mosaic`: a U-Net on a pretrained encoder, with output at full resolution."""

from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional

from fewct.methods.mosaic.maps import STEPS
from fewct.methods.mosaic.preprocessing import N_CHANNELS, N_PLAIN_CHANNELS
from fewct.nn.efficientnet_lite import EfficientNetLite, load_efficientnet_lite
from fewct.nn.encoder_unet import EncoderUNet
from fewct.nn.folded_unet import FOLD_PX, WIDTHS, FoldedUNet

AS_COLOURS = ((1.0, 0.0, 1.0), (0.0, 1.0, 0.0))
"""How much contrast and ranks count as red, green and blue for the pretrained encoder."""


class MapLogits(NamedTuple):
    """Output of the network.

    Args:
        boundary: float (batch, rows, columns): logit of a border between two structures.
        structure: float (batch, rows, columns): logit of a structure.
        affinity: float (batch, steps, rows / 2, columns / 2): logit that a pixel and the one `STEPS` further
            are in the same structure.
        above: float (batch, rows / 2, columns / 2): logit that a pixel and the one above it in the next slice
            are in the same structure; without meaning where there is no slice above. None of a network that
            sees no neighbours.
    """

    boundary: Tensor
    structure: Tensor
    affinity: Tensor
    above: Tensor | None = None


class MosaicNet(EncoderUNet):
    """Boundary, structure and affinity logits from the channels of `preprocess`.

    The output is unfolded from half to full resolution: thin ribs and fissures stay exact to a pixel at a
    quarter of the cost.

    Args:
        encoder: For `N_CHANNELS` channels; None for one with random weights.
    """

    def __init__(self, encoder: EfficientNetLite | None = None) -> None:
        super().__init__(EfficientNetLite(in_channels=N_CHANNELS) if encoder is None else encoder)
        self.head = nn.Conv2d(self.widths[0], 2 * FOLD_PX**2, 1)
        self.affinity = nn.Conv2d(self.widths[0], len(STEPS) + 1, 1)

    def forward(self, x: Tensor) -> MapLogits:
        """Return the logits.

        Args:
            x: float (batch, `N_CHANNELS`, rows, columns), as `preprocess` gives; sides are multiples of
                `encoder_unet.STRIDE`.
        """
        finest = self.features(x)[0]
        logits = functional.pixel_shuffle(self.head(finest), FOLD_PX)
        affinity = self.affinity(finest)
        return MapLogits(logits[:, 0], logits[:, 1], affinity[:, :-1], affinity[:, -1])


class FoldedMosaicNet(FoldedUNet):
    """The network of the weights that come with fewct: smaller, from scratch, without neighbours."""

    def __init__(self) -> None:
        super().__init__(N_PLAIN_CHANNELS)
        self.head = nn.Conv2d(WIDTHS[0], 2 * FOLD_PX**2, 1)
        self.affinity = nn.Conv2d(WIDTHS[0], len(STEPS), 1)

    def forward(self, x: Tensor) -> MapLogits:
        """Return the logits.

        Args:
            x: float (batch, `N_PLAIN_CHANNELS`, rows, columns); sides are multiples of `folded_unet.STRIDE`.
        """
        finest = self.features(x)[0]
        logits = functional.pixel_shuffle(self.head(finest), FOLD_PX)
        return MapLogits(logits[:, 0], logits[:, 1], self.affinity(finest))


def pretrained_encoder(name_or_path: str) -> EfficientNetLite:
    """Return an encoder with pretrained weights for the channels of `preprocess`.

    Args:
        name_or_path: As `load_efficientnet_lite` takes it.

    Raises:
        InputError: If the file is absent, or not one of the known ones.
        MissingExtraError: If the package is not installed.
    """
    return load_efficientnet_lite(name_or_path, N_CHANNELS, AS_COLOURS)
