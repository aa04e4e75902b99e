"""A tiny BAM with random weights, and slices with two organs."""

import numpy as np
import torch

from fewct.methods.bam.backbone import Backbone
from fewct.methods.bam.network import BAMNet
from fewct.types import CTSlice, Labels

SIZE_PX = 48


def tiny_network(n_base: int = 2, seed: int = 0, with_base: bool = True) -> BAMNet:
    """A network of a few channels."""
    torch.manual_seed(seed)
    return BAMNet(n_base, Backbone((4, 8, 8, 8)), with_base).eval()


def body_slice(seed: int, shape: tuple[int, int] = (64, 80)) -> tuple[CTSlice, Labels]:
    """Return an ellipse of fat with two organs, 1 and 2, and their labels."""
    rng = np.random.default_rng(seed)
    rows, columns = shape
    y, x = np.mgrid[:rows, :columns] / np.array([rows, columns])[:, None, None] - 0.5
    dy, dx = rng.uniform(-0.03, 0.03, 2)
    labels = np.zeros(shape, dtype=np.int32)
    labels[((y - dy) / 0.17) ** 2 + ((x + 0.15 - dx) / 0.17) ** 2 < 1] = 1
    labels[((y - dy) / 0.12) ** 2 + ((x - 0.2 - dx) / 0.12) ** 2 < 1] = 2
    hu = np.full(shape, -1000.0)
    hu[(y / 0.4) ** 2 + (x / 0.46) ** 2 < 1] = -100
    hu[labels == 1], hu[labels == 2] = 60, 180
    return CTSlice((hu + rng.normal(0, 3, shape)).astype(np.float32), "hu"), labels
