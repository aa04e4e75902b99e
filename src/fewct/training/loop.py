"""One training loop: seeded, resumable to the same weights, within a budget of minutes."""

import copy
import itertools
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from fewct.training.batches.builder import BatchBuilder
from fewct.training.checkpoints import State, load_weights, restore_state, save_state, save_weights
from fewct.training.curves import VALIDATION, open_curves
from fewct.training.distributed import (
    all_reduce_buffers,
    all_reduce_mean,
    broadcast,
    divide_threads,
    gpu_errors,
    is_main_process,
    rank_device,
    rank_slice,
    wrap_ddp,
)
from fewct.training.mean_teacher import ViewPair, consistency_loss

Batch: TypeAlias = Any  # whatever the data set's items collate to; the loss function knows
LossFunction: TypeAlias = Callable[[nn.Module, Batch], dict[str, Tensor]]
Progress: TypeAlias = Callable[[str, float], None]
"""Called in the main process after each step with its number and loss as text, and the share of the training
that is done, in [0, 1]."""

CHECKPOINT = "checkpoint.pt"
BEST = "best.pt"
GRADIENT_NORM = 5.0
UNLABELLED_RAMP = 0.2  # share of the training during which the weight of unlabelled slices rises


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
    """Steps during which the learning rate rises linearly."""
    ema_decay: float = 0.998
    """Of the moving average of the weights, which is the network that is kept."""
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
    unlabelled_batch_size: int = 4
    """Unlabelled slices a step, if there are any."""
    unlabelled_weight: float = 1.0
    """Weight of their loss, reached after a fifth of the training."""
    tensorboard: bool = False
    """Whether to write the curves for TensorBoard, too; needs the extra `tensorboard`."""


def fit(
    network: nn.Module,
    loss_function: LossFunction,
    training: Dataset[Any],
    validation: Sequence[Batch],
    config: LoopConfig,
    folder: Path,
    unlabelled: Dataset[ViewPair] | None = None,
    progress: Progress | None = None,
) -> nn.Module:
    """Train a network, or go on from the folder's checkpoint.

    After a kill, the run goes on from its last checkpoint and ends with the same weights as without the kill,
    as long as `steps` ends it and not `budget_minutes`. Within `fewct.training.distributed.process_group`,
    the processes train together, and the main process validates and writes.

    Args:
        network: Changed in place.
        loss_function: Gives the named losses of a batch; their sum is minimised.
        training: Data set whose item `i` is a function of `i` alone.
        validation: Batches for the validation loss; may be empty.
        config: Schedule, budget and device.
        folder: Where the checkpoint, the best weights and the curves go; it must exist.
        unlabelled: Unlabelled slices for the consistency loss between the network and its moving average;
            item `i` is a function of `i` alone. The network's output must then be a tuple of logits.
        progress: See `Progress`.

    Returns:
        The moving average with the lowest validation loss, or the last one without validation batches.

    Raises:
        FewctError: If the GPU fails; the last good checkpoint is kept.
        InputError: If the folder's checkpoint is of another network or damaged.
        MissingExtraError: If TensorBoard is wanted and not installed.
        OutputError: If a file cannot be written; the last good checkpoint is kept.
        UsageError: If there is no such device, or a batch cannot be divided.
    """
    device = rank_device(config.device)
    divide_threads()
    state = _begin(network, config, folder, device)
    parallel = wrap_ddp(network, device)
    start = time.monotonic() - state.elapsed_s
    batches = _batches(training, config.batch_size, config, state.step)
    pairs: Iterator[ViewPair | None] = itertools.repeat(None)
    if unlabelled is not None:
        pairs = _batches(unlabelled, config.unlabelled_batch_size, config, state.step)
    curves = open_curves(folder, state.step, tensorboard=config.tensorboard and is_main_process())
    with gpu_errors(config.device, folder / CHECKPOINT), curves as add_row:
        for batch, pair in zip(batches, pairs, strict=False):
            losses = _step(state, parallel, loss_function, _to(batch, device), _to(pair, device), config)
            state.elapsed_s = broadcast(time.monotonic() - start, device)
            done = _progress_of(state, config)
            if progress is not None and is_main_process():
                progress(f"step {state.step}, loss {sum(losses.values()):.3f}", done)
            if state.step % config.validate_every == 0 or done >= 1:
                losses = all_reduce_mean(losses, device)
                if is_main_process():
                    losses |= _validate(state, loss_function, validation, config, folder)
                    add_row({"step": state.step, "minutes": round(state.elapsed_s / 60, 3)} | losses)
                    save_state(state, asdict(config), folder / CHECKPOINT)
                state.stale = int(broadcast(state.stale, device))
                if done >= 1 or (config.patience and state.stale >= config.patience):
                    break
    if validation and (folder / BEST).exists():
        state.average.load_state_dict(load_weights(folder / BEST))
    return state.average


