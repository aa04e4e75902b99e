"""The U-Net: what it learns, how its map is read, what it refuses."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from fewct.data.examples import BACKGROUND, STRUCTURE, UNKNOWN, labelled_example
from fewct.errors import InputError, UsageError
from fewct.imaging.cleanup import Cleanup
from fewct.methods.mosaic.network_maps import WEIGHTS as MOSAIC_WEIGHTS
from fewct.methods.unet import UNet
from fewct.methods.unet.examples import Patch, random_patches, whole_patch
from fewct.methods.unet.network import WIDTHS, StructureLogits, UNetNetwork
from fewct.methods.unet.preprocessing import preprocess, resize_nearest, working_shape
from fewct.methods.unet.recipe import UNetRecipe, export_network, losses_of, train
from fewct.phantom import phantom_slice
from fewct.training.loop import LoopConfig
from fewct.types import CTSlice

SIZE = 64
EVERYTHING = Cleanup()
RECIPE = UNetRecipe(
    widths=(8, 16, 16, 32, 32),
    batch_norm=True,
    size_px=SIZE,
    augment=False,
    loop=LoopConfig(
        steps=220,
        batch_size=4,
        learning_rate=1e-2,
        weight_decay=0.0,
        warmup_steps=10,
        validate_every=220,
        workers=0,
        bfloat16=False,
    ),
)


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many threads only wait for each other on images this small."""
    monkeypatch.setenv("FEWCT_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def slices() -> list[tuple[CTSlice, np.ndarray]]:
    drawn = [phantom_slice(seed, size=SIZE, level=0.35 + 0.1 * seed) for seed in range(4)]
    return [(ct, truth.labels) for ct, truth in drawn]


@pytest.fixture(scope="module")
def weights(slices: list[tuple[CTSlice, np.ndarray]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train on four slices and return the folder with the exported network."""
    folder = tmp_path_factory.mktemp("unet")
    examples = [labelled_example(ct, truth, complete=True) for ct, truth in slices]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEWCT_NUM_THREADS", "1")
        export_network(train(RECIPE, examples, [], folder), RECIPE, folder / "model.onnx")
    return folder


class TestTrained:
    def test_it_learns_four_slices(self, slices: list[tuple[CTSlice, np.ndarray]], weights: Path) -> None:
        method = UNet(weights=str(weights), instances="single", cleanup=EVERYTHING)
        for ct, truth in slices:
            found, true = method.load().segment(ct).labels > 0, truth > 0
            assert 2 * np.count_nonzero(found & true) / (found.sum() + true.sum()) > 0.95

    def test_merged_is_one_region(self, slices: list[tuple[CTSlice, np.ndarray]], weights: Path) -> None:
        found = (
            UNet(weights=str(weights), instances="single", cleanup=EVERYTHING).load().segment(slices[0][0])
        )
        assert set(np.unique(found.labels)) == {0, 1}
        assert found.scores.shape == (1,)
        assert 0.5 < found.scores[0] <= 1

    def test_components_are_parts_of_what_is_merged(
        self, slices: list[tuple[CTSlice, np.ndarray]], weights: Path
    ) -> None:
        merged, parts, opened = (
            UNet(weights=str(weights), instances=reading, opening_px=px, cleanup=EVERYTHING)
            .load()
            .segment(slices[1][0])
            for reading, px in (("single", 0), ("components", 0), ("components", 1))
        )
        assert np.array_equal(parts.labels > 0, merged.labels > 0)
        assert parts.labels.max() > 1
        assert not (opened.labels > 0)[merged.labels == 0].any()
        assert (opened.labels > 0).sum() < (merged.labels > 0).sum()
        assert parts.scores.shape == (parts.labels.max(),)

    def test_a_higher_threshold_finds_less(
        self, slices: list[tuple[CTSlice, np.ndarray]], weights: Path
    ) -> None:
        low, high = (
            UNet(weights=str(weights), threshold=threshold, cleanup=EVERYTHING).load().segment(slices[0][0])
            for threshold in (0.3, 0.9)
        )
        assert (high.labels > 0).sum() < (low.labels > 0).sum()

    @pytest.mark.parametrize("unit", ["hu", "grey"])
    @pytest.mark.parametrize("shape", [(1, 1), (1, 48), (90, 50), (300, 260)])
    def test_any_shape(self, shape: tuple[int, int], unit: str, weights: Path) -> None:
        noise = np.random.default_rng(0).normal(40, 100, shape)
        noise[: shape[0] // 3] = np.nan
        image = CTSlice(noise, "hu" if unit == "hu" else "grey")
        found = UNet(weights=str(weights / "model.onnx")).load().segment(image)
        assert found.labels.shape == shape
        assert found.labels.dtype == np.int32
        assert found.scores.shape == (found.labels.max(),)
        assert np.array_equal(found.labels, UNet(weights=str(weights)).load().segment(image).labels)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def edit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


class TestBadWeights:
    def test_none(self) -> None:
        with pytest.raises(UsageError, match="Train one: fewct train unet"):
            UNet().load().segment(CTSlice(np.zeros((8, 8)), "hu"))

    def test_absent(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="no such file"):
            UNet(weights=str(tmp_path)).load().segment(CTSlice(np.zeros((8, 8)), "hu"))

    def test_another_network(self) -> None:
        method = UNet(weights=str(MOSAIC_WEIGHTS))
        with pytest.raises(InputError, match=r"weights of a U-Net, found .* gives boundary, structure"):
            method.load().segment(CTSlice(np.zeros((8, 8)), "hu"))

    @pytest.mark.parametrize("damage", [cut_short, edit])
    def test_damaged(self, weights: Path, tmp_path: Path, damage: Callable[[Path], None]) -> None:
        for name in ("model.onnx", "model.onnx.sha256"):
            (tmp_path / name).write_bytes((weights / name).read_bytes())
        damage(tmp_path / "model.onnx")
        with pytest.raises(InputError, match=r"expected the SHA-256 [0-9a-f]{64}, found [0-9a-f]{64}"):
            UNet(weights=str(tmp_path)).load().segment(CTSlice(np.zeros((8, 8)), "hu"))


class TestSettings:
    def test_they_survive_json(self) -> None:
        method = UNet(weights="runs/unet", instances="single", threshold=0.4, opening_px=3)
        settings = json.loads(json.dumps(asdict(method)))
        settings["cleanup"] = Cleanup(**settings["cleanup"])
        assert UNet(**settings) == method

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"threshold": 1.5}, r"threshold: expected a number in \[0, 1\], found 1.5"),
            ({"opening_px": -1}, "opening_px: expected 0 or more"),
        ],
    )
    def test_out_of_range(self, settings: dict[str, float], message: str) -> None:
        with pytest.raises(UsageError, match=message):
            replace(UNet(), **settings)

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"size_px": 100}, "size_px: expected a multiple of 32, found 100"),
            ({"widths": (8, 8)}, "widths: expected 3 to 6 widths"),
            ({"widths": (8, 0, 8)}, "widths: expected 3 to 6 widths of 1 or more"),
        ],
    )
    def test_recipe_out_of_range(self, settings: dict[str, object], message: str) -> None:
        with pytest.raises(UsageError, match=message):
            replace(UNetRecipe(), **settings)


class TestNetwork:
    def test_it_is_the_papers(self) -> None:
        with torch.device("meta"):
            network = UNetNetwork()
            answer = network(torch.zeros(2, 1, 512, 512))
        assert answer.foreground.shape == (2, 512, 512)
        kernels = [tuple(m.kernel_size) for m in network.down.modules() if isinstance(m, nn.Conv2d)]
        assert kernels == [(3, 3)] * 2 * len(WIDTHS)
        dropouts = [module.p for module in network.dropout if isinstance(module, nn.Dropout)]
        assert dropouts == [0.5, 0.5]
        assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
        # by hand: 3 x 3 convolutions down, 2 x 2 transposed and 3 x 3 convolutions up, the head
        pairs = [(1, 64), (64, 128), (128, 256), (256, 512), (512, 1024)]
        expected = sum(9 * a * b + b + 9 * b * b + b for a, b in pairs) + 65
        expected += sum(4 * b * a + a + 9 * 2 * a * a + a + 9 * a * a + a for a, b in pairs[1:])
        assert sum(p.numel() for p in network.parameters()) == expected

    @pytest.mark.parametrize("widths", [(4, 4, 4), (2, 3, 4, 5, 6, 7)])
    def test_it_answers_on_the_grid_of_its_input(self, widths: tuple[int, ...]) -> None:
        assert UNetNetwork(widths)(torch.zeros(1, 1, 64, 96)).foreground.shape == (1, 64, 96)


class Fixed(nn.Module):
    """A network that always gives the same logits."""

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, x: torch.Tensor) -> StructureLogits:
        return StructureLogits(self.logits + 0 * x.sum())


@pytest.mark.parametrize("dice", [False, True])
def test_what_is_not_annotated_does_not_count(dice: bool) -> None:
    losses = losses_of(replace(UNetRecipe(), dice=dice))
    rng = torch.Generator().manual_seed(0)
    logits, target = torch.randn(2, 6, 6, generator=rng), torch.rand(2, 6, 6, generator=rng).round()
    weight = torch.rand(2, 6, 6, generator=rng).round()
    batch = Patch(torch.zeros(2, 1, 6, 6), target, weight, torch.zeros(2, dtype=torch.int64))
    flipped = batch._replace(target=torch.where(weight > 0, target, 1 - target))
    one, other = losses(Fixed(logits), batch), losses(Fixed(logits), flipped)
    assert set(one) == ({"bce", "dice"} if dice else {"bce"})
    assert one == other
    known = weight > 0
    p = torch.sigmoid(logits[known])
    by_hand = -torch.where(target[known] > 0, p.log(), (1 - p).log()).mean()
    assert float(one["bce"]) == pytest.approx(float(by_hand), rel=1e-5)


class TestExamples:
    def test_partial_truth_knows_no_background_in_the_patient(self) -> None:
        ct, truth = phantom_slice(0, size=SIZE)
        liver = np.where(truth.labels == truth.labels.max(), 1, 0).astype(np.int32)
        complete, partial = (labelled_example(ct, liver, complete=c).structure for c in (True, False))
        assert set(np.unique(complete)) == {BACKGROUND, STRUCTURE}
        assert np.array_equal(complete == STRUCTURE, liver > 0)
        assert np.array_equal(partial == STRUCTURE, liver > 0)
        assert (partial == UNKNOWN).sum() > 500
        assert partial[0, 0] == BACKGROUND

    def test_a_slice_is_filled_up_to_a_square(self) -> None:
        pixels = np.full((40, 80), 60.0)
        pixels[0, 0] = np.nan
        example = labelled_example(CTSlice(pixels, "hu"), np.ones((40, 80), dtype=np.int32), complete=True)
        assert np.isfinite(example.pixels).all()
        patch = whole_patch(example, 64, 7)
        assert patch.image.shape == (1, 64, 64)
        assert float(patch.image[0, 10, 10]) == pytest.approx(2 * (60 + 160) / 400 - 1)
        assert bool((patch.weight[:32] == 1).all())
        assert not patch.weight[32:].any()
        assert int(patch.number) == 7

    def test_patch_i_is_a_function_of_i_and_the_seed(self) -> None:
        ct, truth = phantom_slice(0, size=SIZE)
        examples = [labelled_example(ct, truth.labels, complete=True)]
        patches, again, other = (random_patches(examples, SIZE, 9, seed, augment=True) for seed in (1, 1, 2))
        for one, same in zip(patches[3], again[3], strict=True):
            assert torch.equal(one, same)
        assert not torch.equal(patches[3].image, patches[4].image)
        assert not torch.equal(patches[3].image, other[3].image)
        assert patches[3].image.shape == (1, SIZE, SIZE)

    def test_grey_values_may_be_scaled_and_shifted(self) -> None:
        grey = np.random.default_rng(0).integers(0, 255, (40, 40)).astype(np.float32)
        nowhere = np.zeros((40, 40), dtype=bool)
        one, other = (preprocess(CTSlice(g, "grey"), nowhere) for g in (grey, 3 * grey + 7))
        np.testing.assert_allclose(one, other, atol=0.01)

    def test_shapes(self) -> None:
        assert working_shape((100, 3), 64) == (64, 2)
        marks = np.arange(16, dtype=np.uint8).reshape(4, 4)
        assert np.array_equal(resize_nearest(marks, (2, 2)), marks[1::2, 1::2])


def test_nothing_to_learn_from(tmp_path: Path) -> None:
    ct, truth = phantom_slice(0, size=SIZE)
    example = labelled_example(ct, np.zeros_like(truth.labels), complete=True)
    with pytest.raises(InputError, match=r"a labelled structure to train on, found 1 slices, all labels 0"):
        train(RECIPE, [example], [], tmp_path)
