"""TinyViT (https://arxiv.org/abs/2207.10666) as MobileSAM and LiteMedSAM use it: a small image encoder.

MobileSAM (https://arxiv.org/abs/2306.14289) takes 1024 pixels and halves them twice before the first stage;
LiteMedSAM (https://arxiv.org/abs/2412.16085) takes 256 and does not. Both give a 64 x 64 embedding. Names of
weights are those of the official checkpoints.
"""

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from fewct.methods.sam.modeling.layers import from_windows, neck, to_windows


@dataclass(frozen=True)
class TinyViTShape:
    """Architecture of a TinyViT; the defaults are those of MobileSAM, but for its `classes`, 1000.

    Args:
        widths: Channels of each stage.
        depths: Blocks of each stage.
        heads: Attention heads of each stage; of no meaning for the first, which has convolutions alone.
        windows: Side of the attention windows of each stage, in pixels of the stage; likewise.
        stem_stride: Of the first two convolutions: 2 (kernel 3, MobileSAM) or 1 (kernel 1, LiteMedSAM).
        classes: Of a head for classification that MobileSAM's file holds and nobody uses; 0 for none.
        outputs: Channels of the embedding.
    """

    widths: tuple[int, ...] = (64, 128, 160, 320)
    depths: tuple[int, ...] = (2, 2, 6, 2)
    heads: tuple[int, ...] = (2, 4, 5, 10)
    windows: tuple[int, ...] = (7, 7, 14, 7)
    stem_stride: int = 2
    classes: int = 0
    outputs: int = 256

    channels = 3
    """Of the input."""

    @property
    def stride_px(self) -> int:
        """Pixels of the input for one pixel of the embedding: each stage but the last two halves the grid."""
        return int(self.stem_stride**2 * 2 ** (len(self.widths) - 2))

    @property
    def native_px(self) -> int:
        """Side of the images that the official networks were trained on."""
        return 64 * self.stride_px


class TinyViT(nn.Module):
    """The embedding of an image of any size that the stride divides."""

    def __init__(self, shape: TinyViTShape) -> None:
        super().__init__()
        first, last = shape.widths[0], shape.widths[-1]
        kernel = 2 * shape.stem_stride - 1
        stem = (
            normed(3, first // 2, kernel, shape.stem_stride),
            nn.GELU(),
            normed(first // 2, first, kernel, shape.stem_stride),
        )
        self.patch_embed = nn.ModuleDict({"seq": nn.Sequential(*stem)})
        self.layers = nn.ModuleList(Stage(shape, index) for index in range(len(shape.widths)))
        if shape.classes:
            self.norm_head = nn.LayerNorm(last)
            self.head = nn.Linear(last, shape.classes)
        self.neck = neck(last, shape.outputs)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the embedding.

        Args:
            pixels: float (batch, 3, side, side), normalised.

        Returns:
            (batch, outputs, side / stride, side / stride).
        """
        x = self.patch_embed["seq"](pixels)
        for stage in self.layers:
            x = stage(x)
        embedding: Tensor = self.neck(x)
        return embedding


class Stage(nn.Module):
    """Blocks of one width, then the step to the next; the first stage has convolutions in place of attention.

    Args:
        index: Of the stage.
    """

    def __init__(self, shape: TinyViTShape, index: int) -> None:
        super().__init__()
        width = shape.widths[index]
        self.blocks = nn.ModuleList(
            MBConv(width) if index == 0 else TinyViTBlock(width, shape.heads[index], shape.windows[index])
            for _ in range(shape.depths[index])
        )
        self.downsample: nn.Module | None = None
        if index + 1 < len(shape.widths):
            stride = 1 if index + 2 == len(shape.widths) else 2
            self.downsample = PatchMerging(width, shape.widths[index + 1], stride)

    def forward(self, x: Tensor) -> Tensor:
        """Return the maps for the next stage."""
        for block in self.blocks:
            x = block(x)
        return x if self.downsample is None else self.downsample(x)


class MBConv(nn.Module):
    """An inverted residual: four times as many channels, each convolved by itself, and back."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = normed(width, 4 * width)
        self.conv2 = normed(4 * width, 4 * width, 3, groups=4 * width)
        self.conv3 = normed(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return maps like those that came in."""
        inside = functional.gelu(self.conv2(functional.gelu(self.conv1(x))))
        return functional.gelu(x + self.conv3(inside))


class PatchMerging(nn.Module):
    """The step to the next stage.

    Args:
        width: Channels that come in.
        outputs: Channels that go out.
        stride: 2 to halve the grid.
    """

    def __init__(self, width: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = normed(width, outputs)
        self.conv2 = normed(outputs, outputs, 3, stride, groups=outputs)
        self.conv3 = normed(outputs, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return the maps for the next stage."""
        merged: Tensor = self.conv3(functional.gelu(self.conv2(functional.gelu(self.conv1(x)))))
        return merged


class TinyViTBlock(nn.Module):
    """Attention in windows, a convolution of each channel, and two linear layers."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.attn = WindowAttention(width, heads, window)
        self.mlp = NormedMLP(width)
        self.local_conv = normed(width, width, 3, groups=width)

    def forward(self, x: Tensor) -> Tensor:
        """Return maps like those that came in; zeros fill up the last windows."""
        rows, columns = x.shape[2:]
        more_rows, more_columns = -rows % self.window, -columns % self.window
        padded = functional.pad(x, (0, more_columns, 0, more_rows)).permute(0, 2, 3, 1)
        windows = to_windows(padded, self.window)
        attended = self.attn(windows.flatten(1, 2)).reshape(windows.shape)
        whole = from_windows(attended, self.window, rows + more_rows, columns + more_columns)
        x = self.local_conv(x + whole[:, :rows, :columns].permute(0, 3, 1, 2))
        mixed: Tensor = self.mlp(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return x + mixed


class WindowAttention(nn.Module):
    """Attention within a window, with a bias for each distance of two pixels."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.window = window
        self.scale = (width // heads) ** -0.5
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.attention_biases = nn.Parameter(torch.zeros(heads, window**2))

    def forward(self, x: Tensor) -> Tensor:
        """Return (windows, pixels, width) from the same."""
        by_head = torch.unflatten(self.qkv(self.norm(x)), 2, (self.heads, 3, -1)).permute(3, 0, 2, 1, 4)
        q, k, v = by_head.unbind(0)
        weights = torch.softmax(self.scale * q @ k.mT + self._biases(), dim=-1)
        attended: Tensor = self.proj((weights @ v).transpose(1, 2).flatten(2))
        return attended

    def _biases(self) -> Tensor:
        """Return (heads, pixels, pixels): the biases by how far two pixels lie apart along each axis."""
        places = torch.arange(self.window, device=self.attention_biases.device)
        apart = (places[:, None] - places[None, :]).abs()
        distances = self.window * apart[:, None, :, None] + apart[None, :, None, :]
        biases: Tensor = self.attention_biases[:, distances.flatten(2).flatten(0, 1)]
        return biases


class NormedMLP(nn.Module):
    """A normalisation and two linear layers.

    Args:
        width: Channels that come in and go out; inside there are four times as many.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., width) from the same."""
        y: Tensor = self.fc2(functional.gelu(self.fc1(self.norm(x))))
        return y


def normed(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Return a convolution with batch normalisation."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(OrderedDict(c=convolution, bn=nn.BatchNorm2d(outputs)))
