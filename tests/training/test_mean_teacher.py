"""Self-training: the network learns to agree with its average, and nothing else changes."""

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset

from fewct.data.examples import UNKNOWN, TrainingExample
from fewct.phantom import phantom_slice
from fewct.training import loop
from fewct.training.checkpoints import load_weights
from fewct.training.curves import CURVES
from fewct.training.loop import LoopConfig, fit
from fewct.training.mean_teacher import ViewPair, binary_kl, consistency_loss, view_pairs
from fewct.training.sampling import RandomDataset
from fewct.types import CTSlice, Mask


class Answer(NamedTuple):
    one: Tensor
    other: Tensor


class Net(nn.Module):
    """Two maps of logits from two channels."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv2d(2, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 2, 1))

    def forward(self, x: Tensor) -> Answer:
        logits = self.layers(x)
        return Answer(logits[:, 0], logits[:, 1])


class Labelled(NamedTuple):
    x: Tensor
    y: Tensor


class Blobs(Dataset[Labelled]):
    """Noise, the same in both channels, in which bright pixels are structure."""

    def __len__(self) -> int:
        return 10_000

    def __getitem__(self, index: int) -> Labelled:
        x = torch.randn(1, 8, 8, generator=torch.Generator().manual_seed(index))
        return Labelled(x.expand(2, 8, 8), (x[0] > 0.3).float())


class Shown(Dataset[ViewPair]):
    """Such noise; altered, only the first channel still tells what is bright."""

    def __init__(self, stop_at: int = 10_000) -> None:
        self.stop_at = stop_at

    def __len__(self) -> int:
        return 10_000

    def __getitem__(self, index: int) -> ViewPair:
        if index >= self.stop_at:
            raise KeyboardInterrupt
        rng = torch.Generator().manual_seed(10_000 + index)
        x, other = torch.randn(2, 1, 8, 8, generator=rng)
        return ViewPair(torch.cat([x, x]), torch.cat([x, other]))


def losses(network: nn.Module, batch: Labelled) -> dict[str, Tensor]:
    answer = network(batch.x)
    return {
        "bce": sum(
            nn.functional.binary_cross_entropy_with_logits(logits.float(), batch.y) for logits in answer
        )
    }


CONFIG = LoopConfig(
    steps=60,
    batch_size=4,
    learning_rate=0.02,
    warmup_steps=5,
    ema_decay=0.9,
    validate_every=20,
    workers=0,
    bfloat16=False,
)


def run(folder: Path, config: LoopConfig = CONFIG, pairs: Dataset[ViewPair] | None = None) -> nn.Module:
    folder.mkdir(exist_ok=True)
    return fit(Net(), losses, Blobs(), [], config, folder, pairs)


def weights(folder: Path) -> dict[str, Tensor]:
    """Return all weights of a checkpoint."""
    content = load_weights(folder / loop.CHECKPOINT)
    return {f"{part} {name}": v for part in ("network", "average") for name, v in content[part].items()}


def column(folder: Path, name: str) -> list[float]:
    header, *rows = (folder / CURVES).read_text().splitlines()
    return [float(row.split(",")[header.split(",").index(name)]) for row in rows]


class TestDivergence:
    def test_by_hand(self) -> None:
        p, q = torch.tensor([0.75, 0.5, 0.9]), torch.tensor([0.5, 0.25, 0.2])
        found = binary_kl(torch.logit(q), torch.logit(p))
        by_hand = [
            0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5),
            0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75),
            0.9 * math.log(0.9 / 0.2) + 0.1 * math.log(0.1 / 0.8),
        ]
        assert found.tolist() == pytest.approx(by_hand, rel=1e-5)

    def test_it_is_torchs(self) -> None:
        logits, wanted = torch.randn(2, 200, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        ours = binary_kl(logits, wanted)
        distributions = [torch.distributions.Bernoulli(logits=values) for values in (wanted, logits)]
        theirs = torch.distributions.kl_divergence(*distributions)
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=1e-6)

    @pytest.mark.parametrize("logit", [-1000.0, -40.0, -1.0, 0.0, 16.0, 1000.0])
    def test_equal_answers_are_exactly_0(self, logit: float) -> None:
        value = torch.tensor(logit, requires_grad=True)
        found = binary_kl(value, torch.tensor(logit))
        assert float(found.detach()) == 0
        (gradient,) = torch.autograd.grad(found, value)
        assert float(gradient) == pytest.approx(0, abs=1e-7)

    def test_it_stays_finite_where_both_are_sure(self) -> None:
        sure = torch.tensor([300.0, -300.0], requires_grad=True)
        found = binary_kl(sure, -sure.detach())
        assert found.tolist() == [300, 300]
        (gradient,) = torch.autograd.grad(found.sum(), sure)
        assert gradient.tolist() == [1, -1]

    def test_half_precision_is_left_before_logarithms(self) -> None:
        logits, wanted = torch.tensor([9.0]), torch.tensor([8.0])
        low, full = (
            binary_kl(logits.bfloat16(), wanted.bfloat16()),
            binary_kl(logits, wanted),
        )
        assert low.dtype == torch.float32
        assert float(low) == float(full)


class TestDisagreement:
    def test_it_is_0_for_equal_answers(self) -> None:
        network = Net()
        x = torch.randn(2, 2, 8, 8)
        assert consistency_loss(network, network, ViewPair(x, x)).item() == 0

    def test_it_is_the_mean_over_pixels_and_maps(self) -> None:
        network, average = Net(), Net()
        with torch.no_grad():
            average.layers[2].bias += 1
        pair = Shown()[3]
        batch = ViewPair(pair.plain[None], pair.altered[None])
        by_hand = [
            binary_kl(logits, wanted)
            for logits, wanted in zip(network(batch.altered), average(batch.plain), strict=True)
        ]
        expected = torch.stack(by_hand).mean().item()
        assert consistency_loss(network, average, batch).item() == pytest.approx(expected)
        assert expected > 0.05

    def test_gradients_reach_the_network_alone(self) -> None:
        network, average = Net(), Net()
        average.layers[2].bias.data += 1
        torch.autograd.backward(
            consistency_loss(network, average, ViewPair(torch.randn(1, 2, 8, 8), torch.randn(1, 2, 8, 8)))
        )
        assert all(parameter.grad is not None for parameter in network.parameters())
        assert all(parameter.grad is None for parameter in average.parameters())

    def test_the_average_answers_as_in_use(self) -> None:
        network, average = Net().train(), nn.Sequential(nn.Dropout(0.99), Net()).train()
        x = torch.randn(1, 2, 8, 8)
        assert consistency_loss(network, average, ViewPair(x, x)).item() == 0

    def test_mixed_precision(self) -> None:
        network, average = Net(), Net()
        average.layers[2].bias.data += 1
        pair = ViewPair(torch.randn(1, 2, 8, 8), torch.randn(1, 2, 8, 8))
        with torch.autocast("cpu", torch.bfloat16):
            low = consistency_loss(network, average, pair)
        assert low.dtype == torch.float32
        assert low.item() == pytest.approx(consistency_loss(network, average, pair).item(), rel=0.05)


class TestTraining:
    @pytest.mark.parametrize("bfloat16", [False, True])
    def test_the_network_comes_to_agree(self, tmp_path: Path, bfloat16: bool) -> None:
        config = replace(CONFIG, steps=200, bfloat16=bfloat16)
        run(tmp_path / "with", config, Shown())
        run(tmp_path / "without", replace(config, unlabelled_weight=0.0), Shown())
        learned, ignored = (column(tmp_path / name, "unlabelled") for name in ("with", "without"))
        assert learned[-1] < 0.5 * max(learned)
        assert learned[-1] < 0.5 * ignored[-1]
        assert column(tmp_path / "with", "bce")[-1] < 0.8 * column(tmp_path / "with", "bce")[0]

    def test_a_weight_of_0_changes_nothing(self, tmp_path: Path) -> None:
        run(tmp_path / "with", replace(CONFIG, unlabelled_weight=0.0), Shown())
        run(tmp_path / "without")
        with_pairs, without = weights(tmp_path / "with"), weights(tmp_path / "without")
        assert all(torch.equal(value, without[name]) for name, value in with_pairs.items())

    def test_it_comes_in_slowly(self, tmp_path: Path) -> None:
        run(tmp_path / "with", replace(CONFIG, steps=1, validate_every=1), Shown())
        run(tmp_path / "without", replace(CONFIG, steps=1, validate_every=1))
        with_pairs, without = weights(tmp_path / "with"), weights(tmp_path / "without")
        assert all(torch.equal(value, without[name]) for name, value in with_pairs.items())
        run(tmp_path / "with", replace(CONFIG, steps=3, validate_every=1), Shown())
        run(tmp_path / "without", replace(CONFIG, steps=3, validate_every=1))
        after, other = weights(tmp_path / "with"), weights(tmp_path / "without")
        assert not all(torch.equal(value, other[name]) for name, value in after.items())

    def test_a_killed_run_ends_with_the_weights_of_an_unbroken_one(self, tmp_path: Path) -> None:
        run(tmp_path / "whole", pairs=Shown())
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "killed", pairs=Shown(stop_at=4 * 47))
        assert load_weights(tmp_path / "killed" / loop.CHECKPOINT)["step"] == 40
        run(tmp_path / "killed", pairs=Shown())
        whole, resumed = weights(tmp_path / "whole"), weights(tmp_path / "killed")
        assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
        assert column(tmp_path / "whole", "unlabelled") == column(tmp_path / "killed", "unlabelled")


def channel(image: CTSlice, body: Mask) -> NDArray[np.float32]:
    """Show a slice of Hounsfield units through a window, one of grey values as it is."""
    window = (image.pixels + 160) / 400 if image.unit == "hu" else image.pixels / 255
    return np.asarray(window.clip(0, 1) * body, dtype=np.float32)[None]


class TestPairs:
    @pytest.fixture
    def pairs(self) -> RandomDataset[ViewPair]:
        ct, _ = phantom_slice(0, size=64)
        nothing = np.zeros((64, 64), dtype=np.float32)
        unknown = np.full((64, 64), UNKNOWN, dtype=np.uint8)
        example = TrainingExample(
            ct.pixels, "hu", nothing.astype(np.int32), unknown, nothing, np.ones((64, 64), dtype=bool), 1.0
        )
        return view_pairs(lambda _: example, channel, 48, 20, seed=3)

    def test_pair_i_is_a_function_of_i_and_the_seed(self, pairs: RandomDataset[ViewPair]) -> None:
        other = RandomDataset(pairs.draw, 20, 4, 1)
        first = pairs[7]
        assert len(pairs) == 20
        for one, same in zip(first, pairs[7], strict=True):
            assert torch.equal(one, same)
        assert not torch.equal(first.plain, pairs[8].plain)
        assert not torch.equal(first.plain, other[7].plain)

    def test_both_show_the_same_place(self, pairs: RandomDataset[ViewPair]) -> None:
        alike = []
        for index in range(20):
            pair = pairs[index]
            assert pair.plain.shape == pair.altered.shape == (1, 48, 48)
            alike.append(
                float(torch.corrcoef(torch.stack([pair.plain[0].ravel(), pair.altered[0].ravel()]))[0, 1])
            )
        assert np.median(alike) > 0.8
        assert any(not torch.equal(*pairs[index]) for index in range(20))
        plains = [pairs[index].plain for index in range(20)]
        assert not any(torch.equal(one, other) for one, other in pairwise(plains))
