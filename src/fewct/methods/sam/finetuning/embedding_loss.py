"""A head that learns from the image embedding alone, for an encoder that starts from random weights.

Through the decoder's attention little gradient reaches the encoder at first. Here every pixel gives some:
features within a structure are to be alike, and unlike those around it.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from fewct.methods.sam.modeling.mask_decoder import UPSCALING

FEATURES = 16
SHARPNESS, MIDDLE = 10.0, 0.5
"""What training starts from: logits are SHARPNESS * (cosine - MIDDLE)."""


class PixelSimilarityHead(nn.Module):
    """Cosine similarity of each pixel's features to the mean of those of a structure."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.features = nn.Conv2d(width, FEATURES * UPSCALING**2, 1)
        self.sharpness = nn.Parameter(torch.tensor(SHARPNESS))
        self.middle = nn.Parameter(torch.tensor(MIDDLE))

    def forward(self, embedding: Tensor, targets: Tensor) -> Tensor:
        """Return logits, above 0 where a pixel is like the structure.

        Args:
            embedding: (batch, width, rows, columns).
            targets: float (batch, structures, 4 * rows, 4 * columns) in [0, 1].

        Returns:
            float (batch, structures, 4 * rows, 4 * columns).
        """
        finer = functional.pixel_shuffle(self.features(embedding), UPSCALING).float()
        features = functional.normalize(finer, dim=1).flatten(2)
        means = functional.normalize(targets.flatten(2) @ features.mT, dim=2)
        cosines = torch.reshape(means @ features, targets.shape)
        logits: Tensor = self.sharpness * (cosines - self.middle)
        return logits
