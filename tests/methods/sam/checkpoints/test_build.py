"""Checkpoints: which network a file is for, what is refused."""

import json
import os
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from fewct.errors import InputError, MissingExtraError, UsageError
from fewct.methods.sam.checkpoints.build import load_sam, shape_of
from fewct.methods.sam.checkpoints.huggingface import SHARED, official_names
from fewct.methods.sam.modeling.image_encoder import ViTShape
from fewct.methods.sam.modeling.mask_decoder import DecoderShape
from fewct.methods.sam.modeling.sam import Sam, SamShape
from fewct.methods.sam.modeling.tiny_vit import TinyViTShape
from methods.sam.reference import LITE_MEDSAM, MOBILE_SAM, VIT_B, VIT_H, VIT_L

SMALL = SamShape(
    ViTShape(width=8, heads=2, windows=(3, 0), hidden=16, outputs=16, patch_px=16, grid=4),
    DecoderShape(width=16, heads=8, hidden=12, depth=2, masks=4, score_hidden=20, score_depth=3),
    mask_channels=4,
)
TINY = SamShape(
    TinyViTShape((4, 8, 12, 16), (1, 2, 1, 1), (2, 2, 3, 4), (7, 2, 3, 2), 2, 0, outputs=16), SMALL.decoder, 4
)


@pytest.fixture
def weights() -> dict[str, Tensor]:
    """Weights of a small network under their official names."""
    torch.manual_seed(0)
    return Sam(SMALL, 64).state_dict()


@pytest.fixture
def file(weights: dict[str, Tensor], tmp_path: Path) -> Path:
    path = tmp_path / "sam.pth"
    torch.save(weights, path)
    return path


def same(network: Sam, weights: dict[str, Tensor]) -> bool:
    state = network.state_dict()
    return state.keys() == weights.keys() and all(torch.equal(state[n], weights[n]) for n in state)


