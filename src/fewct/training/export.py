"""Trained networks written as ONNX, with the hash that loading checks."""

import hashlib
import warnings
from collections.abc import Sequence
from pathlib import Path

import onnx
import torch
from torch import nn

from fewct.io.atomic import atomic_path, write_text
from fewct.runtime.session import HASH_SUFFIX


class Probabilities(nn.Module):
    """A network whose answer, a tuple of logits, goes through a sigmoid.

    Args:
        network: Gives a tuple of logits.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the probabilities of the network's answer to `x`."""
        return tuple(torch.sigmoid(logits) for logits in self.network(x))


def export_onnx(network: nn.Module, channels: int, outputs: Sequence[str], path: Path) -> str:
    """Write a network that maps images to maps as ONNX, float32, and its SHA-256 beside it.

    Args:
        network: Takes float32 (1, channels, rows, columns) and gives a tuple of logits.
        channels: Number of its input channels.
        outputs: Names of its outputs, which in the file are probabilities.
        path: File to write; the hash goes to the same name with `.sha256` added.

    Returns:
        The hash.

    Raises:
        OutputError: If a file cannot be written.
    """
    model = Probabilities(network).eval().cpu()
    sample = torch.zeros(1, channels, 128, 160)
    dynamic = {"x": {2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}}
    with warnings.catch_warnings(), atomic_path(path) as temporary:
        warnings.simplefilter("ignore")  # of the exporter's own making
        torch.onnx.export(
            model,
            (sample,),
            temporary,
            input_names=["channels"],
            output_names=list(outputs),
            dynamic_shapes=dynamic,
            dynamo=True,
            external_data=False,
            optimize=True,
            verbose=False,
        )
        _drop_traces(temporary)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    write_text(f"{digest}  {path.name}\n", path.with_name(path.name + HASH_SUFFIX))
    return digest


def _drop_traces(path: Path) -> None:
    """Delete the exporter's notes on how it got here: they hold paths of the machine that trained."""
    model = onnx.load(path)
    for noted in (model.graph, *model.graph.node, *model.graph.value_info):
        del noted.metadata_props[:]
    onnx.save(model, path)
