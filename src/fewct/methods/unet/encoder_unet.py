"""U-Nets whose encoder is a pretrained network: a ResNet or an EfficientNet-Lite."""

import json
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from fewct.errors import InputError
from fewct.io.atomic import write_text
from fewct.methods.unet.network import StructureLogits, UNetDecoder
from fewct.nn.efficientnet_lite import VARIANTS, EfficientNetLite, load_efficientnet_lite
from fewct.nn.pretrained_resnet import ENCODER, empty_backbone, load_backbone, save_configuration

FINE_WIDTHS = (16, 32)  # of full and half resolution, where the ResNet has no features
LITE_WIDTHS = (16, 24, 32, 48, 96)  # from full resolution down to a sixteenth
MODEL_TYPE = "model_type"  # in the encoder's configuration, a word of transformers


class ResNetUNet(nn.Module):
    """The decoder of the U-Net on the features of a ResNet (https://doi.org/10.1109/CVPR.2016.90).

    Args:
        backbone: A `transformers.ResNetModel` of one channel, as `fewct.nn.pretrained_resnet` gives, of four
            stages and no downsampling in the first.
    """

    def __init__(self, backbone: Any) -> None:
        super().__init__()
        self.backbone = backbone
        stages = tuple(backbone.config.hidden_sizes)
        self.at_full = nn.Sequential(nn.Conv2d(1, FINE_WIDTHS[0], 3, padding=1), nn.ReLU(inplace=True))
        self.at_half = nn.Sequential(
            nn.Conv2d(FINE_WIDTHS[0], FINE_WIDTHS[1], 3, stride=2, padding=1), nn.ReLU(inplace=True)
        )
        widths = (*FINE_WIDTHS, *(min(width, 256) for width in stages[:-1]))
        self.decoder = UNetDecoder((*FINE_WIDTHS, *stages), widths, batch_norm=True)
        self.head = nn.Conv2d(FINE_WIDTHS[0], 1, 1)

    def forward(self, x: Tensor) -> StructureLogits:
        """Return the logits.

        Args:
            x: float (batch, 1, rows, columns), as `preprocess` gives; sides are multiples of 32.
        """
        full = self.at_full(x)
        _, *stages = self.backbone(x, output_hidden_states=True).hidden_states
        return StructureLogits(self.head(self.decoder([full, self.at_half(full), *stages]))[:, 0])


class EfficientNetLiteUNet(nn.Module):
    """A narrow decoder of the U-Net on the features of an EfficientNet-Lite.

    Args:
        encoder: Of one channel.
    """

    def __init__(self, encoder: EfficientNetLite) -> None:
        super().__init__()
        self.encoder = encoder
        self.at_full = nn.Sequential(nn.Conv2d(1, LITE_WIDTHS[0], 3, padding=1), nn.ReLU(inplace=True))
        self.decoder = UNetDecoder((LITE_WIDTHS[0], *encoder.channels), LITE_WIDTHS, batch_norm=True)
        self.head = nn.Conv2d(LITE_WIDTHS[0], 1, 1)

    def forward(self, x: Tensor) -> StructureLogits:
        """Return the logits.

        Args:
            x: float (batch, 1, rows, columns), as `preprocess` gives; sides are multiples of 32.
        """
        return StructureLogits(self.head(self.decoder([self.at_full(x), *self.encoder(x)]))[:, 0])


def load_encoder_unet(encoder: str, folder: Path, *, download: bool) -> nn.Module:
    """Return a U-Net with a pretrained encoder, and keep the encoder's configuration in a training's folder.

    Args:
        encoder: As `UNetRecipe.encoder`.
        folder: Of the training.
        download: Whether to fetch a ResNet that is not on this machine.

    Raises:
        InputError: If the encoder cannot be loaded.
        MissingExtraError: If the package that holds or reads its weights is not installed.
        OutputError: If the configuration cannot be written.
    """
    if encoder.startswith("efficientnet-lite") or encoder.endswith(".pth"):
        lite = load_efficientnet_lite(encoder, in_channels=1)
        write_text(json.dumps({MODEL_TYPE: lite.variant}), folder / ENCODER)
        return EfficientNetLiteUNet(lite)
    backbone = load_backbone(encoder, download=download)
    save_configuration(backbone, folder / ENCODER)
    return ResNetUNet(backbone)


def empty_encoder_unet(folder: Path) -> nn.Module:
    """Return the network of `load_encoder_unet` with random weights, by the configuration in the folder.

    Raises:
        InputError: If the folder lacks a valid configuration.
        MissingExtraError: If the encoder is a ResNet and transformers is not installed.
    """
    path = folder / ENCODER
    try:
        kind = str(json.loads(path.read_text(encoding="utf-8"))[MODEL_TYPE])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise _no_configuration(path, str(error).splitlines()[0]) from error
    if kind in VARIANTS:
        return EfficientNetLiteUNet(EfficientNetLite(kind, in_channels=1))
    if kind != "resnet":
        raise _no_configuration(path, f"one of {kind}")
    return ResNetUNet(empty_backbone(path))


def _no_configuration(path: Path, found: str) -> InputError:
    return InputError(
        path,
        expected=f"the configuration of a ResNet or of {', '.join(VARIANTS)}",
        found=found,
        fix="Name the folder that `fewct train unet` wrote, or train again in another one.",
    )
