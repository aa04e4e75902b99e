"""The U-Net on a pretrained ResNet, here a small one with random weights, on this machine alone."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import BertConfig, ResNetConfig, ResNetModel

from fewct.errors import InputError, MissingExtraError
from fewct.methods.unet.recipe import ENCODER, UNetRecipe, build_network, export, initial_network
from fewct.methods.unet.resnet import ResNetUNet, load_backbone
from fewct.runtime.session import load_session, run_image_network
from fewct.training.loop import CHECKPOINT


@pytest.fixture
def pretrained(tmp_path: Path) -> tuple[Any, Path]:
    """A colour ResNet and the folder that it is kept in."""
    torch.manual_seed(0)
    config = ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 12, 16, 20], depths=[1, 1, 1, 1], layer_type="basic"
    )
    model = ResNetModel(config).eval()
    folder = tmp_path / "resnet"
    model.save_pretrained(folder)
    return model, folder


def test_a_grey_slice_counts_as_three_equal_channels(pretrained: tuple[Any, Path]) -> None:
    colour, folder = pretrained
    grey = load_backbone(str(folder), download=False).eval()
    x = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = colour(x.expand(1, 3, 64, 64)).last_hidden_state
        torch.testing.assert_close(grey(x).last_hidden_state, expected, rtol=1e-4, atol=1e-5)


def test_it_is_built_again_without_the_pretrained_folder(
    pretrained: tuple[Any, Path], tmp_path: Path
) -> None:
    recipe = replace(UNetRecipe(), encoder=str(pretrained[1]))
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
    pretrained: tuple[Any, Path], tmp_path: Path
) -> None:
    recipe = replace(UNetRecipe(), encoder=str(pretrained[1]))
    first, again = (initial_network(recipe, tmp_path).state_dict() for _ in range(2))
    encoder = [name for name in first if name.startswith("backbone.")]
    assert encoder
    assert all(torch.equal(first[name], again[name]) for name in encoder)


def test_every_weight_learns(pretrained: tuple[Any, Path]) -> None:
    network = ResNetUNet(load_backbone(str(pretrained[1]), download=False))
    network(torch.randn(2, 1, 64, 64)).foreground.square().mean().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in network.parameters())


def test_torch_and_onnx_agree(pretrained: tuple[Any, Path], tmp_path: Path) -> None:
    recipe = replace(UNetRecipe(), encoder=str(pretrained[1]))
    network = initial_network(recipe, tmp_path).eval()
    export(network, recipe, tmp_path / "model.onnx")
    x = np.random.default_rng(0).uniform(-1, 1, (1, 96, 64)).astype(np.float32)
    with torch.no_grad():
        expected = torch.sigmoid(network(torch.from_numpy(x)[None]).foreground[0]).numpy()
    (found,) = run_image_network(load_session(tmp_path / "model.onnx"), x)
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_name_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--download fetches a name that is not on this machine"):
        load_backbone(str(tmp_path / "nothing"), download=False)
    with pytest.raises(InputError, match="a ResNet of four stages"):
        build_network(replace(UNetRecipe(), encoder="somewhere/else"), tmp_path)
    (tmp_path / ENCODER).write_text("{")
    with pytest.raises(InputError, match=r"encoder\.json: expected a ResNet of four stages"):
        build_network(replace(UNetRecipe(), encoder="somewhere/else"), tmp_path)


def test_another_model(tmp_path: Path) -> None:
    BertConfig().save_pretrained(tmp_path)
    with pytest.raises(InputError, match="found a model of type bert"):
        load_backbone(str(tmp_path), download=False)


def test_without_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'fewct\[transformers\]'"):
        load_backbone("microsoft/resnet-18", download=False)
