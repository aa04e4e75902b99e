"""Distances on tensors against SciPy's."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from fewct.training.batches.distances import distance_within


@given(st.integers(0, 1000), st.integers(1, 9))
def test_as_the_exact_transform_within_the_radius(seed: int, radius: int) -> None:
    zero = np.random.default_rng(seed).random((2, 17, 23)) < 0.02
    zero[:, 5, 7] = True
    exact = np.stack([ndimage.distance_transform_edt(~plane) for plane in zero])
    found = distance_within(torch.from_numpy(zero), radius).numpy()
    np.testing.assert_allclose(found, np.minimum(exact, radius), atol=1e-5)


def test_nothing_is_far() -> None:
    assert (distance_within(torch.zeros(1, 8, 8, dtype=torch.bool), 3) == 3).all()
