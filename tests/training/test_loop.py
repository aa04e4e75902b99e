"""The training loop: what it learns, how it resumes, what it refuses."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from fewct.errors import FewctError, InputError
from fewct.training import checkpoints, loop
from fewct.training.checkpoints import load_weights
from fewct.training.curves import CURVES
from fewct.training.loop import LoopConfig, fit, learning_rate
from fewct.training.mean_teacher import ViewPair


class Pair(NamedTuple):
    x: Tensor
    y: Tensor


class Lines(Dataset[Pair]):
    """Item `i` is a point of y = 3 x[0] - x[1], as a function of `i` alone."""

    def __len__(self) -> int:
        return 100_000

    def __getitem__(self, index: int) -> Pair:
        x = torch.randn(2, 1, 1, generator=torch.Generator().manual_seed(index))
        return Pair(x, (3 * x[:1] - x[1:]))


class Stopping(Lines):
    """The same points, until the process "dies" at an item."""

    def __init__(self, at: int) -> None:
        self.at = at

    def __getitem__(self, index: int) -> Pair:
        if index >= self.at:
            raise KeyboardInterrupt
        return super().__getitem__(index)


def squared_error(network: nn.Module, batch: Pair) -> dict[str, Tensor]:
    return {"error": (network(batch.x).float() - batch.y).square().mean()}


def make_network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 8, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 1, 1))


CONFIG = LoopConfig(
    steps=60, budget_minutes=10, batch_size=4, warmup_steps=5, validate_every=20, workers=0, bfloat16=False
)


def validation() -> list[Pair]:
    items = [Lines()[90_000 + i] for i in range(32)]
    return [Pair(torch.stack([item.x for item in items]), torch.stack([item.y for item in items]))]


def run(folder: Path, config: LoopConfig = CONFIG, data: Dataset[Pair] | None = None) -> nn.Module:
    folder.mkdir(exist_ok=True)
    return fit(make_network(), squared_error, data or Lines(), validation(), config, folder)


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    theirs = other.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in one.state_dict().items())


def test_a_killed_run_ends_with_the_weights_of_an_unbroken_one(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", data=Stopping(at=4 * 47))  # after the checkpoint of step 40
    resumed = run(tmp_path / "killed")
    assert same_weights(whole, resumed)
    assert (tmp_path / "killed" / CURVES).read_text().count("\n") == 4  # a header, steps 20, 40, 60


def test_progress_is_told_after_each_step(tmp_path: Path) -> None:
    told: list[tuple[str, float]] = []
    network, items = make_network(), validation()
    (tmp_path / "run").mkdir()
    config = replace(CONFIG, steps=4, validate_every=2)
    fit(
        network,
        squared_error,
        Lines(),
        items,
        config,
        tmp_path / "run",
        progress=lambda *one: told.append(one),
    )
    assert [share for _, share in told] == [0.25, 0.5, 0.75, 1.0]
    assert [text.partition(", loss ")[0] for text, _ in told] == ["step 1", "step 2", "step 3", "step 4"]


def test_it_learns_and_keeps_the_best_average(tmp_path: Path) -> None:
    config = LoopConfig(
        steps=400,
        batch_size=16,
        learning_rate=0.02,
        warmup_steps=5,
        validate_every=100,
        workers=0,
        bfloat16=False,
    )
    network = run(tmp_path / "run", config).eval()
    error = float(squared_error(network, validation()[0])["error"])
    assert error < 0.5  # the variance of y is 10
    lines = (tmp_path / "run" / CURVES).read_text().splitlines()
    column = lines[0].split(",").index("val_error")
    assert error == pytest.approx(min(float(line.split(",")[column]) for line in lines[1:]), rel=1e-4)


def test_the_budget_ends_it(tmp_path: Path) -> None:
    run(tmp_path / "run", LoopConfig(steps=10**6, budget_minutes=0.01, workers=0, bfloat16=False))
    content = load_weights(tmp_path / "run" / loop.CHECKPOINT)
    assert 0 < content["step"] < 10**6


def test_it_stops_early_when_validation_grows_no_better(tmp_path: Path) -> None:
    """Nothing is learned: the validation at step 10 is the best, those at 20 and 30 are no better."""
    config = replace(CONFIG, steps=50, learning_rate=0.0, validate_every=10, patience=2)
    fit(nn.Conv2d(2, 1, 1), squared_error, Lines(), validation(), config, tmp_path)
    assert load_weights(tmp_path / loop.CHECKPOINT)["step"] == 30


def test_learning_rate_by_hand() -> None:
    config = LoopConfig(learning_rate=0.1, warmup_steps=4)
    warmup = [learning_rate(step, 0.0, config) for step in (0, 1, 3, 4, 100)]
    assert warmup == pytest.approx([0.025, 0.05, 0.1, 0.1, 0.1])
    cosine = [learning_rate(9, progress, config) for progress in (1 / 3, 0.5, 2 / 3, 1.0)]
    assert cosine == pytest.approx([0.075, 0.05, 0.025, 0.0])
    poly = replace(config, schedule="poly")
    assert learning_rate(9, 0.75, poly) == pytest.approx(0.1 * 0.25**0.9)
    assert learning_rate(1, 0.75, poly) == pytest.approx(0.05 * 0.25**0.9)


def test_the_average_follows_quickly_at_first(tmp_path: Path) -> None:
    """After n steps its decay is n / (10 + n), at most that of the settings."""

    def first_steps(steps: int, **changes: float) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        network = make_network()
        folder = tmp_path / f"{steps}{changes}"
        folder.mkdir()
        average = fit(network, squared_error, Lines(), [], replace(CONFIG, steps=steps, **changes), folder)
        return network.state_dict(), average.state_dict()

    start = make_network().state_dict()
    (one, average_1), (two, average_2), (_, slow) = (
        first_steps(1),
        first_steps(2),
        first_steps(1, ema_decay=0.05),
    )
    for name in ("0.weight", "1.running_mean", "3.bias"):
        assert not torch.equal(start[name], one[name])
        torch.testing.assert_close(average_1[name], start[name].lerp(one[name], 10 / 11))
        torch.testing.assert_close(average_2[name], average_1[name].lerp(two[name], 10 / 12))
        torch.testing.assert_close(slow[name], start[name].lerp(one[name], 0.95))
    assert average_2["1.num_batches_tracked"] == 2


class Views(Dataset[ViewPair]):
    """Pairs of empty slices."""

    def __len__(self) -> int:
        return 100_000

    def __getitem__(self, index: int) -> ViewPair:
        return ViewPair(torch.zeros(2, 1, 1), torch.zeros(2, 1, 1))


@pytest.mark.parametrize(("steps", "weight"), [(1, 0.0), (3, 0.25), (5, 0.5), (6, 0.5)])
def test_unlabelled_slices_reach_their_weight_after_a_fifth_of_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int, weight: float
) -> None:
    """Their loss is the sum of the weights here, so that the gradient tells how much it counts."""
    sizes = []

    def sum_of_weights(network: nn.Module, _: nn.Module, pair: ViewPair) -> Tensor:
        sizes.append(len(pair[0]))
        return network.get_parameter("weight").sum()

    monkeypatch.setattr(loop, "consistency_loss", sum_of_weights)
    network = nn.Conv2d(2, 1, 1)
    config = replace(CONFIG, steps=20, unlabelled_weight=0.5, unlabelled_batch_size=3)
    with pytest.raises(KeyboardInterrupt):
        fit(
            *(network, lambda net, _: {"none": 0 * net.weight.sum()}, Stopping(at=4 * steps), [], config),
            tmp_path,
            Views(),
        )
    assert network.weight.grad is not None
    assert network.weight.grad.ravel().tolist() == pytest.approx([weight, weight])
    assert sizes == [3] * steps


def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each look at the clock find it 6 seconds later."""
    ticks = itertools.count(1000, 6)
    monkeypatch.setattr(loop.time, "monotonic", lambda: float(next(ticks)))


