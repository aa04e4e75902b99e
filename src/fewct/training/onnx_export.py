"""Export of trained networks to ONNX, with the hash that loading checks."""

import hashlib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import torch
from onnxscript import optimizer
from torch import nn

from fewct.io.atomic import atomic_path, write_text
from fewct.runtime.weight_files import HASH_SUFFIX

LARGEST_FOLDED = 4096
"""Elements of the largest constant that the export folds; loading folds the others."""


class Probabilities(nn.Module):
    """A network whose output, a tuple of logits, goes through a sigmoid."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the probabilities of the network's logits."""
        return tuple(torch.sigmoid(logits) for logits in self.network(x))


def export_onnx(network: nn.Module, channels: int, outputs: Sequence[str], path: Path) -> str:
    """Write a network as ONNX in float32, and its SHA-256 to the same name with `.sha256` added.

    Args:
        network: From float32 (1, channels, rows, columns) to a tuple of logits.
        channels: Number of its input channels.
        outputs: Names of its outputs, which in the file are probabilities.
        path: File to write.

    Returns:
        The hash.

    Raises:
        OutputError: If a file cannot be written.
    """
    model = Probabilities(network).eval().cpu()
    sample = torch.zeros(1, channels, 128, 192)
    dynamic = ({2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC},)
    with atomic_path(path) as temporary:
        write_graph(model, (sample,), dynamic, ["channels"], outputs, temporary)
    return write_hash(path)


def write_hash(path: Path) -> str:
    """Write the SHA-256 of a network's file beside it, and return it.

    Raises:
        OutputError: If the file cannot be written.
    """
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    write_text(f"{digest}  {path.name}\n", path.with_name(path.name + HASH_SUFFIX))
    return digest


def write_graph(
    model: nn.Module,
    samples: tuple[Any, ...],
    dynamic: tuple[Any, ...],
    inputs: Sequence[str],
    outputs: Sequence[str],
    path: Path,
    external_data: bool = False,
) -> None:
    """Write a module as ONNX.

    Args:
        model: The module, not in training.
        samples: Arguments of its `forward`: tensors, or lists of them.
        dynamic: For each argument the axes whose length may change, as `torch.export` takes them.
        inputs: Names of the arguments' tensors.
        outputs: Names of the tensors that it returns.
        path: File to write.
        external_data: Whether the weights go to a file of the same name with `.data` added, as they must
            where the whole has more than 2 GB.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter's own making
        program = torch.onnx.export(
            model,
            samples,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes=dynamic,
            dynamo=True,
            optimize=False,
            verbose=False,
        )
        assert program is not None  # as it is for dynamo alone
        optimizer.optimize(program.model, output_size_limit=LARGEST_FOLDED)
        program.save(path, external_data=external_data)
    _drop_traces(path)


def _drop_traces(path: Path) -> None:
    """Delete the exporter's metadata, which holds paths of the machine that trained."""
    model = onnx.load(path, load_external_data=False)
    for noted in (model.graph, *model.graph.node, *model.graph.value_info):
        del noted.metadata_props[:]
    onnx.save(model, path)
