"""Training in two processes: the same weights as in one. Run by `torchrun`, this file is one of the two."""

import os
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, distributed, nn
from torch.utils.data import Dataset

from fewct.errors import UsageError
from fewct.phantom import phantom_slice
from fewct.training.checkpoints import load_weights, save_weights
from fewct.training.curves import CURVES
from fewct.training.distributed import (
    all_reduce_buffers,
    all_reduce_mean,
    broadcast,
    is_main_process,
    process_group,
    rank_batch_size,
    rank_device,
    rank_slice,
)
from fewct.training.loop import BEST, CHECKPOINT, LoopConfig, fit
from fewct.training.mean_teacher import ViewPair

CONFIG = LoopConfig(
    steps=12,
    budget_minutes=60,
    batch_size=4,
    learning_rate=0.02,
    warmup_steps=2,
    ema_decay=0.9,
    validate_every=4,
    workers=0,
    bfloat16=False,
    unlabelled_batch_size=2,
)
CLOSE = 1e-4  # of weights that move by 0.02 a step: sums of gradients round by the order of their terms


class Item(NamedTuple):
    x: Tensor
    y: Tensor


class Noise(Dataset[Item]):
    """Noise in which bright pixels are to be found; the process "dies" at an item."""

    def __init__(self, stop_at: int = 10**9) -> None:
        self.stop_at = stop_at

    def __len__(self) -> int:
        return 10**9

    def __getitem__(self, index: int) -> Item:
        if index >= self.stop_at:
            raise KeyboardInterrupt
        x = torch.randn(1, 8, 8, generator=torch.Generator().manual_seed(index))
        return Item(x, (x[0] > 0.3).float())


class Twice(Dataset[ViewPair]):
    """The same noise, the second time darker."""

    def __len__(self) -> int:
        return 10**9

    def __getitem__(self, index: int) -> ViewPair:
        return ViewPair(Noise()[index].x, 0.5 * Noise()[index].x - 0.2)


class Answer(NamedTuple):
    logits: Tensor


class Net(nn.Module):
    def __init__(self, normalise: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        between = nn.BatchNorm2d(6) if normalise else nn.Identity()
        self.layers = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), between, nn.ReLU(), nn.Conv2d(6, 1, 1))

    def forward(self, x: Tensor) -> Answer:
        return Answer(self.layers(x)[:, 0])


def losses(network: nn.Module, batch: Item) -> dict[str, Tensor]:
    logits = network(batch.x).logits.float()
    return {"bce": nn.functional.binary_cross_entropy_with_logits(logits, batch.y)}


def run(
    folder: Path, config: LoopConfig = CONFIG, stop_at: int = 10**9, normalise: bool = False
) -> nn.Module:
    """Train and return the network, not its average."""
    folder.mkdir(exist_ok=True)
    network = Net(normalise)
    items = [Noise()[10**6 + k] for k in range(4)]
    validation = [Item(*(torch.stack(tensors) for tensors in zip(*items, strict=True)))]
    fit(network, losses, Noise(stop_at), validation, config, folder, Twice())
    return network


def work(folder: Path) -> None:
    """Do what one of two processes does, and keep what the tests look at."""
    torch.set_num_threads(1)
    facts: dict[str, object] = {}
    with process_group("cpu", 4, 2) as first:
        device = rank_device("cpu")
        facts["first"] = first == is_main_process() == (int(os.environ["RANK"]) == 0)
        facts["items"] = list(rank_slice(3, 4))
        facts["mean"] = all_reduce_mean({"a": 1.0 + distributed.get_rank(), "b": 2.0}, device)
        facts["of first"] = broadcast(7.0 + distributed.get_rank(), device)
        try:
            rank_batch_size(3)
        except UsageError as error:
            facts["error"] = str(error)
        facts["whole"] = run(folder / "whole").state_dict()
        try:
            run(folder / "killed", stop_at=4 * 9)
        except KeyboardInterrupt:
            facts["resumed"] = run(folder / "killed").state_dict()
        facts["normalised"] = run(folder / "normalised", normalise=True).state_dict()
        facts["budget"] = run(
            folder / "budget", replace(CONFIG, steps=10**6, budget_minutes=0.005)
        ).state_dict()
        stale = replace(CONFIG, steps=1000, learning_rate=0.0, patience=2, ema_decay=0.0)
        facts["stale"] = run(folder / "stale", stale).state_dict()
    facts["left"] = not distributed.is_initialized()
    save_weights(facts, folder / f"facts_{os.environ['RANK']}.pt")


