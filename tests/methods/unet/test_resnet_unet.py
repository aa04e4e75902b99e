"""The U-Net on a pretrained ResNet, here a small one with random weights, on this machine alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fewct.errors import InputError
from fewct.methods.unet.recipe import UNetRecipe, build_network, export_network, initial_network
from fewct.methods.unet.resnet_unet import ResNetUNet
from fewct.nn.pretrained_resnet import ENCODER, load_backbone
from fewct.runtime.onnx_session import load_network, run_image_network
from fewct.training.loop import CHECKPOINT
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


def test_a_shape_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a ResNet of four stages"):
        build_network(replace(UNetRecipe(), encoder="somewhere/else"), tmp_path)
    (tmp_path / ENCODER).write_text("{")
    with pytest.raises(InputError, match=r"encoder\.json: expected a ResNet of four stages"):
        build_network(replace(UNetRecipe(), encoder="somewhere/else"), tmp_path)
