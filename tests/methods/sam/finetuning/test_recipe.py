"""Fine-tuning SAM: it learns, goes on after a stop, changes only what it should, and is exported."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fewct.data.examples import TrainingExample, labelled_example
from fewct.errors import InputError, UsageError
from fewct.methods.sam.backends.onnx import OnnxBackend
from fewct.methods.sam.backends.torch import TorchBackend
from fewct.methods.sam.checkpoints.build import load_sam, shape_of
from fewct.methods.sam.checkpoints.layout import TRAINED
from fewct.methods.sam.finetuning.prompt_small import SHAPE as PROMPT_SMALL
from fewct.methods.sam.finetuning.prompt_small import PromptSmallRecipe, favour_near
from fewct.methods.sam.finetuning.recipe import (
    SAM_WEIGHTS,
    SamRecipe,
    starting_network,
    train,
    trained_network,
)
from fewct.methods.sam.modeling.mask_decoder import DecoderShape
from fewct.methods.sam.modeling.sam import Sam, SamShape
from fewct.methods.sam.modeling.small_encoder import SmallEncoder, SmallShape
from fewct.methods.sam.preprocessing import InputFrame, preprocess
from fewct.nn.folded_unet import FoldedUNet
from fewct.phantom import phantom_slice
from fewct.recipes.export import export_folder
from fewct.recipes.labelled import TrainSam
from fewct.training import loop
from fewct.training.checkpoints import load_weights
from fewct.training.loop import CHECKPOINT, LoopConfig
from fewct.training.onnx_export import export_onnx
from fewct.training.runs import keep_settings
from fewct.training.warm_start import start_from
from methods.sam.reference import SHAPE, write_checkpoint

LOOP = LoopConfig(steps=6, batch_size=2, learning_rate=3e-3, warmup_steps=1, validate_every=3, workers=0)
LOOP = replace(LOOP, bfloat16=False, ema_decay=0.5)
SMALL = SamShape(
    SmallShape((4, 6, 8, 8, 8), 16), DecoderShape(width=16, heads=2, hidden=16, score_hidden=8), 4
)


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEWCT_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def examples() -> list[TrainingExample]:
    drawn = [phantom_slice(seed, size=64) for seed in (1, 2, 3)]
    return [labelled_example(ct, truth.labels.astype(np.int32), complete=True) for ct, truth in drawn]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_checkpoint(tmp_path_factory.mktemp("sam") / "tiny.pth")


@pytest.fixture
def recipe(checkpoint: str) -> SamRecipe:
    return SamRecipe(weights=checkpoint, prompts=3, correction_prompts=2, augmented_views=2, loop=LOOP)


class TestTraining:
    def test_masks_become_better(
        self, recipe: SamRecipe, examples: list[TrainingExample], tmp_path: Path
    ) -> None:
        long = replace(recipe, loop=replace(LOOP, steps=40, validate_every=10))
        train(long, examples[:2], examples[:2], tmp_path)
        rows = (tmp_path / "curves.csv").read_text().splitlines()
        column = rows[0].split(",").index("val_masks")
        values = [float(row.split(",")[column]) for row in rows[1:]]
        assert min(values) < 0.97 * values[0]

    @pytest.mark.parametrize("trainable", ["decoder", "all"])
    def test_after_a_stop_it_goes_on_to_the_same_weights(
        self,
        recipe: SamRecipe,
        examples: list[TrainingExample],
        tmp_path: Path,
        trainable: Any,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        recipe = replace(recipe, trainable=trainable)
        whole, broken = tmp_path / "whole", tmp_path / "broken"
        whole.mkdir()
        broken.mkdir()
        train(recipe, examples, [], whole)

        def stop(state: Any, *_: Any) -> None:
            save(state, *_)
            if state.step == 3:
                raise KeyboardInterrupt

        save = loop.save_state
        monkeypatch.setattr(loop, "save_state", stop)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, examples, [], broken)
        monkeypatch.setattr(loop, "save_state", save)
        train(recipe, examples, [], broken)
        first, second = (load_weights(folder / CHECKPOINT)["network"] for folder in (whole, broken))
        assert all(torch.equal(first[name], second[name]) for name in first)

    def test_a_finished_network_differs_in_what_has_learnt(
        self, recipe: SamRecipe, examples: list[TrainingExample], tmp_path: Path
    ) -> None:
        before = load_sam(Path(recipe.weights)).state_dict()
        after = trained_network(
            train(recipe, examples, [], tmp_path), starting_network(recipe)[0]
        ).state_dict()
        assert set(after) == set(before)
        changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
        assert changed == {"mask_decoder"}

    def test_adapters_end_up_in_the_weights(
        self, recipe: SamRecipe, examples: list[TrainingExample], tmp_path: Path
    ) -> None:
        recipe = replace(recipe, trainable="adapters", rank=2)
        before = load_sam(Path(recipe.weights)).state_dict()
        after = trained_network(
            train(recipe, examples, [], tmp_path), starting_network(recipe)[0]
        ).state_dict()
        assert set(after) == set(before)
        changed = [
            n for n in before if n.startswith("image_encoder") and not torch.equal(before[n], after[n])
        ]
        assert changed
        assert all(name.endswith("attn.qkv.weight") for name in changed)


class TestBadInput:
    def test_nothing_labelled(
        self, recipe: SamRecipe, examples: list[TrainingExample], tmp_path: Path
    ) -> None:
        empty = [replace(e, labels=np.zeros_like(e.labels)) for e in examples]
        with pytest.raises(InputError, match=r"(?s)data.*3 slices, all labels 0.*label maps belong"):
            train(recipe, empty, [], tmp_path)

    def test_a_checkpoint_of_something_else(
        self, recipe: SamRecipe, examples: list[TrainingExample], tmp_path: Path
    ) -> None:
        torch.save({"conv.weight": torch.zeros(2)}, tmp_path / "other.pth")
        with pytest.raises(InputError, match=r"(?s)other\.pth.*weights of SAM"):
            train(replace(recipe, weights=str(tmp_path / "other.pth")), examples, [], tmp_path)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("rank", 0),
            ("prompts", 0),
            ("augmented_views", 0),
            ("correction_prompts", -1),
            ("image_size", -1),
            ("box_share", 1.5),
            ("jitter_px", -1.0),
            ("jitter_px", float("inf")),
        ],
    )
    def test_settings_out_of_range(self, name: str, value: float) -> None:
        with pytest.raises(UsageError, match=rf"(?s){name}.*{value}"):
            SamRecipe(**{name: value})  # type: ignore[arg-type]

    def test_a_side_that_the_small_encoder_cannot_take(self) -> None:
        with pytest.raises(UsageError, match=r"(?s)size_px.*multiple of 32.*500"):
            PromptSmallRecipe(size_px=500)


class TestSmallEncoder:
    def test_it_is_told_from_the_shapes_of_its_weights(self, tmp_path: Path) -> None:
        network = Sam(SMALL, 64)
        path = tmp_path / "small.pth"
        torch.save(network.state_dict(), path)
        assert shape_of(network.state_dict(), path, heads=2) == SMALL
        backend = TorchBackend(network)
        assert (backend.normalization, backend.image_size, backend.mask_px) == ("ranks", 64, 32)

    def test_it_sees_ranks_and_nothing_else(self) -> None:
        with pytest.raises(UsageError, match=r"(?s)normalization.*ranks.*medsam"):
            TorchBackend(Sam(SMALL, 64), "medsam")
        with pytest.raises(UsageError, match=r"(?s)normalization.*sam.*ranks"):
            TorchBackend(Sam(SHAPE, 128), "ranks")

    def test_the_shipped_one_is_small(self) -> None:
        network = Sam(PROMPT_SMALL)
        assert network.image_size == 256
        assert sum(p.numel() for p in network.image_encoder.parameters()) < 6e6
        assert 4 * sum(p.numel() for p in network.parameters()) < 16e6

    @torch.no_grad()
    def test_fine_maps_are_folded_and_not_lost(self) -> None:
        encoder = SmallEncoder(SmallShape((4, 6, 8, 8, 8), 16)).eval()
        pixels = torch.randn(1, 2, 64, 64)
        seen: list[torch.Tensor] = []
        encoder.neck.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        assert encoder(pixels).shape == (1, 16, 8, 8)
        finest = encoder.features(pixels)[0]
        unfolded = torch.nn.functional.pixel_shuffle(seen[0][:, : 4 * 16], 4)
        assert torch.allclose(unfolded, finest, atol=1e-5)

    def test_ranks_are_the_same_for_every_monotone_window(self) -> None:
        picture = np.random.default_rng(0).integers(60, 200, (40, 56), dtype=np.uint8)
        frame = InputFrame((40, 56), 64, 64)
        stretched = preprocess(((picture - 60) * 1.7 + 10).astype(np.uint8), frame, "ranks")
        plain = preprocess(picture, frame, "ranks")
        assert plain.shape == (2, 64, 64)
        assert np.abs(plain[1] - stretched[1]).max() < 0.02
        assert (plain[:, 46:] == -1).all()
        assert np.abs(plain).max() <= 1

    def test_it_starts_from_the_features_of_another_network(self, tmp_path: Path) -> None:
        class Other(FoldedUNet):
            def __init__(self) -> None:
                super().__init__(2, (4, 6, 8, 8, 8))
                self.head = torch.nn.Conv2d(4, 1, 1)

            def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
                return (self.head(self.features(x)[0]),)

        torch.manual_seed(0)
        other = Other().eval()
        for module in other.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.2)  # type: ignore[union-attr]
                module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
        export_onnx(other, 2, ["map"], tmp_path / "other.onnx")
        encoder, sample = SmallEncoder(SmallShape((4, 6, 8, 8, 8), 16)), torch.randn(2, 2, 64, 64)
        start_from(encoder, tmp_path / "other.onnx", sample, new=("neck",), unused=("head",))
        with torch.no_grad():
            for found, expected in zip(encoder.eval().features(sample), other.features(sample), strict=True):
                assert torch.allclose(found, expected, atol=1e-4)
        with pytest.raises(InputError, match=r"(?s)other\.onnx.*head"):
            start_from(encoder, tmp_path / "other.onnx", sample, new=("neck",))

    def test_attention_begins_near(self) -> None:
        torch.manual_seed(0)
        network = Sam(replace(PROMPT_SMALL, encoder=SmallShape((4, 6, 8, 8, 8), 128)), 128)

        @torch.no_grad()
        def peak() -> float:
            """Return how far from a point the pixel lies that its token looks at most, in pixels."""
            prompts = network.prompt_encoder
            places = prompts.positions().flatten(1).T
            attention = network.mask_decoder.transformer.layers[0].get_submodule("cross_attn_token_to_image")
            query = attention.get_submodule("q_proj")(prompts.pe_layer(torch.tensor([[0.3, 0.7]])))
            scores = (query @ attention.get_submodule("k_proj")(places).T)[0]
            y, x = divmod(int(scores.argmax()), 16)
            return float(np.hypot((x + 0.5) / 16 - 0.3, (y + 0.5) / 16 - 0.7))

        favour_near(network.mask_decoder)
        assert peak() < 0.1


def test_a_fine_tuned_network_is_exported(
    recipe: SamRecipe, examples: list[TrainingExample], tmp_path: Path
) -> None:
    keep_settings("sam", TrainSam(data=("here",), recipe=recipe), tmp_path)
    trained = trained_network(train(recipe, examples, [], tmp_path), starting_network(recipe)[0])
    (tmp_path / TRAINED).mkdir()
    (tmp_path / TRAINED / "old").touch()  # of an earlier export, whose place this one takes
    assert export_folder(tmp_path) == tmp_path / TRAINED
    assert not (tmp_path / TRAINED / "old").exists()
    again = load_sam(tmp_path / SAM_WEIGHTS).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in trained.state_dict().items())
    pixels = np.random.default_rng(0).normal(size=(3, 128, 128)).astype(np.float32)
    exported, ours = OnnxBackend.load(tmp_path / TRAINED), TorchBackend(trained)
    assert np.abs(exported.embed(pixels) - ours.embed(pixels)).max() < 1e-3
    assert not [file for file in tmp_path.iterdir() if file.name.startswith(".")]
