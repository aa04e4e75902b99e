"""Training in several processes at once, a GPU or some cores each, as `torchrun` starts them.

Each process takes its share of every batch, and the gradients are averaged before each step: so all
processes hold the same weights, and a batch is as large as in one process. A loss that is an average over
known pixels is averaged within each share first. What is random in the network itself, such as dropout,
differs between processes.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from inspect import signature
from typing import Any

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from fewct.errors import UsageError

PATIENCE = timedelta(hours=2)  # of the others, while the first validates


@contextmanager
def joined(device: str, *batch_sizes: int) -> Iterator[bool]:
    """Join the processes that `torchrun` started beside this one; without it, this one is alone.

    After an error the group is left as it is: the process ends, and torchrun ends the others.

    Args:
        device: "cpu", or "cuda" for a GPU a process.
        batch_sizes: What must be divisible by the number of processes.

    Yields:
        Whether this is the first process, the one that writes.

    Raises:
        UsageError: If a batch cannot be shared out, or there are too few GPUs.
    """
    if not (distributed.is_available() and distributed.is_torchelastic_launched()):
        yield True
        return
    own = _own_gpu(device) if device.startswith("cuda") else None
    if own is None:
        distributed.init_process_group("gloo", timeout=PATIENCE)
    else:
        torch.cuda.set_device(own)
        distributed.init_process_group("nccl", timeout=PATIENCE, device_id=own)
    for batch_size in batch_sizes:
        share_of(batch_size)
    yield is_first()
    distributed.destroy_process_group()


def is_joined() -> bool:
    """Tell whether this process trains together with others."""
    return distributed.is_available() and distributed.is_initialized()


def is_first() -> bool:
    """Tell whether this process is the one that validates and writes."""
    return not is_joined() or distributed.get_rank() == 0


def own_device(name: str) -> torch.device:
    """Return the device of this process; of several, each has the GPU of its number.

    Raises:
        UsageError: If there is no such device.
    """
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise _no_device(name, "a name that torch does not know") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise _no_device(name, "no GPU that torch can use")
    return _own_gpu(name) if is_joined() and device.type == "cuda" else device


def share_threads() -> None:
    """Divide the threads that torch may use among the processes of this machine."""
    if is_joined():
        torch.set_num_threads(max(1, torch.get_num_threads() // int(os.environ["LOCAL_WORLD_SIZE"])))


def share_of(batch_size: int) -> int:
    """Return how much of a batch each process takes.

    Raises:
        UsageError: If not all would take as much.
    """
    count = distributed.get_world_size() if is_joined() else 1
    if batch_size % count:
        raise UsageError(
            "batch size",
            expected=f"a multiple of the number of processes, {count}",
            found=f"{batch_size}",
            fix="Choose another batch size, or another --nproc-per-node of torchrun.",
        )
    return batch_size // count


def own_items(step: int, batch_size: int) -> range:
    """Return the numbers of the items that this process takes of a step's batch.

    Example:
        >>> own_items(3, batch_size=4)
        range(12, 16)
    """
    share = share_of(batch_size)
    first = step * batch_size + (distributed.get_rank() * share if is_joined() else 0)
    return range(first, first + share)


def in_parallel(network: nn.Module, device: torch.device) -> nn.Module:
    """Return a network that answers as `network` does, and whose gradients are averaged over the processes.

    On GPUs, batch normalisations see all shares of a batch; on CPUs, each its own.

    Args:
        network: The same in all processes; its batch normalisations are exchanged in place.
        device: Of this process, where the network is.
    """
    if not is_joined():
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
def average_statistics(network: nn.Module) -> None:
    """Average what the batch normalisations of all processes saw, so that the networks stay the same."""
    buffers = [buffer for buffer in network.buffers() if buffer.is_floating_point()]
    if not is_joined() or not buffers:
        return
    together = torch.cat([buffer.flatten() for buffer in buffers])
    distributed.all_reduce(together)
    together /= distributed.get_world_size()
    start = 0
    for buffer in buffers:
        buffer.copy_(together[start : start + buffer.numel()].view_as(buffer))
        start += buffer.numel()


def averaged(values: Mapping[str, float], device: torch.device) -> dict[str, float]:
    """Return the mean of each value over the processes; all must call it."""
    if not is_joined():
        return dict(values)
    tensor = torch.tensor(list(values.values()), dtype=torch.float64, device=device)
    distributed.all_reduce(tensor)
    means = (tensor / distributed.get_world_size()).tolist()
    return dict(zip(values, means, strict=True))


def of_first(value: float, device: torch.device) -> float:
    """Return the first process's value; all must call it."""
    if not is_joined():
        return value
    tensor = torch.tensor(value, dtype=torch.float64, device=device)
    distributed.broadcast(tensor, src=0)
    return float(tensor)


def _own_gpu(name: str) -> torch.device:
    """Return the GPU of this process among those that `torchrun` started on this machine."""
    number, found = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
    if name != "cuda":
        raise _no_device(name, "one GPU for several processes; --device cuda gives each its own")
    if number >= found:
        raise _no_device(name, f"{found} GPUs for {os.environ['LOCAL_WORLD_SIZE']} processes")
    return torch.device("cuda", number)


def _no_device(name: str, found: str) -> UsageError:
    return UsageError(
        f"--device {name}",
        expected="cpu, or cuda where there is a GPU for each process",
        found=found,
        fix="Choose another device.",
    )
