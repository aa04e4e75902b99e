"""The networks against `segment-anything` and `transformers`, with the same random weights."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional
from transformers import SamConfig, SamModel
from transformers.models.sam import modeling_sam

from fewct.errors import UsageError
from fewct.methods.sam.modeling.image_encoder import ViTShape, fit_positions, relative
from fewct.methods.sam.modeling.layers import from_windows, to_windows
from fewct.methods.sam.modeling.mask_decoder import DecoderShape
from fewct.methods.sam.modeling.prompt_encoder import NO_POINT
from fewct.methods.sam.modeling.sam import Sam, SamShape
from fewct.methods.sam.modeling.tiny_vit import (
    TinyViT,
    TinyViTShape,
    WindowAttention,
)
from methods.sam.reference import (
    LITE_MEDSAM,
    MOBILE_SAM,
    SHAPE,
    VIT_B,
    VIT_H,
    VIT_L,
    official,
    official_prompt_encoder,
    ours,
    randomise,
)
from precision import EXACT, in_double

PX = 128


@pytest.fixture(scope="module", autouse=True)
def float64() -> Iterator[None]:
    with in_double(official_prompt_encoder, modeling_sam):
        yield


@pytest.fixture(scope="module")
def reference() -> Any:
    return official(SHAPE, PX)


@pytest.fixture(scope="module")
def network(reference: Any) -> Sam:
    return ours(reference, SHAPE, PX)


@pytest.fixture(scope="module")
def pixels() -> Tensor:
    return torch.randn(1, 3, PX, PX, generator=torch.Generator().manual_seed(1))


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * PX


def decoded(reference: Any, embedding: Tensor, *prompts: Any) -> tuple[Tensor, Tensor]:
    """Return all four masks of the official decoder and what it thinks of them."""
    sparse, dense = reference.prompt_encoder(*prompts)
    found: tuple[Tensor, Tensor] = reference.mask_decoder.predict_masks(
        embedding, reference.prompt_encoder.get_dense_pe(), sparse, dense
    )
    return found


@torch.no_grad()
def assert_same(
    reference: Any, network: Sam, pixels: Tensor, official_prompts: tuple[Any, ...], *prompts: Any
) -> None:
    expected, expected_iou = decoded(reference, reference.image_encoder(pixels), *official_prompts)
    logits, predicted_iou = network(pixels, *prompts)
    assert expected.std() > 0.3
    torch.testing.assert_close(logits.flatten(0, 1), expected, **EXACT)
    torch.testing.assert_close(predicted_iou.flatten(0, 1), expected_iou, **EXACT)


class TestOfficial:
    @torch.no_grad()
    def test_embedding(self, reference: Any, network: Sam, pixels: Tensor) -> None:
        expected = reference.image_encoder(pixels)
        assert expected.std() > 0.3
        torch.testing.assert_close(network.image_encoder(pixels), expected, **EXACT)

    def test_windows_wider_than_the_image(self, pixels: Tensor) -> None:
        shape = SamShape(ViTShape(32, 2, (14, 0, 14), 128, outputs=32), SHAPE.decoder, 8)
        reference = official(shape, PX)
        with torch.no_grad():
            expected = reference.image_encoder(pixels)
            torch.testing.assert_close(ours(reference, shape, PX).image_encoder(pixels), expected, **EXACT)

    @pytest.mark.parametrize("n_points", [1, 3])
    def test_points(self, reference: Any, network: Sam, pixels: Tensor, n_points: int) -> None:
        xy, labels = drawn(2, 5, n_points, 2), torch.arange(5 * n_points).reshape(5, n_points) % 2
        padded = torch.cat([xy, torch.zeros(5, 1, 2)], dim=1)[None]
        kinds = torch.cat([labels, torch.full((5, 1), NO_POINT)], dim=1)[None]
        assert_same(reference, network, pixels, ((xy, labels), None, None), padded, kinds)

    def test_boxes(self, reference: Any, network: Sam, pixels: Tensor) -> None:
        boxes = drawn(3, 4, 4)
        corners = boxes.reshape(1, 4, 2, 2)
        kinds = torch.tensor([2, 3]).expand(1, 4, 2)
        assert_same(reference, network, pixels, (None, boxes, None), corners, kinds)

    def test_points_with_a_box(self, reference: Any, network: Sam, pixels: Tensor) -> None:
        xy, labels, boxes = drawn(4, 2, 2, 2), torch.tensor([[1, 0], [1, 1]]), drawn(5, 2, 4)
        points = torch.cat([xy, boxes.reshape(2, 2, 2)], dim=1)[None]
        kinds = torch.cat([labels, torch.tensor([[2, 3], [2, 3]])], dim=1)[None]
        assert_same(reference, network, pixels, ((xy, labels), boxes, None), points, kinds)

    def test_a_first_guess(self, reference: Any, network: Sam, pixels: Tensor) -> None:
        xy, labels, guess = (
            drawn(6, 1, 1, 2),
            torch.ones(1, 1, dtype=torch.int64),
            drawn(7, 1, 1, 32, 32) - 64,
        )
        padded = torch.cat([xy, torch.zeros(1, 1, 2)], dim=1)[None]
        kinds = torch.tensor([[[1, NO_POINT]]])
        assert_same(reference, network, pixels, ((xy, labels), None, guess), padded, kinds, guess)

    @torch.no_grad()
    def test_several_images_each_with_its_guess(self, network: Sam) -> None:
        pixels = torch.randn(2, 3, PX, PX, generator=torch.Generator().manual_seed(8))
        xy, labels, guess = (
            drawn(9, 2, 3, 1, 2),
            torch.ones(2, 3, 1, dtype=torch.int64),
            drawn(10, 2, 1, 32, 32) / 16 - 4,
        )
        together = network(pixels, xy, labels, guess)
        for i in range(2):
            some = slice(i, i + 1)
            alone = network(pixels[some], xy[some], labels[some], guess[some])
            for one, all_ in zip(alone, together, strict=True):
                torch.testing.assert_close(one, all_[some], **EXACT)

    def test_every_weight_learns(self, network: Sam, pixels: Tensor) -> None:
        xy, labels = drawn(11, 1, 1, 5, 2), torch.tensor([[[-1, 0, 1, 2, 3]]])
        logits, iou = network(pixels, xy, labels)
        guessed, _ = network(pixels, xy, labels, logits[:, 0, :1].detach())
        (logits.square().mean() + iou.square().mean() + guessed.square().mean()).backward()
        without = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
        network.zero_grad()
        assert without == []


class TestTransformers:
    @pytest.fixture
    def theirs(self) -> Any:
        config = SamConfig(
            vision_config={
                "hidden_size": 32,
                "num_hidden_layers": 3,
                "num_attention_heads": 2,
                "mlp_dim": 64,
                "image_size": 256,
                "global_attn_indexes": [1],
                "window_size": 7,
                "output_channels": 32,
                "num_pos_feats": 16,
            },
            prompt_encoder_config={
                "hidden_size": 32,
                "image_size": 256,
                "image_embedding_size": 16,
                "mask_input_channels": 8,
            },
            mask_decoder_config={
                "hidden_size": 32,
                "num_attention_heads": 4,
                "mlp_dim": 48,
                "iou_head_hidden_dim": 40,
                "layer_norm_eps": 1e-5,  # of the official decoder; the default here is another
            },
        )
        torch.manual_seed(0)
        model = SamModel(config).eval()
        randomise(model)
        return model

    @torch.no_grad()
    def test_logits(self, theirs: Any, tmp_path: Any) -> None:
        from fewct.methods.sam.checkpoints.build import load_sam

        theirs.float().save_pretrained(tmp_path)  # the weights that the folder can hold are the ones compared
        network, theirs = load_sam(tmp_path).double(), theirs.double()
        pixels = torch.randn(1, 3, 256, 256)
        xy, labels = 2 * drawn(1, 1, 3, 2, 2), torch.tensor([[[1, 0], [1, 1], [0, 1]]])
        found = theirs(pixel_values=pixels, input_points=xy, input_labels=labels, multimask_output=True)
        padded = torch.cat([xy, torch.zeros(1, 3, 1, 2)], dim=2)
        kinds = torch.cat([labels, torch.full((1, 3, 1), NO_POINT)], dim=2)
        logits, predicted_iou = network(pixels, padded, kinds)
        assert found.pred_masks.std() > 0.05
        torch.testing.assert_close(logits[:, :, 1:], found.pred_masks, **EXACT)
        torch.testing.assert_close(predicted_iou[:, :, 1:], found.iou_scores, **EXACT)


class TestTinyViT:
    # Made with the code of MobileSAM (f706ad9) and LiteMedSAM in double precision, from the weights below.
    FIGURES = (
        (2, 5, 1024, [-1.048813, -0.514766, 0.642499, 0.651415, -0.988132, -0.187676]),
        (1, 0, 256, [0.853363, 0.369867, -0.949999, -0.147331, 1.154472, -0.793499]),
    )

    @pytest.mark.parametrize(("stem_stride", "classes", "image_size", "expected"), FIGURES)
    def test_embedding(self, stem_stride: int, classes: int, image_size: int, expected: list[float]) -> None:
        shape = TinyViTShape(
            (8, 16, 24, 320), (1, 1, 2, 1), (1, 2, 3, 4), (7, 7, 14, 7), stem_stride, classes
        )
        network = TinyViT(shape).eval().double()
        ones = ("norm.weight", "bn.weight", "running_var")
        steps = torch.arange(3 * image_size**2, dtype=torch.float64)
        figures = 0.01 * steps + 0.3 * (steps % 97)
        with torch.no_grad():
            for i, (name, tensor) in enumerate(network.state_dict().items()):
                if tensor.is_floating_point():
                    steps = torch.arange(tensor.numel(), dtype=torch.float64).reshape(tensor.shape)
                    waves = torch.sin(0.7 * steps + i) / max(1, tensor[0].numel()) ** 0.5
                    tensor.copy_(waves + (1.5 if name.endswith(ones) else 0))
            found = network(torch.cos(figures).reshape(1, 3, image_size, image_size))
        assert found.shape == (1, 256, 64, 64)
        np.testing.assert_allclose(found[0, ::51, 31, 17], expected, atol=2e-6)

    def test_any_size(self) -> None:
        with torch.device("meta"):
            assert TinyViT(MOBILE_SAM)(torch.zeros(2, 3, 512, 256)).shape == (2, 256, 32, 16)
            assert TinyViT(LITE_MEDSAM)(torch.zeros(1, 3, 512, 512)).shape == (1, 256, 128, 128)

    def test_biases_by_distance(self) -> None:
        attention = WindowAttention(4, 1, 3)
        torch.nn.init.normal_(attention.attention_biases)
        distances = attention.attention_biases[0].reshape(3, 3)
        biases = attention._biases()[0]
        for i in range(9):
            for j in range(9):
                apart = abs(i // 3 - j // 3), abs(i % 3 - j % 3)
                assert biases[i, j] == distances[apart]


@pytest.mark.parametrize(
    ("encoder", "millions"),
    [(VIT_B, 93.7), (VIT_L, 312.3), (VIT_H, 641.1), (MOBILE_SAM, 10.1), (LITE_MEDSAM, 9.8)],
)
def test_numbers_of_weights(encoder: ViTShape | TinyViTShape, millions: float) -> None:
    with torch.device("meta"):
        network = Sam(SamShape(encoder))
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.1)
    assert network.image_size == (256 if encoder == LITE_MEDSAM else 1024)
    assert network.prompt_encoder.grid == 64


@pytest.mark.parametrize("image_size", [0, 8, 100, 1000])
def test_an_input_that_the_stride_does_not_divide(image_size: int) -> None:
    with pytest.raises(
        UsageError, match=f"image_size: expected a multiple of 16, found {image_size}. Use 256"
    ):
        Sam(SHAPE, image_size)


def test_the_default_decoder_is_the_official_one() -> None:
    assert DecoderShape() == DecoderShape(256, 8, 2048, 2, 4, 256, 3)


@settings(max_examples=30)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3), st.integers(1, 2))
def test_windows_come_back_together(size: int, rows: int, columns: int, batch: int) -> None:
    x = torch.randn(batch, size * rows, size * columns, 3)
    windows = to_windows(x, size)
    assert windows.shape == (batch * rows * columns, size, size, 3)
    assert torch.equal(windows[0], x[0, :size, :size])
    assert torch.equal(from_windows(windows, size, size * rows, size * columns), x)


class TestPositions:
    def test_relative(self) -> None:
        table = torch.arange(5.0)[:, None]  # distances -2 .. 2
        assert relative(table, 3)[..., 0].tolist() == [[2, 1, 0], [3, 2, 1], [4, 3, 2]]

    def test_nothing_to_fit(self, network: Sam) -> None:
        assert isinstance(SHAPE.encoder, ViTShape)
        weights = network.image_encoder.state_dict()
        fitted = fit_positions(weights, SHAPE.encoder, PX)
        assert all(fitted[name] is tensor for name, tensor in weights.items())

    @pytest.mark.parametrize("image_size", [64, 256])
    def test_smooth_positions_stay_smooth(self, image_size: int) -> None:
        shape = ViTShape(4, 2, (3, 0), 8)
        ramp = (torch.arange(8) + 0.5) / 8
        table = torch.linspace(-1, 1, 15)[:, None].expand(15, 2)
        weights = {"pos_embed": ramp[None, :, None, None].expand(1, 8, 8, 4)} | {
            f"blocks.{i}.attn.rel_pos_{axis}": table for i in range(2) for axis in "hw"
        }
        fitted = fit_positions(weights, shape, image_size)
        side = image_size // 16
        assert fitted["pos_embed"].shape == (1, side, side, 4)
        inner = slice(side // 4, -(side // 4))
        expected = (torch.arange(side) + 0.5) / side
        np.testing.assert_allclose(fitted["pos_embed"][0, inner, 0, 0], expected[inner], atol=0.02)
        assert fitted["blocks.0.attn.rel_pos_h"] is table
        wanted = functional.interpolate(table.T[None], 2 * side - 1, mode="linear")[0].T
        assert torch.equal(fitted["blocks.1.attn.rel_pos_w"], wanted)
