"""Pretrained ResNets: here a small one with random weights, on this machine alone."""

import sys
from pathlib import Path

import pytest
import torch
from transformers import BertConfig

from fewct.errors import InputError, MissingExtraError
from fewct.nn.pretrained_resnet import load_backbone
from precision import float32_rounding
from tiny_resnet import save_tiny_resnet


def test_a_grey_slice_counts_as_three_equal_channels(tmp_path: Path) -> None:
    colour = save_tiny_resnet(tmp_path)
    grey = load_backbone(str(tmp_path), download=False).eval()
    x = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = colour(x.expand(1, 3, 64, 64)).last_hidden_state
        torch.testing.assert_close(grey(x).last_hidden_state, expected, **float32_rounding(1000, 16))


def test_a_name_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--download fetches a name that is not on this machine"):
        load_backbone(str(tmp_path / "nothing"), download=False)


def test_another_model(tmp_path: Path) -> None:
    BertConfig().save_pretrained(tmp_path)
    with pytest.raises(InputError, match="found a model of type bert"):
        load_backbone(str(tmp_path), download=False)


def test_without_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'fewct\[transformers\]'"):
        load_backbone("microsoft/resnet-18", download=False)
