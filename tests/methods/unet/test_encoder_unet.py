"""The U-Net on a pretrained encoder, here one with random weights, on this machine alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fewct.errors import InputError
from fewct.methods.unet.encoder_unet import EfficientNetLiteUNet, ResNetUNet
from fewct.methods.unet.recipe import UNetRecipe, build_network, export_network, initial_network
from fewct.nn.efficientnet_lite import EfficientNetLite
from fewct.nn.pretrained_resnet import ENCODER, load_backbone
from fewct.runtime.onnx_session import load_network, run_image_network
from fewct.training.loop import CHECKPOINT
from official_efficientnet_lite import save_random_lite0
from precision import float32_rounding
from tiny_resnet import save_tiny_resnet


@pytest.fixture
def pretrained(tmp_path: Path) -> Path:
    """The folder of a ResNet."""
    save_tiny_resnet(tmp_path / "resnet")
    return tmp_path / "resnet"


def test_it_is_built_again_without_the_pretrained_folder(pretrained: Path, tmp_path: Path) -> None:
    recipe = replace(UNetRecipe(), encoder=str(pretrained))
    first = initial_network(recipe, tmp_path)
    (tmp_path / CHECKPOINT).touch()
    again = initial_network(replace(recipe, encoder="somewhere/else"), tmp_path)
    again.load_state_dict(first.state_dict())
    x = torch.zeros(2, 1, 64, 96)
    with torch.no_grad():
        one, same = first.eval()(x).foreground, again.eval()(x).foreground
    assert one.shape == (2, 64, 96)
    assert torch.equal(one, same)


def test_a_training_killed_before_its_first_checkpoint_loads_the_encoder_again(
    pretrained: Path, tmp_path: Path
) -> None:
    recipe = replace(UNetRecipe(), encoder=str(pretrained))
    first, again = (initial_network(recipe, tmp_path).state_dict() for _ in range(2))
    encoder = [name for name in first if name.startswith("backbone.")]
    assert encoder
    assert all(torch.equal(first[name], again[name]) for name in encoder)


def test_every_weight_learns(pretrained: Path) -> None:
    network = ResNetUNet(load_backbone(str(pretrained), download=False))
    network(torch.randn(2, 1, 64, 64)).foreground.square().mean().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in network.parameters())


def test_torch_and_onnx_agree(pretrained: Path, tmp_path: Path) -> None:
    recipe = replace(UNetRecipe(), encoder=str(pretrained))
    network = initial_network(recipe, tmp_path).eval()
    export_network(network, recipe, tmp_path / "model.onnx")
    x = np.random.default_rng(0).uniform(-1, 1, (1, 96, 64)).astype(np.float32)
    with torch.no_grad():
        expected = torch.sigmoid(network(torch.from_numpy(x)[None]).foreground[0]).numpy()
    (found,) = run_image_network(load_network(tmp_path / "model.onnx").session, x)
    np.testing.assert_allclose(found, expected, **float32_rounding(1000, 1))


@pytest.mark.parametrize("content", [None, "{", "[]", "{}", '{"model_type": "bert"}'])
def test_a_configuration_of_no_encoder(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / ENCODER).write_text(content)
    with pytest.raises(InputError, match=r"encoder\.json: expected the configuration of a ResNet or of"):
        build_network(replace(UNetRecipe(), encoder="somewhere/else"), tmp_path)


def test_efficientnet_lite_brings_its_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    official = save_random_lite0(tmp_path / "lite0.pth", monkeypatch)
    recipe = replace(UNetRecipe(), encoder=str(tmp_path / "lite0.pth"))
    weights = initial_network(recipe, tmp_path).state_dict()
    stem = official["_conv_stem.weight"].sum(1, keepdim=True)
    torch.testing.assert_close(weights["encoder.stem.0.weight"], stem)
    place = "_blocks.14._project_conv.weight"
    assert torch.equal(weights["encoder.stages.4.3.layers.2.0.weight"], official[place])


def test_efficientnet_lite_is_built_again_without_its_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_random_lite0(tmp_path / "lite0.pth", monkeypatch)
    recipe = replace(UNetRecipe(), encoder=str(tmp_path / "lite0.pth"))
    first = initial_network(recipe, tmp_path)
    (tmp_path / "lite0.pth").unlink()
    (tmp_path / CHECKPOINT).touch()
    again = initial_network(recipe, tmp_path)
    again.load_state_dict(first.state_dict())
    x = torch.randn(2, 1, 64, 96)
    with torch.no_grad():
        one, same = first.eval()(x).foreground, again.eval()(x).foreground
    assert one.shape == (2, 64, 96)
    assert torch.equal(one, same)


def test_every_weight_of_efficientnet_lite_learns() -> None:
    network = EfficientNetLiteUNet(EfficientNetLite(in_channels=1))
    network(torch.randn(2, 1, 64, 64)).foreground.square().mean().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in network.parameters())
