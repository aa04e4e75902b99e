"""One training loop: seeded, resumable to the same weights, within a budget of minutes."""

import copy
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from fewct.errors import InputError
from fewct.io.atomic import write_text
from fewct.training.checkpoints import load_weights, save_weights

Batch: TypeAlias = Any  # whatever the data set's items collate to; the loss function knows
LossFunction: TypeAlias = Callable[[nn.Module, Batch], dict[str, Tensor]]

CHECKPOINT = "checkpoint.pt"
BEST = "best.pt"
CURVES = "curves.csv"
GRADIENT_NORM = 5.0


@dataclass(frozen=True)
class LoopConfig:
    """How long and how fast to train."""

    steps: int = 20_000
    """Number of steps, if time allows."""
    budget_minutes: float = 25.0
    """Time after which training ends; the schedule ends with it."""
    batch_size: int = 8
    """Crops a step."""
    learning_rate: float = 2e-3
    """Highest learning rate, after the warm-up."""
    weight_decay: float = 1e-3
    """Of AdamW."""
    schedule: Literal["cosine", "poly"] = "cosine"
    """How the learning rate falls: half a cosine, or (1 - progress)^0.9."""
    warmup_steps: int = 100
    """Steps during which the learning rate rises."""
    ema_decay: float = 0.998
    """Of the moving average of the weights, which is what is kept."""
    validate_every: int = 250
    """Steps between validations and checkpoints."""
    patience: int = 0
    """Validations without a better loss after which to stop; 0 to never stop early."""
    seed: int = 0
    """Of the weights and the data."""
    device: str = "cpu"
    """Where to train: cpu, cuda, cuda:1."""
    workers: int = 1
    """Processes that prepare data; 0 to prepare it in between steps."""
    bfloat16: bool = True
    """Whether to compute in mixed precision."""


@dataclass
class _State:
    """What a checkpoint holds; changed in place by the loop."""

    network: nn.Module
    average: nn.Module
    optimizer: torch.optim.Optimizer
    step: int = 0
    elapsed_s: float = 0.0
    best_loss: float = math.inf
    stale: int = 0


def fit(
    network: nn.Module,
    loss_function: LossFunction,
    training: Dataset[Any],
    validation: Sequence[Batch],
    config: LoopConfig,
    folder: Path,
) -> nn.Module:
    """Train a network, or go on from the folder's checkpoint.

    After a kill, the run goes on from its last checkpoint and ends with the same weights as without the kill,
    as long as `steps` ends it and not `budget_minutes`.

    Args:
        network: What to train, changed in place.
        loss_function: Gives the named losses of a batch; their sum is minimised.
        training: Data set whose item `i` is a function of `i` alone.
        validation: Batches that the loss is watched on.
        config: How to train.
        folder: Where the checkpoint, the best weights and the curves go; it must exist.

    Returns:
        The moving average with the lowest validation loss, or the last one without validation batches.

    Raises:
        InputError: If the folder's checkpoint is of another network or damaged.
        OutputError: If a file cannot be written; the last good checkpoint is kept.
    """
    device = torch.device(config.device)
    network.to(device)
    average = copy.deepcopy(network).requires_grad_(False)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    state = _State(network, average, optimizer)
    if (folder / CHECKPOINT).exists():
        _restore(state, folder / CHECKPOINT, device)
    start = time.monotonic() - state.elapsed_s
    with _progress() as progress:
        task = progress.add_task("training", total=1.0)
        for batch in _batches(training, config, state.step):
            losses = _step(state, loss_function, _to(batch, device), config, device)
            state.elapsed_s = time.monotonic() - start
            done = _progress_of(state, config)
            progress.update(
                task, completed=done, description=f"step {state.step}, loss {sum(losses.values()):.3f}"
            )
            if state.step % config.validate_every == 0 or done >= 1:
                _validate(state, loss_function, validation, losses, config, device, folder)
                if done >= 1 or (config.patience and state.stale >= config.patience):
                    break
    if validation and (folder / BEST).exists():
        average.load_state_dict(load_weights(folder / BEST))
    return average


def _progress_of(state: _State, config: LoopConfig) -> float:
    """Return the share of the training that is done, by steps or by time, whichever is further."""
    return min(1.0, max(state.step / config.steps, state.elapsed_s / (60 * config.budget_minutes)))


