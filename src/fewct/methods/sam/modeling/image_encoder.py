"""SAM's image encoder: a plain vision transformer with windows and decomposed relative positions.

ViTDet (https://arxiv.org/abs/2203.16527) with the relative positions of MViTv2
(https://arxiv.org/abs/2112.01526). Names of weights are those of the official checkpoints.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from fewct.methods.sam.modeling.layers import MLPBlock, from_windows, neck, to_windows

SCORES_AT_ONCE = 1 << 24  # held at a time: of all, 0.8 GB a block; pieces under 32 MB would litter the heap


@dataclass(frozen=True)
class ViTShape:
    """Architecture of a vision transformer.

    Args:
        windows: For each block the side of its attention windows in tokens; 0: the whole image.
        hidden: Width inside the two linear layers of a block.
        outputs: Channels of the embedding.
        patch_px: Side of the square of pixels that one token stands for.
        grid: Side of the token grid that the weights were made for.
    """

    width: int
    heads: int
    windows: tuple[int, ...]
    hidden: int
    outputs: int = 256
    patch_px: int = 16
    grid: int = 64

    channels = 3
    """Of the input."""

    @property
    def stride_px(self) -> int:
        """Pixels of the input for one pixel of the embedding."""
        return self.patch_px

    @property
    def native_px(self) -> int:
        """Side of the images that the weights were made for."""
        return self.grid * self.patch_px


class ImageEncoderViT(nn.Module):
    """The embedding of an image.

    Args:
        image_size: Side of its square input, a multiple of the patch.
    """

    def __init__(self, shape: ViTShape, image_size: int) -> None:
        super().__init__()
        side = image_size // shape.patch_px
        self.patch_embed = nn.ModuleDict(
            {"proj": nn.Conv2d(3, shape.width, shape.patch_px, stride=shape.patch_px)}
        )
        self.pos_embed = nn.Parameter(torch.zeros(1, side, side, shape.width))
        self.blocks = nn.ModuleList(ViTBlock(shape, window, side) for window in shape.windows)
        self.neck = neck(shape.width, shape.outputs)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the embedding.

        Args:
            pixels: float (batch, 3, image_size, image_size), normalised.

        Returns:
            (batch, outputs, image_size / patch_px, image_size / patch_px).
        """
        x = self.patch_embed["proj"](pixels).permute(0, 2, 3, 1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        embedding: Tensor = self.neck(x.permute(0, 3, 1, 2))
        return embedding


class ViTBlock(nn.Module):
    """Attention and two linear layers, each after a normalisation and added to what came in."""

    def __init__(self, shape: ViTShape, window: int, side: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(shape.width, eps=1e-6)
        self.attn = RelativePositionAttention(shape.width, shape.heads, window, side)
        self.norm2 = nn.LayerNorm(shape.width, eps=1e-6)
        self.mlp = MLPBlock(shape.width, shape.hidden, "gelu")

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, rows, columns, width) from the same."""
        x = x + self.attn(self.norm1(x))
        y: Tensor = x + self.mlp(self.norm2(x))
        return y


class RelativePositionAttention(nn.Module):
    """Attention among tokens of a window or of the whole image, with relative positions along each axis."""

    def __init__(self, width: int, heads: int, window: int, side: int) -> None:
        super().__init__()
        self.heads = heads
        self.window = window
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        reach = 2 * (window or side) - 1
        self.rel_pos_h = nn.Parameter(torch.zeros(reach, width // heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(reach, width // heads))

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, rows, columns, width) from the same.

        Tokens that fill up the last windows are zeros before the projection to queries, keys and values, and
        so its bias after: only true tokens are projected.
        """
        _, rows, columns, _ = x.shape
        if not self.window:
            return self._projected(self._attend(self.qkv(x)))
        more_rows, more_columns = -rows % self.window, -columns % self.window
        projected = functional.linear(x, self.qkv.weight)
        padded = functional.pad(projected, (0, 0, 0, more_columns, 0, more_rows)) + self.qkv.bias
        attended = self._attend(to_windows(padded, self.window))
        whole = from_windows(attended, self.window, rows + more_rows, columns + more_columns)
        return self._projected(whole[:, :rows, :columns])

    def _projected(self, x: Tensor) -> Tensor:
        y: Tensor = self.proj(x)
        return y

    def _attend(self, qkv: Tensor) -> Tensor:
        """Return (batch, rows, columns, width) from three times the width, some rows at a time."""
        batch, rows, columns, _ = qkv.shape
        tokens = rows * columns
        split = qkv.reshape(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = split.reshape(3, batch * self.heads, tokens, -1).unbind(0)
        grid = q.reshape(batch * self.heads, rows, columns, -1)
        row_bias = torch.einsum("brcd,rkd->brck", grid, relative(self.rel_pos_h, rows))
        column_bias = torch.einsum("brcd,ckd->brck", grid, relative(self.rel_pos_w, columns))
        k = (k * q.shape[-1] ** -0.5).transpose(1, 2)
        step = max(1, SCORES_AT_ONCE // (batch * self.heads * columns * tokens))
        parts = []
        for top in range(0, rows, step):
            some = slice(top, top + step)
            scores = torch.unflatten(grid[:, some].flatten(1, 2) @ k, 2, (rows, columns))
            scores += row_bias[:, some].flatten(1, 2)[..., None]
            scores += column_bias[:, some].flatten(1, 2)[..., None, :]
            parts.append(torch.softmax(scores.flatten(2), dim=-1) @ v)
        heads_last = torch.cat(parts, dim=1).reshape(batch, self.heads, tokens, -1).transpose(1, 2)
        return heads_last.reshape(batch, rows, columns, -1)


def relative(table: Tensor, size: int) -> Tensor:
    """Return the relative positions of each two places along an axis.

    Args:
        table: (2 * size - 1, channels): from the furthest place after to the furthest before.
        size: Places along the axis.

    Returns:
        (size, size, channels): of the query (first) to the key (second).
    """
    places = torch.arange(size, device=table.device)
    return table[places[:, None] - places[None, :] + size - 1]


def fit_positions(weights: Mapping[str, Tensor], shape: ViTShape, image_size: int) -> dict[str, Tensor]:
    """Return an encoder's weights with its positions interpolated for another size of input.

    Absolute positions are resampled by cubic splines, with averaging where the grid shrinks; relative
    positions of the blocks without windows linearly, as the official network does.

    Args:
        weights: Of an `ImageEncoderViT`.
        image_size: Side of the input to fit.

    Returns:
        The weights for an encoder of that input; the same tensors where nothing changes.
    """
    fitted = dict(weights)
    side = image_size // shape.patch_px
    positions = weights["pos_embed"]
    if positions.shape[1] == side:
        return fitted
    channels_first = positions.permute(0, 3, 1, 2)
    resampled = functional.interpolate(
        channels_first, (side, side), mode="bicubic", align_corners=False, antialias=True
    )
    fitted["pos_embed"] = resampled.permute(0, 2, 3, 1)
    for block, window in enumerate(shape.windows):
        for axis in ("h", "w") if not window else ():
            name = f"blocks.{block}.attn.rel_pos_{axis}"
            table = functional.interpolate(weights[name].T[None], 2 * side - 1, mode="linear")
            fitted[name] = table[0].T.contiguous()
    return fitted
