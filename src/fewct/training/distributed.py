"""Training in several processes at once, a GPU or some cores each, as `torchrun` starts them.

Each process (rank) takes its share of every batch, and the gradients are averaged before each step: so all
processes hold the same weights, and a batch is as large as in one process. A loss that is an average over
annotated pixels is averaged within each share first. Randomness in the network itself, such as dropout,
differs between processes.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from inspect import signature
from pathlib import Path
from typing import Any

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from fewct.errors import FewctError, UsageError

BFLOAT16_FROM = (8, 0)  # compute capability
TIMEOUT = timedelta(hours=2)  # for the other processes, while the main process validates


@contextmanager
def process_group(device: str, *batch_sizes: int, bfloat16: bool = False) -> Iterator[bool]:
    """Join the processes that `torchrun` started beside this one; without it, this one is alone.

    After an error the group is left as it is: the process ends, and torchrun ends the others.

    Args:
        device: "cpu", or "cuda" for a GPU a process.
        batch_sizes: Each must be divisible by the number of processes.
        bfloat16: Whether the device must compute in it.

    Yields:
        Whether this is the main process, the one that writes.

    Raises:
        UsageError: If a batch cannot be divided, there are too few GPUs, or they lack bfloat16.
    """
    if bfloat16:
        _check_bfloat16(device)
    if not (distributed.is_available() and distributed.is_torchelastic_launched()):
        yield True
        return
    own = _rank_gpu(device) if device.startswith("cuda") else None
    if own is None:
        distributed.init_process_group("gloo", timeout=TIMEOUT)
    else:
        torch.cuda.set_device(own)
        distributed.init_process_group("nccl", timeout=TIMEOUT, device_id=own)
    for batch_size in batch_sizes:
        rank_batch_size(batch_size)
    yield is_main_process()
    distributed.destroy_process_group()


@contextmanager
def gpu_errors(device: str, checkpoint: Path) -> Iterator[None]:
    """Say how a training goes on whose GPU fails.

    Args:
        device: As the user named it.
        checkpoint: The training's last one, if it exists.

    Raises:
        FewctError: If the block ends with an error of CUDA.
    """
    try:
        yield
    except RuntimeError as error:
        lost = isinstance(error, getattr(torch, "AcceleratorError", ())) or "CUDA error" in str(error)
        if not lost:
            raise
        go_on = f"The same command goes on from {checkpoint}: nothing before it is lost."
        raise FewctError(
            f"--device {device}",
            expected="a GPU that works until the training ends",
            found=str(error).partition("\n")[0],
            fix=go_on if checkpoint.exists() else "There is no checkpoint yet: the same command begins anew.",
        ) from error


def rank_number() -> int:
    """Return the number of this process in its group; 0 outside of one."""
    return distributed.get_rank() if in_process_group() else 0


def in_process_group() -> bool:
    """Tell whether this process trains in a group of several."""
    return distributed.is_available() and distributed.is_initialized()


def is_main_process() -> bool:
    """Tell whether this process is the one that validates and writes (rank 0)."""
    return not in_process_group() or distributed.get_rank() == 0


def rank_device(name: str) -> torch.device:
    """Return the device of this process; in a group, each has the GPU of its local rank.

    Raises:
        UsageError: If there is no such device.
    """
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise _no_device(name, "a name that torch does not know") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise _no_device(name, "no GPU that torch can use")
    return _rank_gpu(name) if in_process_group() and device.type == "cuda" else device


def divide_threads() -> None:
    """Divide the threads that torch may use among the processes of this machine."""
    if in_process_group():
        torch.set_num_threads(max(1, torch.get_num_threads() // int(os.environ["LOCAL_WORLD_SIZE"])))


def rank_batch_size(batch_size: int) -> int:
    """Return how many items of a batch each process takes.

    Raises:
        UsageError: If the batch cannot be divided evenly.
    """
    count = distributed.get_world_size() if in_process_group() else 1
    if batch_size % count:
        raise UsageError(
            "batch size",
            expected=f"a multiple of the number of processes, {count}",
            found=f"{batch_size}",
            fix="Choose another batch size, or another --nproc-per-node of torchrun.",
        )
    return batch_size // count


def rank_slice(step: int, batch_size: int) -> range:
    """Return the indices of the items that this process takes of a step's batch.

    Example:
        >>> rank_slice(3, batch_size=4)
        range(12, 16)
    """
    share = rank_batch_size(batch_size)
    first = step * batch_size + (distributed.get_rank() * share if in_process_group() else 0)
    return range(first, first + share)


def wrap_ddp(network: nn.Module, device: torch.device) -> nn.Module:
    """Return a network with the outputs of `network` whose gradients are averaged over the processes.

    On GPUs, batch normalisations use the statistics of the whole batch; on CPUs, of each share.

    Args:
        network: The same in all processes; its batch normalisations are exchanged in place.
        device: Of this process, where the network is.
    """
    if not in_process_group():
        return network
    # this option has two names: torch 2.13 warns of the old one, and earlier ones do not know the new one
    names = signature(DistributedDataParallel).parameters
    no_broadcast: dict[str, Any] = {
        "forward_sync_buffers" if "forward_sync_buffers" in names else "broadcast_buffers": False
    }
    if device.type != "cuda":
        return DistributedDataParallel(network, **no_broadcast)
    synchronised: Any = nn.SyncBatchNorm
    whole: nn.Module = synchronised.convert_sync_batchnorm(network)
    return DistributedDataParallel(whole, device_ids=[device], **no_broadcast)


@torch.no_grad()
def all_reduce_buffers(network: nn.Module) -> None:
    """Average the statistics of batch normalisation over the processes, so that all networks stay equal."""
    buffers = [buffer for buffer in network.buffers() if buffer.is_floating_point()]
    if not in_process_group() or not buffers:
        return
    together = torch.cat([buffer.flatten() for buffer in buffers])
    distributed.all_reduce(together)
    together /= distributed.get_world_size()
    start = 0
    for buffer in buffers:
        buffer.copy_(together[start : start + buffer.numel()].view_as(buffer))
        start += buffer.numel()


def all_reduce_mean(values: Mapping[str, float], device: torch.device) -> dict[str, float]:
    """Return the mean of each value over the processes; all must call it."""
    if not in_process_group():
        return dict(values)
    tensor = torch.tensor(list(values.values()), dtype=torch.float64, device=device)
    distributed.all_reduce(tensor)
    means = (tensor / distributed.get_world_size()).tolist()
    return dict(zip(values, means, strict=True))


def broadcast(value: float, device: torch.device) -> float:
    """Return the main process's value; all must call it."""
    if not in_process_group():
        return value
    tensor = torch.tensor(value, dtype=torch.float64, device=device)
    distributed.broadcast(tensor, src=0)
    return float(tensor)


def _rank_gpu(name: str) -> torch.device:
    """Return the GPU of this process's local rank."""
    number, found = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if name != "cuda":
        raise _no_device(name, "one GPU for several processes; --device cuda gives each its own")
    if number >= found:
        raise _no_device(name, f"{found} GPUs for {os.environ['LOCAL_WORLD_SIZE']} processes")
    return torch.device("cuda", number)


def _check_bfloat16(device: str) -> None:
    """Raise unless a GPU, if it is one, computes in bfloat16."""
    if not device.startswith("cuda") or not torch.cuda.is_available():
        return
    major, minor = torch.cuda.get_device_capability(device)
    if (major, minor) < BFLOAT16_FROM:
        raise UsageError(
            "--bfloat16",
            expected="a GPU that computes in it, of compute capability 8.0 or more",
            found=f"{torch.cuda.get_device_name(device)} of {major}.{minor}",
            fix="Train with --no-bfloat16, or on another device.",
        )


def _no_device(name: str, found: str) -> UsageError:
    return UsageError(
        f"--device {name}",
        expected="cpu, or cuda where there is a GPU for each process",
        found=found,
        fix="Choose another device.",
    )