def _begin(network: nn.Module, config: LoopConfig, folder: Path, device: torch.device) -> State:
    """Return the state in which a training starts, or that of the folder's checkpoint."""
    network.to(device)
    average = copy.deepcopy(network).requires_grad_(False)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
    )
    state = State(network, average, optimizer)
    if (folder / CHECKPOINT).exists():
        restore_state(state, folder / CHECKPOINT, device)
    return state


def _progress_of(state: State, config: LoopConfig) -> float:
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
    state: State,
    parallel: nn.Module,
    loss_function: LossFunction,
    batch: Batch,
    pair: ViewPair | None,
    config: LoopConfig,
) -> dict[str, float]:
    """Take one step and return the losses, that of unlabelled slices without its weight."""
    progress = _progress_of(state, config)
    rate = learning_rate(state.step, progress, config)
    for group in state.optimizer.param_groups:
        group["lr"] = rate
    parallel.train()
    with _precision(config):
        losses = loss_function(parallel, batch)
        total = torch.stack(list(losses.values())).sum()
        if pair is not None:
            losses["unlabelled"] = consistency_loss(parallel, state.average, pair)
            weight = config.unlabelled_weight * min(1.0, progress / UNLABELLED_RAMP)
            total = total + weight * losses["unlabelled"]
    state.optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(total)
    nn.utils.clip_grad_norm_(state.network.parameters(), GRADIENT_NORM)
    state.optimizer.step()
    all_reduce_buffers(state.network)
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
    state: State,
    loss_function: LossFunction,
    validation: Sequence[Batch],
    config: LoopConfig,
    folder: Path,
) -> dict[str, float]:
    """Measure the average's losses, keep the best weights, and return the losses by their names in curves."""
    if not validation:
        return {}
    device = rank_device(config.device)
    state.average.eval()
    with torch.no_grad(), _precision(config):
        values = [loss_function(state.average, _to(batch, device)) for batch in validation]
    losses = {
        f"{VALIDATION}{name}": float(torch.stack([value[name] for value in values]).mean())
        for name in values[0]
    }
    loss = sum(losses.values())
    state.stale = 0 if loss < state.best_loss else state.stale + 1
    if loss < state.best_loss:
        state.best_loss = loss
        save_weights(state.average.state_dict(), folder / BEST)
    return losses


def _batches(data: Dataset[Any], batch_size: int, config: LoopConfig, first_step: int) -> Iterator[Batch]:
    """Yield this process's shares of the batches of step `first_step` and those after it."""
    if isinstance(data, BatchBuilder):
        steps = range(first_step, config.steps)
        if data.device.type != "cpu":
            return data.ahead(steps)
        return iter(DataLoader(data, None, sampler=steps, num_workers=config.workers))
    loader: Iterable[Batch] = DataLoader(
        data,
        batch_sampler=(list(rank_slice(step, batch_size)) for step in range(first_step, config.steps)),
        num_workers=config.workers,
        pin_memory=config.device.startswith("cuda"),
    )
    return iter(loader)


def _to(batch: Batch, device: torch.device) -> Batch:
    if batch is None:
        return None
    return type(batch)(*(tensor.to(device, non_blocking=True) for tensor in batch))


def _precision(config: LoopConfig) -> Any:
    device = torch.device(config.device).type
    return torch.autocast(device, torch.bfloat16) if config.bfloat16 else nullcontext()