def test_time_before_a_kill_counts_for_the_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock(monkeypatch)
    config = replace(CONFIG, steps=1000, budget_minutes=1, validate_every=4)
    run(tmp_path / "whole", config)
    assert load_weights(tmp_path / "whole" / loop.CHECKPOINT)["step"] == 10
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", config, Stopping(at=4 * 6))  # after the checkpoint of step 4
    run(tmp_path / "killed", config)
    assert load_weights(tmp_path / "killed" / loop.CHECKPOINT)["step"] == 10
    minutes = [line.split(",")[1] for line in (tmp_path / "killed" / CURVES).read_text().splitlines()]
    assert minutes == ["minutes", "0.4", "0.8", "1.0"]


def test_validation_losses_are_means_over_batches(tmp_path: Path) -> None:
    def labels(network: nn.Module, batch: Pair) -> dict[str, Tensor]:
        return {"one": batch.y.mean() + 0 * network(batch.x).sum(), "two": 2 * batch.y.mean()}

    items = [Pair(torch.zeros(1, 2, 1, 1), torch.full((1, 1, 1, 1), value)) for value in (1.0, 4.0)]
    fit(make_network(), labels, Lines(), items, replace(CONFIG, steps=2, validate_every=1), tmp_path)
    header, *rows = (line.split(",") for line in (tmp_path / CURVES).read_text().splitlines())
    assert [row[header.index("step")] for row in rows] == ["1", "2"]
    assert [float(row[header.index("val_one")]) for row in rows] == [2.5, 2.5]
    assert [float(row[header.index("val_two")]) for row in rows] == [5.0, 5.0]
    assert load_weights(tmp_path / loop.CHECKPOINT)["stale"] == 1


