"""Batches and training steps run on a GPU: shown without one, by tensors that have a device but no content.

An operation on tensors of two devices fails, and so does whatever must know a value, such as `.item()`,
`bool` or `.tolist()`: a GPU would have to be waited for.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fewct.data.stacks import SliceStack
from fewct.methods.mosaic.batches import map_batch
from fewct.methods.mosaic.network import MosaicNet
from fewct.methods.mosaic.recipe import losses
from fewct.training.batches.anatomies import AnatomySlices
from fewct.training.batches.builder import BatchBuilder, SceneSource
from fewct.training.batches.randomness import Randomness
from fewct.training.batches.real import RealSlices
from fewct.training.batches.synthetic import draw
from fewct.training.synthetic_ct import Anatomy
from fewct.training.synthetic_tissues import tissue_of

CPU, GPU = torch.device("cpu"), torch.device("meta")
SIDE = 64


class OnGpu(Randomness):
    """Randomness on a device without a generator."""

    @classmethod
    def of(cls, device: torch.device, *seed: int) -> "OnGpu":
        assert device == GPU
        generator: Any = None
        return cls(generator, np.random.default_rng(seed))

    @property
    def device(self) -> torch.device:
        return GPU


class OneDevice(TorchDispatchMode):
    """Refuses operations on tensors of two devices, but for copies from one to the other."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensors = [one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor) and one.ndim]
        devices = {one.device for one in tensors}
        assert len(devices) <= 1 or "copy" in func.name(), func
        return func(*args, **(kwargs or {}))


@pytest.fixture
def one_device(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("fewct.training.batches.builder.Randomness", OnGpu)
    with OneDevice():
        yield


def moved(source: object) -> None:
    """Move the tensors of a source to the GPU, in place."""
    for name, value in vars(source).items():
        if isinstance(value, Tensor):
            setattr(source, name, value.to(GPU))
        elif isinstance(value, tuple) and isinstance(value[0], Tensor):
            setattr(source, name, type(value)(*(one.to(GPU) for one in value)))


def sources() -> tuple[RealSlices, RealSlices, AnatomySlices]:
    y, x = np.mgrid[:SIDE, :SIDE]
    labels = np.zeros((3, SIDE, SIDE), dtype=np.uint8)
    labels[:, np.hypot(y - 24, x - 20) < 11], labels[:, np.hypot(y - 22, x - 44) < 12] = 1, 2
    labels[:, np.hypot(y - 46, x - 32) < 6], labels[:, np.hypot(y - 40, x - 50) < 5] = 3, 4
    names = ("liver", "heart", "vertebra", "colon")
    tissues = {k: tissue_of(name) for k, name in enumerate(names, start=1)}
    anatomy = AnatomySlices(Anatomy(labels, tissues, 4.0, 3.0, complete=True), CPU)
    made = [
        SliceStack(
            source="made",
            unit=unit,
            label_offset_px=0.35,
            patient=np.array(["a"] * 3),
            pixels=labels.astype(np.int16),
            labels=labels,
            structure=labels,
            border_weight=labels,
            body=np.ones(labels.shape, dtype=np.bool_),
            pixel_mm=np.full(3, 2.0, dtype=np.float32),
            above=np.array([1, 2, -1], dtype=np.int32),
            gap_mm=np.array([5.0, np.nan, np.nan], dtype=np.float32),
        )
        for unit in ("hu", "grey")
    ]
    return RealSlices(made[0], CPU), RealSlices(made[1], CPU), anatomy


@pytest.mark.usefixtures("one_device")
@pytest.mark.parametrize("neighbour_share", [0.0, 0.5])
def test_a_step_is_built_and_taken_on_the_gpu_without_waiting(neighbour_share: float) -> None:
    hu, grey, anatomy = sources()
    for source in (hu, grey, anatomy):
        moved(source)
    builder = BatchBuilder(
        [
            SceneSource("hu", 0.3, hu.draw),
            SceneSource("grey", 0.3, grey.draw),
            SceneSource("anatomy", 0.4, lambda *args: draw(anatomy, *args)),
        ],
        map_batch,
        size_px=64,
        batch_size=12,
        neighbour_share=neighbour_share,
        steps=2,
        device=GPU,
        seed=(0,),
    )
    batch = builder[0]
    assert [one.device for one in batch] == [GPU] * 7
    assert batch.channels.shape == (12, 6, 64, 64)
    network = MosaicNet().to(GPU)
    total = torch.stack(list(losses(network, batch).values())).sum()
    torch.autograd.backward(total)
    assert total.device == GPU
    assert all(weight.grad is not None and weight.grad.device == GPU for weight in network.parameters())


@pytest.mark.usefixtures("one_device")
def test_waiting_and_mixing_are_noticed() -> None:
    with pytest.raises(RuntimeError, match="meta"):
        float(torch.ones(3, device=GPU).sum())
    with pytest.raises(AssertionError, match="cat"):
        torch.cat([torch.ones(3, device=GPU), torch.ones(3)])
