"""What supports and query are compared by, against loops and NumPy."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from fewct.methods.bam.feature_matching import (
    cells,
    gram_matrix,
    prior_mask,
    prototype,
    style_distance,
    support_weights,
)
from precision import EXACT, in_double


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    with in_double():
        yield


@pytest.fixture
def random() -> Callable[..., torch.Tensor]:
    """Return what draws a tensor of a shape, uniformly from 0 to 1; the same for every test."""
    generator = torch.Generator().manual_seed(0)
    return lambda *shape: torch.rand(shape, generator=generator)


def test_masked_average_pooling_is_a_loop_over_pixels(random: Callable[..., torch.Tensor]) -> None:
    features, masks = random(2, 3, 4, 5), (random(2, 8, 10) > 0.6).float()
    found = prototype(features, masks)
    for n in range(2):
        total, weight = np.zeros(3), 0.0
        for row in range(8):
            for column in range(10):
                if masks[n, row, column] > 0:
                    total += features[n, :, row // 2, column // 2].numpy()
                    weight += 1
        np.testing.assert_allclose(found[n].numpy(), total / weight, **EXACT)


def test_an_empty_mask_gives_a_prototype_of_zeros(random: Callable[..., torch.Tensor]) -> None:
    assert (prototype(random(1, 3, 4, 4), torch.zeros(1, 4, 4)) == 0).all()


def test_cells_are_shares() -> None:
    mask = torch.tensor([[[1.0, 0, 0, 0], [1, 1, 0, 0]]])
    assert cells(mask, (1, 2)).tolist() == [[[0.75, 0.0]]]


def test_prior_is_a_loop_over_pairs_of_places(random: Callable[..., torch.Tensor]) -> None:
    query, support = random(2, 4, 3, 5) - 0.5, random(2, 4, 3, 5) - 0.5
    masks = torch.zeros(2, 3, 5)
    masks[0, 1, 1:4] = 1
    masks[1, 2, 0] = 1
    here, there = random(2, 2, 3, 5), random(2, 2, 3, 5)
    found = prior_mask(query, support, masks, here, there).numpy()
    for n in range(2):
        best = np.full((3, 5), -np.inf)
        for place in np.ndindex(3, 5):
            for other in np.argwhere(masks[n].numpy() > 0):
                q, s = query[n, :, *place].numpy(), support[n, :, *other].numpy()
                away = here[n, :, *place].numpy() - there[n, :, *other].numpy()
                alike = q @ s / np.linalg.norm(q) / np.linalg.norm(s) - 1.5 * away @ away
                best[place] = max(best[place], alike)
        expected = (best - best.min()) / (best.max() - best.min())
        np.testing.assert_allclose(found[n], expected, atol=1e-6)  # the range has 1e-7 added


def test_prior_compares_with_all_cells_that_the_mask_covers_by_half() -> None:
    features = torch.eye(3).T.reshape(1, 3, 1, 3)  # each of the three cells has features of its own
    mask = torch.zeros(1, 10, 30)
    mask[0, :6, :10] = 1  # 0.6 of the first cell
    mask[0, :, 10:20] = 1  # all of the second
    mask[0, :4, 20:] = 1  # 0.4 of the third
    nowhere = torch.zeros(1, 2, 1, 3)
    np.testing.assert_allclose(
        prior_mask(features, features, mask, nowhere, nowhere)[0, 0], [1, 1, 0], atol=1e-6
    )


def test_prior_sees_a_structure_smaller_than_a_cell(random: Callable[..., torch.Tensor]) -> None:
    features = random(1, 4, 2, 2)
    mask = torch.zeros(1, 8, 8)
    mask[0, 1, 6] = 1
    nowhere = torch.zeros(1, 2, 2, 2)
    assert prior_mask(features, features, mask, nowhere, nowhere)[0].argmax() == 1


def test_gram_distance_is_that_of_numpy(random: Callable[..., torch.Tensor]) -> None:
    first, second = random(1, 3, 4, 5), random(1, 3, 4, 5)
    grams = []
    for features in (first, second):
        flat = features[0].reshape(3, -1).numpy()
        flat = flat / np.linalg.norm(flat, axis=1, keepdims=True)
        grams.append(flat @ flat.T)
    expected = np.linalg.norm(grams[0] - grams[1], "fro") / 3
    found = style_distance(gram_matrix(first), gram_matrix(second))
    np.testing.assert_allclose(found.numpy(), [expected], **EXACT)


def test_gram_distance_lies_between_same_and_opposite() -> None:
    one_style, other = torch.ones(1, 2, 1, 2), torch.eye(2)[None, :, None]
    assert float(style_distance(gram_matrix(one_style), gram_matrix(one_style))) == 0
    assert 0 < float(style_distance(gram_matrix(one_style), gram_matrix(other))) <= 1


def test_supports_count_alike_at_first_and_by_distance_later() -> None:
    distances = torch.tensor([[0.1, 0.3]])
    assert support_weights(distances, torch.tensor(0.0)).tolist() == [[0.5, 0.5]]
    expected = 1 / (1 + np.exp(-10 * 0.2))
    weights = support_weights(distances, torch.tensor(-10.0))[0]
    np.testing.assert_allclose(weights.numpy(), [expected, 1 - expected], **EXACT)
