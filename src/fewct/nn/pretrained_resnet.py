"""Pretrained ResNets with one input channel. Needs the extra `transformers`."""

from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fewct.errors import InputError, needs_extra
from fewct.io.atomic import write_text

ENCODER = "encoder.json"
"""Name of the file with the encoder's configuration in the folder of a training."""


def load_backbone(name: str, *, download: bool) -> nn.Module:
    """Return a pretrained ResNet with one input channel.

    Args:
        name: A local folder, or a name on the Hugging Face hub, such as "microsoft/resnet-34".
        download: Whether to fetch it if it is not on this machine.

    Raises:
        InputError: If it cannot be found, is no ResNet, or has another number of stages.
        MissingExtraError: If transformers is not installed.
    """
    with needs_extra(name, "transformers"):
        transformers = import_module("transformers")
    try:
        config = transformers.AutoConfig.from_pretrained(name, local_files_only=not download)
        if config.model_type != "resnet" or len(config.hidden_sizes) != 4:
            raise _no_resnet(name, f"a model of type {config.model_type}")
        backbone: nn.Module = transformers.ResNetModel.from_pretrained(name, local_files_only=not download)
    except (OSError, ValueError) as error:
        raise _no_resnet(name, str(error).splitlines()[0]) from error
    return sum_channels(backbone)


def empty_backbone(path: Path) -> nn.Module:
    """Return a ResNet with random weights, of the configuration that `save_configuration` wrote.

    Raises:
        InputError: If there is no such file.
        MissingExtraError: If transformers is not installed.
    """
    with needs_extra(path, "transformers"):
        transformers = import_module("transformers")
    try:
        config = transformers.ResNetConfig.from_json_file(path)
    except (OSError, ValueError) as error:
        raise _no_resnet(path, str(error).splitlines()[0]) from error
    backbone: nn.Module = transformers.ResNetModel(config)
    return backbone


def save_configuration(backbone: Any, path: Path) -> None:
    """Write the configuration that `empty_backbone` reads.

    Raises:
        OutputError: If the file cannot be written.
    """
    write_text(backbone.config.to_json_string(), path)


def sum_channels(backbone: Any) -> nn.Module:
    """Change a `transformers.ResNetModel` of three channels in place to one, and return it.

    Its first kernel is summed over the channels: the output is that for three equal channels.
    """
    old = backbone.embedder.embedder.convolution
    new = nn.Conv2d(1, old.out_channels, old.kernel_size, stride=old.stride, padding=old.padding, bias=False)
    with torch.no_grad():
        new.weight.copy_(old.weight.sum(dim=1, keepdim=True))
    backbone.embedder.embedder.convolution = new
    backbone.embedder.num_channels = 1
    backbone.config.num_channels = 1
    network: nn.Module = backbone
    return network


def _no_resnet(name: object, found: str) -> InputError:
    return InputError(
        name,
        expected="a ResNet of four stages: a folder of transformers, or a name on the Hugging Face hub",
        found=found,
        fix="Check the name; --download fetches a name that is not on this machine.",
    )
