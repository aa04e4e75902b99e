"""A small ResNet with random weights, kept as transformers keeps pretrained ones."""

from pathlib import Path
from typing import Any

import torch
from transformers import ResNetConfig, ResNetModel


def save_tiny_resnet(folder: Path, layer_type: str = "basic") -> Any:
    """Write a ResNet for colour images of a few channels, and return it."""
    torch.manual_seed(0)
    config = ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 12, 16, 20], depths=[1, 2, 2, 1], layer_type=layer_type
    )
    model = ResNetModel(config).eval()
    model.save_pretrained(folder)
    return model