class TestVariants:
    @pytest.mark.parametrize("encoder", [VIT_B, VIT_L, VIT_H, MOBILE_SAM, LITE_MEDSAM])
    def test_each_official_network_is_known_by_its_shapes(self, encoder: ViTShape | TinyViTShape) -> None:
        with torch.device("meta"):
            weights = Sam(SamShape(encoder)).state_dict()
        assert shape_of(weights, Path("sam.pth")) == SamShape(encoder)

    @pytest.mark.parametrize("shape", [SMALL, TINY])
    def test_others_too(self, shape: SamShape, tmp_path: Path) -> None:
        first = Sam(shape, 64)
        torch.save(first.state_dict(), tmp_path / "small.pth")
        network = load_sam(tmp_path / "small.pth", 64)
        assert network.shape == shape
        assert same(network, first.state_dict())
        assert not network.training

    def test_a_training_that_wrote_more(self, weights: dict[str, Tensor], tmp_path: Path) -> None:
        torch.save({"epoch": 3, "optimizer": {"lr": 0.1}, "model": weights}, tmp_path / "medsam.pth")
        assert same(load_sam(tmp_path / "medsam.pth"), weights)

    def test_half_precision_becomes_single(self, weights: dict[str, Tensor], tmp_path: Path) -> None:
        torch.save({n: t.half() for n, t in weights.items()}, tmp_path / "half.pth")
        state = load_sam(tmp_path / "half.pth").state_dict()
        assert {t.dtype for t in state.values()} == {torch.float32}

    @pytest.mark.parametrize("image_size", [64, 128, 256])
    def test_other_sizes_of_input(self, file: Path, image_size: int) -> None:
        network = load_sam(file, image_size)
        xy, labels = torch.full((1, 2, 2, 2), 9.0), torch.tensor([[[1, -1], [2, 3]]])
        with torch.no_grad():
            logits, iou = network(torch.zeros(1, 3, image_size, image_size), xy, labels)
        assert network.image_size == image_size
        assert logits.shape == (1, 2, 4, image_size // 4, image_size // 4)
        assert iou.shape == (1, 2, 4)

    def test_a_size_of_input_that_does_not_fit(self, file: Path) -> None:
        with pytest.raises(UsageError, match="image_size: expected a multiple of 16, found 100"):
            load_sam(file, 100)


class CallsSystem:
    """A pickle that runs a command where it is read carelessly."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("exit 1",)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


class TestRefused:
    def test_absent(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"sam\.pth: expected a file of weights, found no such file"):
            load_sam(tmp_path / "sam.pth")

    def test_cut_short(self, file: Path) -> None:
        cut_short(file)
        with pytest.raises(InputError, match=r"a whole file of weights, .* get it again and compare"):
            load_sam(file)

    @pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"\x80\x02"])
    def test_something_else(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "x.pth").write_bytes(content)
        with pytest.raises(InputError, match="a whole file of weights"):
            load_sam(tmp_path / "x.pth")

    @pytest.mark.parametrize("new_format", [True, False])
    def test_code(self, tmp_path: Path, new_format: bool) -> None:
        path = tmp_path / "evil.pth"
        torch.save({"w": CallsSystem()}, path, _use_new_zipfile_serialization=new_format)
        with pytest.raises(InputError, match=r"tensors and nothing else, found a pickle that calls posix"):
            load_sam(path)

    def test_a_bare_pickle_with_code(self, tmp_path: Path) -> None:
        (tmp_path / "evil.pth").write_bytes(pickle.dumps(CallsSystem(), protocol=2))
        with pytest.raises(InputError, match=r"a pickle that calls posix\.system .* authors' own page"):
            load_sam(tmp_path / "evil.pth")

    @pytest.mark.parametrize(
        ("content", "found"),
        [
            ({}, "found a dict"),
            ([1, 2], "found a list"),
            ({"epoch": 1, "lr": 0.1}, "found a dict of float, int"),
            ({"model": {"a": 1}}, "found a dict of int"),
            (torch.zeros(3), "found a Tensor"),
        ],
    )
    def test_no_tensors_by_name(self, tmp_path: Path, content: object, found: str) -> None:
        torch.save(content, tmp_path / "x.pth")
        with pytest.raises(InputError, match=f"tensors by name, {found}"):
            load_sam(tmp_path / "x.pth")

    def test_another_model(self, tmp_path: Path) -> None:
        torch.save(
            {"conv1.weight": torch.zeros(4, 3, 7, 7), "fc.bias": torch.zeros(9)}, tmp_path / "resnet.pth"
        )
        message = (
            r"the weights of SAM, MedSAM, MobileSAM or LiteMedSAM, found 2 tensors in conv1 \(1\), fc \(1\), "
            r"the first conv1\.weight \(4, 3, 7, 7\); no image_encoder\.patch_embed"
        )
        with pytest.raises(InputError, match=message):
            load_sam(tmp_path / "resnet.pth")

    def test_the_image_encoder_alone(self, weights: dict[str, Tensor], tmp_path: Path) -> None:
        torch.save({n: t for n, t in weights.items() if n.startswith("image")}, tmp_path / "half.pth")
        with pytest.raises(InputError, match=r"tensors in image_encoder .*; no mask_decoder\.mask_tokens"):
            load_sam(tmp_path / "half.pth")

    def test_a_tensor_too_many(self, weights: dict[str, Tensor], tmp_path: Path) -> None:
        torch.save(weights | {"mask_decoder.hf_token.weight": torch.zeros(1, 8)}, tmp_path / "hq.pth")
        with pytest.raises(InputError, match=r"Unexpected key.*mask_decoder\.hf_token\.weight"):
            load_sam(tmp_path / "hq.pth")

    def test_a_tensor_missing(self, weights: dict[str, Tensor], tmp_path: Path) -> None:
        del weights["mask_decoder.iou_token.weight"]
        torch.save(weights, tmp_path / "sam.pth")
        with pytest.raises(InputError, match=r"Missing key.*mask_decoder\.iou_token\.weight"):
            load_sam(tmp_path / "sam.pth")

    def test_a_tensor_of_another_shape(self, weights: dict[str, Tensor], tmp_path: Path) -> None:
        weights["image_encoder.blocks.1.mlp.lin1.bias"] = torch.zeros(5)
        torch.save(weights, tmp_path / "sam.pth")
        with pytest.raises(InputError, match=r"size mismatch for image_encoder\.blocks\.1\.mlp\.lin1\.bias"):
            load_sam(tmp_path / "sam.pth")

    @pytest.mark.parametrize("name", ["image_encoder.pos_embed", "image_encoder.blocks.0.attn.rel_pos_h"])
    def test_a_tensor_without_dimensions(self, weights: dict[str, Tensor], tmp_path: Path, name: str) -> None:
        weights[name] = torch.tensor(1.0)
        torch.save(weights, tmp_path / "sam.pth")
        with pytest.raises(InputError, match="the weights of SAM, MedSAM, MobileSAM or LiteMedSAM"):
            load_sam(tmp_path / "sam.pth")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small model as transformers keeps it."""
    from transformers import SamConfig, SamModel

    vision = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "mlp_dim": 16}
    vision |= {"image_size": 64, "global_attn_indexes": [1], "window_size": 3, "output_channels": 16}
    prompts = {"hidden_size": 16, "image_size": 64, "image_embedding_size": 4, "mask_input_channels": 4}
    decoder = {"hidden_size": 16, "num_attention_heads": 4, "mlp_dim": 12, "iou_head_hidden_dim": 20}
    config = SamConfig(
        vision_config=vision | {"num_pos_feats": 8},
        prompt_encoder_config=prompts,
        mask_decoder_config=decoder | {"iou_head_depth": 4},
    )
    SamModel(config).save_pretrained(tmp_path)
    return tmp_path