def test_default_settings() -> None:
    assert LoopConfig() == LoopConfig(
        steps=20_000,
        budget_minutes=25.0,
        batch_size=8,
        learning_rate=2e-3,
        weight_decay=1e-3,
        schedule="cosine",
        warmup_steps=100,
        ema_decay=0.998,
        validate_every=250,
        patience=0,
        seed=0,
        device="cpu",
        workers=1,
        bfloat16=True,
        unlabelled_batch_size=4,
        unlabelled_weight=1.0,
        tensorboard=False,
    )


@pytest.mark.parametrize(("scale", "clipped"), [(1e6, True), (1e-3, False)])
def test_gradients_are_clipped_to_a_norm_of_5(tmp_path: Path, scale: float, clipped: bool) -> None:
    def scaled(network: nn.Module, batch: Pair) -> dict[str, Tensor]:
        return {"error": scale * squared_error(network, batch)["error"]}

    network = make_network()
    fit(network, scaled, Lines(), [], replace(CONFIG, steps=1), tmp_path)
    gradients = [value.grad for value in network.parameters() if value.grad is not None]
    norm = float(torch.linalg.vector_norm(torch.cat([gradient.ravel() for gradient in gradients])))
    assert norm == pytest.approx(5, rel=1e-4) if clipped else 0 < norm < 0.1


def test_a_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    run(tmp_path / "run")
    with pytest.raises(InputError, match="checkpoint of the network that is trained"):
        fit(nn.Conv2d(2, 1, 1), squared_error, Lines(), [], CONFIG, tmp_path / "run")


def part_of(path: Path) -> Path:
    """Return the one part of a small checkpoint."""
    (part,) = path.parent.glob("checkpoint-*.part")
    return part


def cut_short(path: Path) -> None:
    part_of(path).write_bytes(part_of(path).read_bytes()[:1000])


def edit(path: Path) -> None:
    """Change one bit of a weight."""
    content = bytearray(part_of(path).read_bytes())
    content[content.index(load_weights(path)["network"]["0.weight"].numpy().tobytes())] ^= 1
    part_of(path).write_bytes(bytes(content))


def lose(path: Path) -> None:
    part_of(path).unlink()


def cut_manifest(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:50])


def other_manifest(path: Path) -> None:
    path.write_text('{"parts": {}}')


@pytest.mark.parametrize("damage", [cut_short, edit, lose, cut_manifest, other_manifest])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    run(tmp_path / "run")
    damage(tmp_path / "run" / loop.CHECKPOINT)
    with pytest.raises(InputError, match=r"checkpoint\.pt: expected a whole file of weights"):
        run(tmp_path / "run")


def test_a_checkpoint_has_parts_of_a_limited_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(tmp_path / "whole")
    monkeypatch.setattr(checkpoints, "PART_BYTES", 3000)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", data=Stopping(at=4 * 47))  # after the checkpoint of step 40
    parts = sorted(tmp_path.glob("run/checkpoint-*"))
    assert [part.name for part in parts] == [f"checkpoint-0000040-{k}.part" for k in range(len(parts))]
    assert [part.stat().st_size for part in parts[:-1]] == [3000] * (len(parts) - 1)
    assert len(parts) > 2
    assert same_weights(whole, run(tmp_path / "run"))


