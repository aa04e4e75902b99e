"""Training from the weights of an exported network, and export into a copy of that network."""

from collections.abc import Callable, Collection
from itertools import pairwise
from pathlib import Path
from typing import Any

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from fewct.errors import InputError
from fewct.io.atomic import atomic_path
from fewct.runtime.onnx_session import checked_sha256, load_network
from fewct.training.onnx_export import write_hash

EXPORTED = "network."  # prefix of the names of weights in exported networks


def start_from(
    network: nn.Module, path: Path, sample: Tensor, new: Collection[str] = (), unused: Collection[str] = ()
) -> None:
    """Give a network the weights of an exported one, in place.

    An exported network has its batch normalisations folded into the convolutions. Here they are unfolded
    again: each gets its statistics on a sample, and the scale and shift that leave the network's output on it
    as it was.

    Args:
        network: Built as the exported one was; each batch normalisation follows its convolution in an
            `nn.Sequential`.
        path: ONNX file that `export_onnx` wrote, with its hash beside it.
        sample: float (batch, channels, rows, columns): network input as in training.
        new: Names of modules that the file may lack; they keep their random weights.
        unused: Names of modules that the file may have and the network has not.

    Raises:
        InputError: If the file is absent, damaged, or of another network.
    """
    stored = {name: value for name, value in _stored(path).items() if not _within(name, unused)}
    folded = dict(_normalised_convolutions(network))
    lacking = [part for part in new if not any(_within(name, [part]) for name in stored)]
    for name, parameter in network.named_parameters():
        if name.rpartition(".")[0] not in folded.values() and not _within(name, lacking):
            _copy(stored, name, parameter, path)
    shifts = {after: _pop(stored, f"{before}.weight_bias", path) for before, after in folded.items()}
    if stored:
        raise _other_network(path, f"{', '.join(sorted(stored)[:3])}, which this network has not")
    hooks = [
        module.register_forward_pre_hook(_unfolding(shifts[name]))
        for name, module in network.named_modules()
        if name in shifts
    ]
    network.eval()
    with torch.no_grad():
        network(sample)
    for hook in hooks:
        hook.remove()


def export_into(network: nn.Module, template: Path, path: Path) -> str:
    """Write a network that started from an exported one into a copy of that, and the hash beside it.

    The file is that of `export_onnx`, without tracing the network again: a second instead of many.

    Args:
        network: After `start_from` and training.
        template: The exported network that it started from.
        path: File to write; the hash goes to the same name with `.sha256` added.

    Returns:
        The hash.

    Raises:
        InputError: If the template is absent, damaged, or of another network.
        OutputError: If a file cannot be written.
    """
    checked_sha256(template)
    graph = onnx.load(template)
    weights = _folded(network)
    for tensor in graph.graph.initializer:
        if tensor.name.startswith(EXPORTED):
            value = _pop(weights, tensor.name.removeprefix(EXPORTED), template)
            tensor.CopyFrom(numpy_helper.from_array(value.numpy(), tensor.name))
    if weights:
        raise _other_network(template, f"none of {', '.join(sorted(weights)[:3])}")
    with atomic_path(path) as temporary:
        onnx.save(graph, temporary)
    return write_hash(path)


def _folded(network: nn.Module) -> dict[str, Tensor]:
    """Return a network's weights by name, its batch normalisations folded into their convolutions."""
    modules = dict(network.named_modules())
    weights = {name: value.detach().cpu() for name, value in network.named_parameters()}
    for before, after in _normalised_convolutions(network):
        normalisation: Any = modules[after]
        variance, mean = normalisation.running_var.cpu(), normalisation.running_mean.cpu()
        scale = weights.pop(f"{after}.weight") / (variance + normalisation.eps).sqrt()
        weights[f"{before}.weight"] = weights[f"{before}.weight"] * scale[:, None, None, None]
        weights[f"{before}.weight_bias"] = weights.pop(f"{after}.bias") - mean * scale
    return weights


def _within(name: str, parts: Collection[str]) -> bool:
    """Tell whether a weight belongs to one of some modules."""
    return any(name.startswith(f"{part}.") for part in parts)


def _stored(path: Path) -> dict[str, Tensor]:
    """Return the weights in an exported network by their names in training."""
    checked_sha256(path)
    load_network(path)  # which refuses what is no network
    return {
        tensor.name.removeprefix(EXPORTED): torch.from_numpy(numpy_helper.to_array(tensor).copy())
        for tensor in onnx.load(path).graph.initializer
        if tensor.name.startswith(EXPORTED)
    }


def _normalised_convolutions(network: nn.Module) -> list[tuple[str, str]]:
    """Return the names of convolutions and of the batch normalisations that follow them."""
    names = []
    for name, module in network.named_modules():
        if isinstance(module, nn.Sequential):
            parts = [(f"{name}.{key}", part) for key, part in module.named_children()]
            names += [
                (before, after)
                for (before, first), (after, second) in pairwise(parts)
                if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d)
            ]
    return names


def _unfolding(shift: Tensor) -> Callable[[Any, tuple[Tensor]], None]:
    """Return a hook that makes a batch normalisation add `shift` and change nothing else."""

    def unfold(module: Any, inputs: tuple[Tensor]) -> None:
        variance, mean = torch.var_mean(inputs[0].float(), dim=(0, 2, 3), correction=0)
        module.running_mean.copy_(mean)
        module.running_var.copy_(variance)
        module.weight.copy_((variance + module.eps).sqrt())
        module.bias.copy_(mean + shift)

    return unfold


def _copy(stored: dict[str, Tensor], name: str, parameter: Tensor, path: Path) -> None:
    """Move stored weights into a parameter."""
    value = _pop(stored, name, path)
    if value.shape != parameter.shape:
        raise _other_network(path, f"{name} of shape {tuple(value.shape)}, not {tuple(parameter.shape)}")
    with torch.no_grad():
        parameter.copy_(value)


def _pop(stored: dict[str, Tensor], name: str, path: Path) -> Tensor:
    """Return stored weights and remove them."""
    if name not in stored:
        raise _other_network(path, f"no {name}")
    return stored.pop(name)


def _other_network(path: Path, found: str) -> InputError:
    return InputError(
        path,
        expected="an exported network of the kind that is trained",
        found=found,
        fix="Name weights that the same recipe made, or start without any.",
    )
