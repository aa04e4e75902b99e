"""Affinities: what pairs of pixels teach the network, and what they say of regions."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from fewct.methods.mosaic.maps import SPACING_PX, STEPS, Affinities, region_pairs
from fewct.methods.mosaic.recipe import APART_EMPHASIS, affinity_loss

SIDE = 60


def checked(rng: np.random.Generator) -> tuple[NDArray[np.int32], Affinities]:
    """Return random regions of a slice, and random affinities on a grid of every second pixel of a part."""
    leaves = np.kron(rng.integers(0, 5, (10, 10)), np.ones((6, 6))).astype(np.int32)
    rows, columns = np.arange(4, 56, 2), np.arange(0, 60, 2)
    values = rng.random((len(STEPS), len(rows), len(columns))).astype(np.float32)
    return leaves, Affinities(values, rows, columns)


@pytest.mark.parametrize("seed", range(4))
def test_pairs_are_summed_as_one_by_one(seed: int) -> None:
    leaves, affinities = checked(np.random.default_rng(seed))
    expected: dict[tuple[int, int], list[float]] = {}
    for step, (down, right) in enumerate(STEPS):
        for i, row in enumerate(affinities.rows):
            for j, column in enumerate(affinities.columns):
                if i + down >= len(affinities.rows) or j + right >= len(affinities.columns):
                    continue
                a = leaves[row, column]
                b = leaves[affinities.rows[i + down], affinities.columns[j + right]]
                if 0 < a != b > 0:
                    pair = (min(a, b) - 1, max(a, b) - 1)
                    expected.setdefault(pair, []).append(1 - affinities.values[step, i, j])
    pairs = region_pairs(leaves, affinities)
    assert [tuple(nodes) for nodes in pairs.nodes.tolist()] == sorted(expected)
    np.testing.assert_allclose(pairs.sums, [sum(expected[key]) for key in sorted(expected)], rtol=1e-5)
    assert pairs.counts.tolist() == [len(expected[key]) for key in sorted(expected)]


def test_a_grid_smaller_than_the_steps_has_no_pairs() -> None:
    affinities = Affinities(np.ones((len(STEPS), 1, 2), dtype=np.float32), np.arange(1), np.arange(2))
    assert len(region_pairs(np.array([[1, 2]], dtype=np.int32), affinities).nodes) == 0


def answer(labels: Tensor, wrong: bool = False) -> Tensor:
    """Return logits that say of each pair what the labels say, or the opposite."""
    coarse = labels[:, ::SPACING_PX, ::SPACING_PX]
    logits = torch.zeros(len(labels), len(STEPS), *coarse.shape[1:])
    for step, (down, right) in enumerate(STEPS):
        second = torch.roll(coarse, (-down, -right), (1, 2))
        logits[:, step] = torch.where((coarse == second) & (coarse > 0), 20.0, -20.0)
    return -logits if wrong else logits


class TestLoss:
    labels = torch.zeros(1, SIDE, SIDE, dtype=torch.int32)
    labels[:, 4:40, 6:50] = 3
    labels[:, 20:30, 20:50] = 8

    def test_right_and_wrong(self) -> None:
        assert affinity_loss(answer(self.labels), self.labels) < 1e-6
        assert affinity_loss(answer(self.labels, wrong=True), self.labels) > 19

    def test_what_is_not_labelled_is_not_asked_about(self) -> None:
        noise = torch.randn(1, len(STEPS), SIDE // 2, SIDE // 2)
        assert affinity_loss(noise, torch.zeros_like(self.labels)) == 0
        far = answer(self.labels)
        far[:, :, 22:, 27:] = 50.0  # of pairs below and right of everything that is labelled
        assert affinity_loss(far, self.labels) < 1e-6

    def test_by_hand(self) -> None:
        labels = torch.zeros(1, 2, 14, dtype=torch.int32)
        labels[:, :, :8] = 1  # at half resolution 1 1 1 1 0 0 0
        logits = torch.zeros(1, len(STEPS), 1, 7)
        logits[0, 0, 0] = torch.tensor([2.0, 2.0, -1.0, 0.0, 9.0, 9.0, 9.0])
        softplus = torch.nn.functional.softplus
        same = softplus(torch.tensor(-2.0))
        apart = softplus(torch.tensor([2.0, -1.0, 0.0])).sum() * APART_EMPHASIS
        expected = (same + apart) / (1 + 3 * APART_EMPHASIS)
        torch.testing.assert_close(affinity_loss(logits, labels), expected)


def test_steps_are_those_that_the_network_was_trained_with() -> None:
    assert STEPS == ((0, 3), (3, 0), (0, 8), (8, 0), (0, 20), (20, 0))
    assert SPACING_PX == 2