def learning_rate(step: int, progress: float, config: LoopConfig) -> float:
    """Return the learning rate at a step, with `progress` the share of the training that is done.

    Example:
        >>> learning_rate(500, 0.5, LoopConfig(learning_rate=0.1))
        0.05
    """
    fall = 0.5 * (1 + math.cos(math.pi * progress)) if config.schedule == "cosine" else (1 - progress) ** 0.9
    return config.learning_rate * min(1.0, (step + 1) / config.warmup_steps) * fall


def _step(
    state: _State, loss_function: LossFunction, batch: Batch, config: LoopConfig, device: torch.device
) -> dict[str, float]:
    """Take one step and return the losses."""
    rate = learning_rate(state.step, _progress_of(state, config), config)
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    state.network.train()
    with _precision(config, device):
        losses = loss_function(state.network, batch)
    total = torch.stack(list(losses.values())).sum()
    state.optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(total)
    nn.utils.clip_grad_norm_(state.network.parameters(), GRADIENT_NORM)
    state.optimizer.step()
    state.step += 1
    _update_average(state.average, state.network, min(config.ema_decay, state.step / (10 + state.step)))
    return {name: float(value.detach()) for name, value in losses.items()}


@torch.no_grad()
def _update_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move the average of all weights and statistics a little towards the network."""
    source = network.state_dict()
    for name, value in average.state_dict().items():
        if value.dtype.is_floating_point:
            value.lerp_(source[name], 1 - decay)
        else:
            value.copy_(source[name])


def _validate(
    state: _State,
    loss_function: LossFunction,
    validation: Sequence[Batch],
    losses: dict[str, float],
    config: LoopConfig,
    device: torch.device,
    folder: Path,
) -> None:
    """Measure the average's loss, keep the best weights, write the curves and the checkpoint."""
    row: dict[str, float] = {"step": state.step, "minutes": round(state.elapsed_s / 60, 3), **losses}
    if validation:
        state.average.eval()
        with torch.no_grad(), _precision(config, device):
            values = [loss_function(state.average, _to(batch, device)) for batch in validation]
        for name in values[0]:
            row[f"val_{name}"] = float(torch.stack([value[name] for value in values]).mean())
        loss = sum(value for name, value in row.items() if name.startswith("val_"))
        state.stale = 0 if loss < state.best_loss else state.stale + 1
        if loss < state.best_loss:
            state.best_loss = loss
            save_weights(state.average.state_dict(), folder / BEST)
    _write_row(row, folder / CURVES)
    save_weights(
        {
            "config": asdict(config),
            "network": state.network.state_dict(),
            "average": state.average.state_dict(),
            "optimizer": state.optimizer.state_dict(),
            "step": state.step,
            "elapsed_s": state.elapsed_s,
            "best_loss": state.best_loss,
            "stale": state.stale,
        },
        folder / CHECKPOINT,
    )


def _restore(state: _State, path: Path, device: torch.device) -> None:
    """Put a checkpoint's content into the state."""
    content = load_weights(path, device)
    try:
        state.network.load_state_dict(content["network"])
        state.average.load_state_dict(content["average"])
        state.optimizer.load_state_dict(content["optimizer"])
        state.step, state.elapsed_s = content["step"], content["elapsed_s"]
        state.best_loss, state.stale = content["best_loss"], content["stale"]
    except (KeyError, RuntimeError, ValueError) as error:
        raise InputError(
            path,
            expected="a checkpoint of the network that is trained",
            found=str(error).splitlines()[0],
            fix="Choose an empty folder, or the recipe that the checkpoint comes from.",
        ) from error


def _write_row(row: dict[str, float], path: Path) -> None:
    """Add a line to the table of curves, in place of one that a run wrote just before it was killed."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else [",".join(row)]
    earlier = [line for line in lines[1:] if float(line.partition(",")[0]) < row["step"]]
    write_text("\n".join([lines[0], *earlier, ",".join(map(str, row.values()))]) + "\n", path)


def _batches(training: Dataset[Any], config: LoopConfig, first_step: int) -> Iterator[Batch]:
    """Yield the batches of step `first_step` and those after it."""
    order = range(first_step * config.batch_size, config.steps * config.batch_size)
    loader: Iterable[Batch] = DataLoader(
        training,
        batch_size=config.batch_size,
        sampler=order,
        num_workers=config.workers,
        pin_memory=config.device.startswith("cuda"),
    )
    return iter(loader)


def _to(batch: Batch, device: torch.device) -> Batch:
    return type(batch)(*(tensor.to(device, non_blocking=True) for tensor in batch))


def _precision(config: LoopConfig, device: torch.device) -> Any:
    return torch.autocast(device.type, torch.bfloat16) if config.bfloat16 else nullcontext()


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
