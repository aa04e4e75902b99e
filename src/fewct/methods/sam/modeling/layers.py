"""Layers that the image encoders and the mask decoder of SAM share."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class LayerNorm2d(nn.Module):
    """Normalise maps (batch, channels, rows, columns) over their channels, pixel by pixel.

    Args:
        eps: Added to the variance.
    """

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Return the normalised maps."""
        last = x.movedim(1, -1)
        normed = functional.layer_norm(last, last.shape[-1:], self.weight, self.bias, self.eps)
        return normed.movedim(-1, 1)


class MLPBlock(nn.Module):
    """Two linear layers with an activation between them.

    Args:
        width: Width of input and output.
        hidden: Width in between.
        activation: "gelu" or "relu".
    """

    def __init__(self, width: int, hidden: int, activation: str) -> None:
        super().__init__()
        self.lin1 = nn.Linear(width, hidden)
        self.lin2 = nn.Linear(hidden, width)
        self.act: nn.Module = nn.GELU() if activation == "gelu" else nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return (..., width) from (..., width)."""
        y: Tensor = self.lin2(self.act(self.lin1(x)))
        return y


def neck(inputs: int, outputs: int) -> nn.Sequential:
    """Return what brings the features of an image encoder to the width of the mask decoder."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 1, bias=False),
        LayerNorm2d(outputs),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        LayerNorm2d(outputs),
    )


def to_windows(x: Tensor, size: int) -> Tensor:
    """Cut maps into square windows that do not overlap.

    Args:
        x: (batch, rows, columns, channels); rows and columns are multiples of `size`.

    Returns:
        (batch * windows, size, size, channels).
    """
    batch, rows, columns, channels = x.shape
    cut = x.reshape(batch, rows // size, size, columns // size, size, channels)
    return cut.transpose(2, 3).reshape(-1, size, size, channels)


def from_windows(windows: Tensor, size: int, rows: int, columns: int) -> Tensor:
    """Undo `to_windows`.

    Args:
        windows: (batch * windows, size, size, channels).
        rows: Rows of the maps that were cut, a multiple of `size`.
        columns: Their columns.

    Returns:
        (batch, rows, columns, channels).
    """
    channels = windows.shape[-1]
    grid = windows.reshape(-1, rows // size, columns // size, size, size, channels)
    return grid.transpose(2, 3).reshape(-1, rows, columns, channels)
