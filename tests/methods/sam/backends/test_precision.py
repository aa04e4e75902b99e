"""The image encoder in bfloat16: close to float32, and refused where the processor does not have it."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fewct.errors import UsageError
from fewct.methods.sam.backends import torch as torch_backend
from fewct.methods.sam.backends.torch import TorchBackend, computes_in_bfloat16
from fewct.methods.sam.modeling.sam import Sam
from methods.sam.reference import official, ours

needs_bfloat16 = pytest.mark.skipif(not computes_in_bfloat16(), reason="the processor has no bfloat16")


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEWCT_NUM_THREADS", "1")


@pytest.fixture(scope="module")
def network() -> Sam:
    return ours(official())


@pytest.fixture(scope="module")
def pixels() -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(0, 1, (3, 128, 128)).astype(np.float32)


@needs_bfloat16
def test_embeddings_are_close(network: Sam, pixels: NDArray[np.float32]) -> None:
    exact, rounded = (
        TorchBackend(network, precision=precision).embed(pixels) for precision in ("float32", "bfloat16")
    )
    assert rounded.dtype == np.float32
    assert 0 < np.std(rounded - exact) < 0.02 * np.std(exact)


@needs_bfloat16
def test_masks_are_close(network: Sam, pixels: NDArray[np.float32]) -> None:
    xy = np.random.default_rng(1).uniform(0, 128, (20, 2, 2)).astype(np.float32)
    labels = np.tile(np.array([[1, -1]]), (20, 1))
    masks = []
    for precision in ("float32", "bfloat16"):
        backend = TorchBackend(network, precision=precision)
        drawn = backend.decode_masks(backend.encode_prompts(backend.embed(pixels), None), xy, labels, True)
        masks.append(drawn.logits > 0)
    assert 0.01 < masks[0].mean() < 0.99
    assert (masks[0] == masks[1]).mean() > 0.98


@needs_bfloat16
def test_weights_stay_as_they_were(network: Sam, pixels: NDArray[np.float32]) -> None:
    before = TorchBackend(network).embed(pixels)
    TorchBackend(network, precision="bfloat16").embed(pixels)
    np.testing.assert_array_equal(TorchBackend(network).embed(pixels), before)


def test_a_processor_without_it(network: Sam, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_backend, "computes_in_bfloat16", lambda: False)
    with pytest.raises(
        UsageError, match="precision: expected what this processor computes in, float32, foun"
    ):
        TorchBackend(network, precision="bfloat16")
    assert TorchBackend(network).precision == "float32"


def test_another_precision(network: Sam) -> None:
    unknown: Any = "float16"
    with pytest.raises(UsageError, match=r"what this processor computes in, .*found float16"):
        TorchBackend(network, precision=unknown)


def test_a_torch_that_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch_backend.torch.cpu, "get_capabilities", raising=False)
    assert not computes_in_bfloat16()