def test_a_kill_between_parts_leaves_the_checkpoint_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(tmp_path / "whole")

    def die(*_: object) -> None:
        raise SystemExit

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", data=Stopping(at=4 * 27))  # after the checkpoint of step 20
    before = {path.name: path.read_bytes() for path in tmp_path.glob("run/checkpoint*")}
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "write_text", die)  # all parts are there, the manifest is not
        patch.setattr(Path, "unlink", die)  # a killed process cleans nothing up
        with pytest.raises(SystemExit):
            run(tmp_path / "run")
    after = {path.name: path.read_bytes() for path in tmp_path.glob("run/checkpoint*")}
    assert set(after) - set(before) == {"checkpoint-0000040-0.part"}
    assert before.items() <= after.items()
    assert same_weights(whole, run(tmp_path / "run"))
    assert part_of(tmp_path / "run" / loop.CHECKPOINT).name == "checkpoint-0000060-0.part"


@pytest.mark.parametrize(("steps", "fix"), [(27, r"goes on from \S+checkpoint\.pt"), (7, "begins anew")])
def test_a_gpu_that_fails_leaves_the_last_checkpoint(tmp_path: Path, steps: int, fix: str) -> None:
    def fail(network: nn.Module, batch: Pair) -> dict[str, Tensor]:
        left.pop()
        if not left:
            raise RuntimeError("CUDA error: unspecified launch failure\nCompile with TORCH_USE_CUDA_DSA")
        return squared_error(network, batch)

    left = [0] * (steps + 1 + (steps > 20))  # one call is of the validation
    (tmp_path / "run").mkdir()
    message = rf"expected a GPU that works.*, found CUDA error: unspecified launch failure\. .*{fix}"
    with pytest.raises(FewctError, match=message):
        fit(make_network(), fail, Lines(), validation(), CONFIG, tmp_path / "run")
    assert same_weights(run(tmp_path / "whole"), run(tmp_path / "run"))


def test_other_errors_of_torch_stay_what_they_are(tmp_path: Path) -> None:
    def fail(*_: object) -> dict[str, Tensor]:
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        fit(make_network(), fail, Lines(), [], CONFIG, tmp_path)


def test_a_checkpoint_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / loop.CHECKPOINT).write_text("no weights at all")
    with pytest.raises(InputError, match="a whole file of weights"):
        run(tmp_path)


@pytest.mark.parametrize("schedule", ["cosine", "poly"])
def test_the_learning_rate_rises_and_falls_to_zero(schedule: str) -> None:
    config = LoopConfig(
        schedule="cosine" if schedule == "cosine" else "poly", warmup_steps=10, learning_rate=1.0
    )
    assert learning_rate(0, 0.0, config) == pytest.approx(0.1)
    assert learning_rate(10, 0.0, config) == 1.0
    rates = [learning_rate(100, p / 10, config) for p in range(11)]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(0)


def test_a_network_in_use_is_put_back_to_training(tmp_path: Path) -> None:
    network = make_network().eval()
    fit(network, squared_error, Lines(), [], replace(CONFIG, steps=2), tmp_path)
    assert network.training
    assert network.state_dict()["1.num_batches_tracked"] == 2


def test_losses_count_by_their_sum(tmp_path: Path) -> None:
    """In the gradient of a step, and in the validation that is the best: 1 + 5 is worse than 4 + 1.5."""

    def two(network: nn.Module, batch: Pair) -> dict[str, Tensor]:
        first, second = network.get_parameter("weight").ravel()
        if batch.y.numel() == 1:  # of the validation: losses that change from step to step
            calls.append(1)
            values = [(4.0, 1.5), (1.0, 5.0)][len(calls) - 1]
            return {"one": 0 * first + values[0], "two": 0 * second + values[1]}
        return {"one": first, "two": 2 * second}

    calls: list[int] = []
    network = nn.Conv2d(2, 1, 1, bias=False)
    item = Pair(torch.zeros(1, 2, 1, 1), torch.zeros(1, 1, 1, 1))
    fit(network, two, Lines(), [item], replace(CONFIG, steps=2, validate_every=1), tmp_path)
    assert network.weight.grad is not None
    assert network.weight.grad.ravel().tolist() == pytest.approx([1, 2])
    assert load_weights(tmp_path / loop.CHECKPOINT)["stale"] == 1
    assert load_weights(tmp_path / loop.CHECKPOINT)["best_loss"] == pytest.approx(5.5)