def torchrun(*words: object) -> subprocess.CompletedProcess[str]:
    """Start two processes as a user does."""
    from deadline import DEADLINE_S  # here, as this file is also one of the two processes, apart from `tests`

    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "FEWCT_NUM_THREADS": "1"}
    return subprocess.run(
        [*command, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        timeout=DEADLINE_S,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Train in two processes, several times over."""
    folder = tmp_path_factory.mktemp("two")
    done = torchrun(__file__, folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def facts(folder: Path) -> list[dict[str, object]]:
    """Return what each process kept."""
    return [load_weights(folder / f"facts_{rank}.pt") for rank in (0, 1)]


def difference(one: object, other: object) -> float:
    """Return the largest difference between two sets of weights."""
    assert isinstance(one, dict)
    assert isinstance(other, dict)
    assert one.keys() == other.keys()
    return max(float((value.double() - other[name].double()).abs().max()) for name, value in one.items())


class TestTwoProcesses:
    def test_each_takes_its_share(self, facts: list[dict[str, object]]) -> None:
        assert [fact["items"] for fact in facts] == [[12, 13], [14, 15]]
        assert all(fact["first"] for fact in facts)
        assert all(fact["left"] for fact in facts)
        assert [fact["mean"] for fact in facts] == [{"a": 1.5, "b": 2.0}] * 2
        assert [fact["of first"] for fact in facts] == [7.0, 7.0]
        message = "batch size: expected a multiple of the number of processes, 2, found 3"
        assert all(str(fact["error"]).startswith(message) for fact in facts)

    def test_they_learn_what_one_process_learns(
        self, facts: list[dict[str, object]], folder: Path, tmp_path: Path
    ) -> None:
        run(tmp_path / "one")
        alone, together = (load_weights(path / CHECKPOINT) for path in (tmp_path / "one", folder / "whole"))
        for part in ("network", "average"):
            assert difference(alone[part], together[part]) < CLOSE
        best = [load_weights(path / BEST) for path in (tmp_path / "one", folder / "whole")]
        assert difference(*best) < CLOSE
        assert difference(facts[0]["whole"], facts[1]["whole"]) == 0

    def test_curves_are_those_of_whole_batches(self, folder: Path, tmp_path: Path) -> None:
        run(tmp_path / "one")
        tables = [
            np.genfromtxt(path / CURVES, delimiter=",", names=True)
            for path in (tmp_path / "one", folder / "whole")
        ]
        assert tables[0]["step"].tolist() == tables[1]["step"].tolist() == [4, 8, 12]
        for name in ("bce", "unlabelled", "val_bce"):
            np.testing.assert_allclose(tables[0][name], tables[1][name], atol=CLOSE)

    def test_a_killed_training_ends_with_the_same_weights(self, facts: list[dict[str, object]]) -> None:
        for fact in facts:
            assert difference(fact["resumed"], fact["whole"]) == 0

    def test_statistics_of_batches_stay_the_same(self, facts: list[dict[str, object]]) -> None:
        assert difference(facts[0]["normalised"], facts[1]["normalised"]) == 0

    def test_they_stop_together(self, facts: list[dict[str, object]], folder: Path) -> None:
        for name, steps in (("budget", 10**6), ("stale", 1000)):
            step = load_weights(folder / name / CHECKPOINT)["step"]
            assert 0 < step < steps
            assert difference(facts[0][name], facts[1][name]) == 0


class TestCommand:
    def test_it_trains_and_only_one_tells(self, tmp_path: Path) -> None:
        for seed in range(2):
            ct, truth = phantom_slice(seed, size=32)
            image, label = ct.pixels.astype(np.int16), truth.labels.astype(np.uint8)
            np.savez(tmp_path / f"p{seed}.npz", image=image[None], label=label[None])
        done = torchrun(
            *("-m", "fewct", "train", "unet", "--data", tmp_path / "p0.npz", "-o", tmp_path / "run"),
            *("--validation", tmp_path / "p1.npz", "--size-px", 32, "--widths", 2, 4, 4, "--batch-size", 2),
            *("--steps", 2, "--validate-every", 1, "--workers", 0),
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("Network:") == 1
        assert "warning:" not in done.stderr
        assert (tmp_path / "run" / CURVES).read_text().count("\n") == 3
        assert (tmp_path / "run" / "model.onnx").exists()


class TestOneProcess:
    def test_it_has_everything(self) -> None:
        device = torch.device("cpu")
        with process_group("cpu", 3) as first:
            assert first
            assert not distributed.is_initialized()
            assert list(rank_slice(2, 3)) == [6, 7, 8]
            assert all_reduce_mean({"a": 2.0}, device) == {"a": 2.0}
            assert broadcast(2.5, device) == 2.5
            network = nn.BatchNorm2d(2)
            all_reduce_buffers(network)
            assert network.running_var is not None
            assert network.running_var.tolist() == [1, 1]

    def test_a_batch_that_cannot_be_shared_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(distributed, "is_torchelastic_launched", lambda: True)
        monkeypatch.setattr(distributed, "init_process_group", lambda *_, **__: None)
        monkeypatch.setattr(distributed, "is_initialized", lambda: True)
        monkeypatch.setattr(distributed, "get_world_size", lambda: 2)
        with pytest.raises(UsageError, match="number of processes, 2, found 3"), process_group("cpu", 4, 3):
            pass

    @pytest.mark.parametrize("name", ["gpu", "cuda:x"])
    def test_no_such_device(self, name: str) -> None:
        with pytest.raises(
            UsageError, match=f"--device {name}: expected cpu, or cuda.*that torch does not know"
        ):
            rank_device(name)

    def test_no_gpu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        with pytest.raises(UsageError, match="found no GPU that torch can use"):
            rank_device("cuda")

    @pytest.mark.parametrize(
        ("name", "rank", "message"),
        [
            ("cuda", 2, "found 2 GPUs for 3 processes"),
            ("cuda:1", 0, "one GPU for several processes; --device cuda gives each its own"),
        ],
    )
    def test_too_few_gpus(self, monkeypatch: pytest.MonkeyPatch, name: str, rank: int, message: str) -> None:
        monkeypatch.setattr(distributed, "is_torchelastic_launched", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setenv("LOCAL_RANK", f"{rank}")
        monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
        with pytest.raises(UsageError, match=message), process_group(name):
            pass


if __name__ == "__main__":
    work(Path(sys.argv[1]))


@pytest.mark.parametrize(("capability", "works"), [((7, 5), False), ((8, 0), True), ((9, 0), True)])
def test_a_gpu_without_bfloat16_is_told_before_training(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], works: bool
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Tesla T4")
    with process_group("cuda"), process_group("cpu", bfloat16=True):
        pass
    expected = nullcontext() if works else pytest.raises(UsageError, match=r"Tesla T4 of 7\.5.*--no-bfloat16")
    with expected, process_group("cuda", 8, bfloat16=True) as is_main:
        assert is_main
