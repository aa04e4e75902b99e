"""SAM's mask decoder: masks and their predicted IoU, from an image embedding and prompts.

In two steps: the first predicts the IoU of each mask of a prompt, the second computes those that are wanted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from fewct.methods.sam.modeling.layers import LayerNorm2d
from fewct.methods.sam.modeling.transformer import ImageTokens, TwoWayTransformer

UPSCALING = 4
"""Side of a mask over that of the image embedding."""


@dataclass(frozen=True)
class DecoderShape:
    """Architecture of a mask decoder; the defaults are the official ones.

    Args:
        depth: Number of layers of the transformer.
        masks: Masks for each prompt: one for unambiguous prompts, then those to choose from.
        score_hidden: Width inside the head that predicts IoU.
        score_depth: Its number of linear layers.
    """

    width: int = 256
    heads: int = 8
    hidden: int = 2048
    depth: int = 2
    masks: int = 4
    score_hidden: int = 256
    score_depth: int = 3


class DecoderOutput(NamedTuple):
    """What the first step of the decoder gives for each prompt.

    Args:
        predicted_iou: (batch, masks).
        kernels: (batch, masks, channels): of each mask, for the products with upscaled pixels.
        pixels: (batch, pixels, width): tokens of the image after attention to the prompt.
    """

    predicted_iou: Tensor
    kernels: Tensor
    pixels: Tensor


class MLP(nn.Module):
    """Linear layers with ReLU between them, of some widths from the input's to the output's."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(inputs, outputs) for inputs, outputs in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., outputs) from (..., inputs)."""
        for index, layer in enumerate(self.layers):
            x = layer(x if index == 0 else functional.relu(x))
        return x


class MaskDecoder(nn.Module):
    """Masks from an image embedding and prompts."""

    def __init__(self, shape: DecoderShape) -> None:
        super().__init__()
        width, channels = shape.width, shape.width // 8
        self.transformer = TwoWayTransformer(width, shape.heads, shape.hidden, shape.depth)
        self.iou_token = nn.Embedding(1, width)
        self.mask_tokens = nn.Embedding(shape.masks, width)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(width, width // 4, 2, stride=2),
            LayerNorm2d(width // 4),
            nn.GELU(),
            nn.ConvTranspose2d(width // 4, channels, 2, stride=2),
            nn.GELU(),
        )
        self.output_hypernetworks_mlps = nn.ModuleList(
            MLP((width, width, width, channels)) for _ in range(shape.masks)
        )
        between = [shape.score_hidden] * (shape.score_depth - 1)
        self.iou_prediction_head = MLP((width, *between, shape.masks))

    def image_tokens(self, embedding: Tensor, mask_input: Tensor, positions: Tensor) -> ImageTokens:
        """Return what all prompts on an image share, once for an image.

        Args:
            embedding: (groups or 1, width, rows, columns).
            mask_input: (groups or 1, width, rows, columns), as `PromptEncoder.mask` gives.
            positions: (width, rows, columns), as `PromptEncoder.positions` gives.
        """
        return self.transformer.image_tokens(embedding + mask_input, positions)

    def decode(self, image: ImageTokens, points: Tensor) -> DecoderOutput:
        """Return the predicted IoU of the masks of prompts, and what the masks are computed from.

        Args:
            image: What `image_tokens` gave.
            points: (groups, prompts, points, width), as `PromptEncoder.points` gives.

        Returns:
            With a batch of groups * prompts.
        """
        outputs = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        prompts = torch.cat([outputs.expand(*points.shape[:2], -1, -1), points], dim=2)
        tokens, pixels = self.transformer(prompts, image)
        kernels = [network(tokens[:, 1 + i]) for i, network in enumerate(self.output_hypernetworks_mlps)]
        return DecoderOutput(self.iou_prediction_head(tokens[:, 0]), torch.stack(kernels, dim=1), pixels)

    def mask_logits(self, pixels: Tensor, kernels: Tensor) -> Tensor:
        """Return the logits of masks.

        The two transposed convolutions have kernels as wide as their stride: each is a linear layer that
        gives the four smaller pixels of a pixel, which need no other order until the products with kernels.

        Args:
            pixels: (batch, pixels, width), of `DecoderOutput`; the grid is square.
            kernels: (batch, masks, channels), of `DecoderOutput`.

        Returns:
            (batch, masks, 4 * rows, 4 * columns): above 0 inside the structure.
        """
        first, norm, activation, second, last = self.output_upscaling
        batch, masks = kernels.shape[:2]
        x = norm_last(quarter(pixels, first), norm)
        x = last(quarter(activation(x), second))
        logits: Tensor = kernels @ x.reshape(batch, -1, x.shape[-1]).mT
        side = round(pixels.shape[1] ** 0.5)
        nested = logits.reshape(batch, masks, side, side, 2, 2, 2, 2).permute(0, 1, 2, 4, 6, 3, 5, 7)
        return nested.reshape(batch, masks, UPSCALING * side, UPSCALING * side)


def quarter(x: Tensor, convolution: nn.Module) -> Tensor:
    """Apply a transposed convolution of kernel 2 and stride 2 to pixels in any order.

    Args:
        x: (..., inputs).
        convolution: An `nn.ConvTranspose2d`.

    Returns:
        (..., 4, outputs): row by row the smaller pixels of each pixel.
    """
    weight: Tensor = convolution.get_parameter("weight")
    matrix = weight.permute(2, 3, 1, 0).flatten(0, 2)
    smaller = functional.linear(x, matrix, convolution.get_parameter("bias").repeat(4))
    return torch.unflatten(smaller, -1, (4, -1))


def norm_last(x: Tensor, norm: nn.Module) -> Tensor:
    """Apply a `LayerNorm2d` where the channels come last."""
    weight, bias = norm.get_parameter("weight"), norm.get_parameter("bias")
    return functional.layer_norm(x, x.shape[-1:], weight, bias, 1e-6)
