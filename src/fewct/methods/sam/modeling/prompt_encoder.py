"""SAM's prompt encoder: points, corners of boxes and a mask as vectors."""

import math

import torch
from torch import Tensor, nn

from fewct.methods.sam.conventions import BOTTOM_RIGHT, NO_POINT
from fewct.methods.sam.modeling.layers import LayerNorm2d


class FourierPositions(nn.Module):
    """Positions in the image as sines and cosines of random frequencies (https://arxiv.org/abs/2006.10739).

    Args:
        width: Number of frequencies, half the width of a position.
    """

    positional_encoding_gaussian_matrix: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("positional_encoding_gaussian_matrix", torch.randn(2, width))

    def forward(self, xy: Tensor) -> Tensor:
        """Return (..., 2 * width) from x, y in [0, 1], (..., 2)."""
        angles = 2 * math.pi * ((2 * xy - 1) @ self.positional_encoding_gaussian_matrix)
        return torch.cat([angles.sin(), angles.cos()], dim=-1)

    def of_grid(self, side: int) -> Tensor:
        """Return the positions of the pixels of a square image, (2 * width, side, side)."""
        matrix = self.positional_encoding_gaussian_matrix
        centres = (torch.arange(side, device=matrix.device, dtype=matrix.dtype) + 0.5) / side
        y, x = torch.meshgrid(centres, centres, indexing="ij")
        encoded: Tensor = self(torch.stack([x, y], dim=-1))
        return encoded.permute(2, 0, 1)


class PromptEncoder(nn.Module):
    """Prompts as the mask decoder takes them.

    Args:
        width: Channels of a prompt's vector.
        grid: Side of the image embedding.
        image_size: Side of the image encoder's input.
        mask_channels: Channels between the convolutions of a mask.
    """

    def __init__(self, width: int, grid: int, image_size: int, mask_channels: int) -> None:
        super().__init__()
        self.grid = grid
        self.image_size = image_size
        self.pe_layer = FourierPositions(width // 2)
        self.point_embeddings = nn.ModuleList(nn.Embedding(1, width) for _ in range(BOTTOM_RIGHT + 1))
        self.not_a_point_embed = nn.Embedding(1, width)
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, mask_channels // 4, 2, stride=2),
            LayerNorm2d(mask_channels // 4),
            nn.GELU(),
            nn.Conv2d(mask_channels // 4, mask_channels, 2, stride=2),
            LayerNorm2d(mask_channels),
            nn.GELU(),
            nn.Conv2d(mask_channels, width, 1),
        )
        self.no_mask_embed = nn.Embedding(1, width)

    def positions(self) -> Tensor:
        """Return where the pixels of the image embedding lie, (width, grid, grid)."""
        return self.pe_layer.of_grid(self.grid)

    def points(self, xy: Tensor, labels: Tensor) -> Tensor:
        """Return the vectors of points.

        A box is two points, its corners. Prompts without a box need one more point, labelled `NO_POINT`, as
        the official networks were trained.

        Args:
            xy: float (..., points, 2): x, y in pixels of the encoder's input.
            labels: int (..., points): `NO_POINT`, `OUTSIDE`, `INSIDE`, `TOP_LEFT` or `BOTTOM_RIGHT`.

        Returns:
            (..., points, width).
        """
        kinds = torch.cat([self.not_a_point_embed.weight, *self.point_embeddings.parameters()])
        encoded = self.pe_layer((xy + 0.5) / self.image_size)
        placed = torch.where((labels == NO_POINT)[..., None], torch.zeros_like(encoded), encoded)
        return placed + kinds[labels + 1]

    def mask(self, logits: Tensor | None) -> Tensor:
        """Return the maps that are added to the image embedding.

        Args:
            logits: Of a mask, float (groups, 1, 4 * grid, 4 * grid).

        Returns:
            (groups, width, grid, grid), with one group where there is no mask.
        """
        if logits is None:
            return self.no_mask_embed.weight[:, :, None, None].expand(-1, -1, self.grid, self.grid)
        maps: Tensor = self.mask_downscaling(logits)
        return maps
