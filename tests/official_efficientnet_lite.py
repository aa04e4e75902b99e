"""A file of EfficientNet-Lite0 as its package holds it, but with random weights."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from fewct.nn import efficientnet_lite
from fewct.nn.efficientnet_lite import VARIANTS

LITE0 = "efficientnet-lite0"
BLOCKS = (  # channels in, kernel, expansion, channels out, repeats
    (32, 3, 1, 16, 1),
    (16, 3, 6, 24, 2),
    (24, 5, 6, 40, 2),
    (40, 3, 6, 80, 3),
    (80, 5, 6, 112, 3),
    (112, 5, 6, 192, 4),
    (192, 3, 6, 320, 1),
)


def save_random_lite0(path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Tensor]:
    """Write the file, let its hash count as the official one, and return its weights."""
    weights = _convolution("_conv_stem", "_bn0", 3, 32, 3)
    number = 0
    for first, kernel, expansion, outputs, repeats in BLOCKS:
        for inputs in (first, *[outputs] * (repeats - 1)):
            block, inner = f"_blocks.{number}.", inputs * expansion
            if expansion > 1:
                weights |= _convolution(block + "_expand_conv", block + "_bn0", inputs, inner, 1)
            weights |= _convolution(block + "_depthwise_conv", block + "_bn1", 1, inner, kernel)
            weights |= _convolution(block + "_project_conv", block + "_bn2", inner, outputs, 1)
            number += 1
    weights |= {"_fc.weight": torch.zeros(1000, 1280), "_fc.bias": torch.zeros(1000)}
    torch.save(weights, path)
    known = replace(VARIANTS[LITE0], sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    monkeypatch.setattr(efficientnet_lite, "VARIANTS", {**VARIANTS, LITE0: known})
    return weights


def _convolution(name: str, normalisation: str, inputs: int, outputs: int, kernel: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(len(name) + outputs)
    shape = (outputs, inputs, kernel, kernel)
    return {
        f"{name}.weight": torch.randn(shape, generator=generator) / (inputs * kernel**2) ** 0.5,
        f"{normalisation}.weight": torch.rand(outputs, generator=generator) + 0.5,
        f"{normalisation}.bias": torch.rand(outputs, generator=generator),
        f"{normalisation}.running_mean": torch.rand(outputs, generator=generator) / 10,
        f"{normalisation}.running_var": torch.rand(outputs, generator=generator) + 0.5,
        f"{normalisation}.num_batches_tracked": torch.tensor(0),
    }
