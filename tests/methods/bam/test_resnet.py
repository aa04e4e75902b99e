"""BAM on a pretrained ResNet: what it sees, training, and use."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fewct.errors import InputError
from fewct.imaging.body import body_mask
from fewct.methods.bam import recipe as recipes
from fewct.methods.bam.episodes import EpisodeSlice
from fewct.methods.bam.inference import decode, encode, load_networks, masks_of
from fewct.methods.bam.onnx_export import export_network
from fewct.methods.bam.recipe import load_trained, train
from fewct.methods.bam.resnet import ResNetBackbone
from fewct.methods.bam.supports import Support
from fewct.nn.pretrained_resnet import ENCODER, load_backbone
from methods.bam.test_recipe import TINY
from methods.bam.tiny import SIZE_PX, body_slice
from precision import float32_rounding
from tiny_resnet import save_tiny_resnet


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipes, "thread_count", lambda: 1)


@pytest.mark.parametrize("layer_type", ["basic", "bottleneck"])
def test_features_are_the_pretrained_ones_and_others_between_them(tmp_path: Path, layer_type: str) -> None:
    colour = save_tiny_resnet(tmp_path, layer_type)
    backbone = ResNetBackbone(load_backbone(str(tmp_path), download=False)).eval()
    x = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = colour(x[:, :1].expand(2, 3, 64, 96), output_hidden_states=True).hidden_states
        low, middle, deep, place = backbone(x)
    assert [part.shape[1] for part in (low, middle, deep)] == list(backbone.channels)
    assert middle.shape[-2:] == place.shape[-2:] == (16, 24)
    assert deep.shape[-2:] == (8, 12)
    torch.testing.assert_close(low, expected[2], **float32_rounding(1000, 16))
    torch.testing.assert_close(deep[..., ::4, ::4], expected[4], **float32_rounding(1000, 16))


def test_from_a_pretrained_folder_to_masks(slices: list[EpisodeSlice], tmp_path: Path) -> None:
    resnet, out = tmp_path / "resnet", tmp_path / "out"
    save_tiny_resnet(resnet)
    recipe = replace(TINY, encoder=f"{resnet}")
    out.mkdir()
    trained = train(recipe, slices, [1, 2], out)
    again = load_trained(replace(recipe, encoder="somewhere/else"), out)
    for name, value in trained.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    export_network(again, SIZE_PX, tmp_path)
    networks = load_networks(tmp_path)
    image, labels = body_slice(0)
    query = encode(image, body_mask(image), networks)
    supports = ((Support(image, labels, "one"), query),)
    likely = decode(query, masks_of(supports, 1, networks.size_px), networks)
    assert likely.shape == (SIZE_PX, SIZE_PX)
    assert np.isfinite(likely).all()


def test_a_stopped_training_goes_on_without_the_pretrained_folder(
    slices: list[EpisodeSlice], tmp_path: Path
) -> None:
    save_tiny_resnet(tmp_path / "resnet")
    recipe = replace(TINY, encoder=f"{tmp_path / 'resnet'}")
    whole = train(recipe, slices, [1, 2], tmp_path)
    (tmp_path / "meta" / "checkpoint.pt").unlink()
    again = train(replace(recipe, encoder="somewhere/else"), slices, [1, 2], tmp_path)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])


def test_weights_of_another_backbone(slices: list[EpisodeSlice], tmp_path: Path) -> None:
    train(TINY, slices, [1, 2], tmp_path)
    with pytest.raises(InputError, match=f"{ENCODER}: expected a ResNet of four stages"):
        load_trained(replace(TINY, encoder="microsoft/resnet-18"), tmp_path)
    save_tiny_resnet(tmp_path / "resnet")
    with pytest.raises(InputError, match="expected"):
        train(replace(TINY, encoder=f"{tmp_path / 'resnet'}"), slices, [1, 2], tmp_path)