class TestFolders:
    def test_both_kinds_of_file(self, folder: Path) -> None:
        from safetensors.torch import load_file

        first = load_sam(folder)
        torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
        assert same(load_sam(folder), first.state_dict())
        assert isinstance(first.shape.encoder, ViTShape)
        assert first.shape.encoder.windows == (3, 0)
        assert first.shape.decoder.heads == 4  # from config.json: no shape tells
        assert first.shape.decoder.score_depth == 4

    def test_a_file_out_of_its_folder(self, folder: Path) -> None:
        assert load_sam(folder / "model.safetensors").image_size == 64

    def test_positions_that_differ(self, folder: Path) -> None:
        two = {SHARED[0]: torch.zeros(2, 8), SHARED[1]: torch.ones(2, 8)}
        with pytest.raises(InputError, match="to be equal, found two that differ"):
            official_names(two, folder)

    def test_no_configuration(self, folder: Path) -> None:
        (folder / "config.json").unlink()
        with pytest.raises(InputError, match=r"config\.json: expected the configuration of a SAM model"):
            load_sam(folder)

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ('{"model_type": "bert"}', 'a model of type "sam", found type "bert"'),
            ('{"a": 1}', 'a model of type "sam", found type null'),
            ("[]", 'a model of type "sam", found type null'),
            ("{", "the configuration of a SAM model"),
        ],
    )
    def test_another_configuration(self, folder: Path, content: str, message: str) -> None:
        (folder / "config.json").write_text(content)
        with pytest.raises(InputError, match=message):
            load_sam(folder)

    def test_heads_that_do_not_divide(self, folder: Path) -> None:
        settings = json.loads((folder / "config.json").read_text())
        settings["mask_decoder_config"]["num_attention_heads"] = 3
        (folder / "config.json").write_text(json.dumps(settings))
        with pytest.raises(InputError, match="3 attention heads for 16 channels"):
            load_sam(folder)

    def test_no_weights(self, folder: Path) -> None:
        (folder / "model.safetensors").unlink()
        with pytest.raises(InputError, match=r"model\.safetensors or pytorch_model\.bin, found config\.json"):
            load_sam(folder)

    @pytest.mark.parametrize("damage", [cut_short, lambda path: path.write_bytes(b"")])
    def test_cut_short(self, folder: Path, damage: Callable[[Path], None]) -> None:
        damage(folder / "model.safetensors")
        with pytest.raises(InputError, match="a whole file of weights, of torch or safetensors"):
            load_sam(folder)

    def test_safetensors_with_official_names(self, weights: dict[str, Tensor], tmp_path: Path) -> None:
        save_file(weights, tmp_path / "sam.safetensors")
        assert same(load_sam(tmp_path / "sam.safetensors"), weights)

    def test_without_safetensors(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "sam.safetensors").touch()
        monkeypatch.setitem(sys.modules, "safetensors", None)
        with pytest.raises(MissingExtraError, match=r"pip install 'fewct\[transformers\]'"):
            load_sam(tmp_path / "sam.safetensors")
