"""How close two computations of one number must come: to ten digits in float64, or as float32 rounds."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType, SimpleNamespace
from unittest.mock import patch

import torch

EXACT = {"rtol": 0, "atol": 1e-10}
"""For float64: 1,000 summed terms of up to 100 round by 1,000 * 100 * 2^-53 = 1e-11."""


def float32_rounding(terms: int, largest: float) -> dict[str, float]:
    """Return the tolerances for sums in float32, whose order is the processor's own.

    Args:
        terms: Number of terms that are summed one after the other, over all layers.
        largest: Magnitude of the results and the sums on the way.
    """
    return {"rtol": 0, "atol": terms * largest * 2**-24}


@contextmanager
def in_double(*modules: ModuleType) -> Iterator[None]:
    """Make tensors and networks float64, also where the code of modules asks for float32 by name."""
    wider = SimpleNamespace(**{**vars(torch), "float": torch.float64, "float32": torch.float64})
    torch.set_default_dtype(torch.float64)
    with ExitStack() as patches:
        patches.callback(torch.set_default_dtype, torch.float32)
        for module in modules:
            patches.enter_context(patch.object(module, "torch", wider))
        yield
