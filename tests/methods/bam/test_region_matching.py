"""Regions compete for structures: by features, probability, place and size."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fewct.methods.bam.region_matching import (
    match_regions,
    match_scores,
    mean_in_regions,
    merge_regions,
    region_features,
    region_means,
    support_features,
)

SIDE, COARSE = 12, 4


def test_region_means_are_a_loop(rng: np.random.Generator) -> None:
    features = rng.random((3, COARSE, COARSE)).astype(np.float32)
    regions = (rng.integers(0, 3, (SIDE, SIDE)) * 5).astype(np.int32)
    ids, means = region_means(features, regions)
    assert ids.tolist() == [5, 10]
    for i, mean in zip(ids, means, strict=True):
        places = [(y // 3, x // 3) for y, x in np.argwhere(regions == i)]
        expected = np.mean([features[:, y, x] for y, x in places], axis=0)
        np.testing.assert_allclose(mean, expected, rtol=1e-5)


def test_means_of_a_map_in_regions() -> None:
    regions = np.array([[7, 7, 0], [2, 0, 7]], np.int32)
    values = np.array([[0.5, 0.25, 9], [0.125, 9, 0]], np.float32)
    assert mean_in_regions(regions, values).tolist() == [0.125, 0.25]


def test_no_region_no_answer(rng: np.random.Generator) -> None:
    structure = support_features(*maps(2, rng), np.ones((2, SIDE, SIDE), np.float32))
    (deep,), (place,) = maps(1, rng)
    none = np.zeros((SIDE, SIDE), np.int32)
    assert match_scores(
        region_features(none, deep, place), mean_in_regions(none, likely(rng)), structure
    ).shape == (0,)


def maps(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return deep features of n slices, and where in the body each cell of a finer grid lies."""
    line = np.linspace(-1, 1, SIDE, dtype=np.float32)
    place = np.stack(np.broadcast_arrays(line[None, :], line[:, None]))
    return rng.random((n, 5, COARSE, COARSE)).astype(np.float32), np.stack([place] * n)


def likely(rng: np.random.Generator) -> np.ndarray:
    return rng.random((SIDE, SIDE)).astype(np.float32)


def test_a_region_that_is_the_support_itself_fits_best_and_how_well_it_does(rng: np.random.Generator) -> None:
    deep, place = maps(1, rng)
    regions = (np.arange(SIDE * SIDE).reshape(SIDE, SIDE) // (SIDE * SIDE // 4) + 1).astype(np.int32)
    structure = support_features(deep, place, (regions == 3)[None].astype(np.float32))
    sure = (regions == 3).astype(np.float32)
    known, probabilities = region_features(regions, deep[0], place[0]), mean_in_regions(regions, sure)
    assert known.ids.tolist() == [1, 2, 3, 4]
    assert probabilities.tolist() == [0, 0, 1, 0]
    values = match_scores(known, probabilities, structure)
    assert values.argmax() == 2
    assert values[2] == pytest.approx(1.5)


def test_each_difference_costs_what_it_says(rng: np.random.Generator) -> None:
    deep, place = np.ones((1, 2, COARSE, COARSE), np.float32), maps(1, rng)[1]
    mask = np.zeros((1, SIDE, SIDE), np.float32)
    mask[0, :4, :4] = 1
    structure = support_features(deep, place, mask)
    regions = np.zeros((SIDE, SIDE), np.int32)
    regions[:4, :4], regions[8:, 8:], regions[:1, 8:] = 1, 2, 3
    values = match_scores(region_features(regions, deep[0], place[0]), np.full(3, 0.4), structure)
    step = 2 / (SIDE - 1)
    assert values[0] == pytest.approx(1 + 0.5 * 0.4)
    assert values[1] == pytest.approx(values[0] - 0.5 * 2 * (8 * step) ** 2)
    away = (8 * step) ** 2 + (1.5 * step) ** 2
    assert values[2] == pytest.approx(values[0] - 0.5 * away - 0.1 * np.log(4))


def test_supports_count_alike(rng: np.random.Generator) -> None:
    deep, place = maps(2, rng)
    masks = np.zeros((2, SIDE, SIDE), np.float32)
    masks[0, :3, :3], masks[1, :6, :6] = 1, 0.4  # a faint mask counts from half of its own maximum
    both = support_features(deep, place, masks)
    ones = [support_features(deep[i : i + 1], place[i : i + 1], masks[i : i + 1]) for i in range(2)]
    np.testing.assert_allclose(both.deep, (ones[0].deep + ones[1].deep) / 2)
    assert both.log_area == pytest.approx((np.log(9) + np.log(36)) / 2)


@given(
    arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(1, 4)), elements=st.floats(-1, 1.5, width=16))
)
def test_no_assignment_sums_up_to_more(values: np.ndarray) -> None:
    least = 0.25
    chosen = match_regions(values, least)
    taken = chosen[chosen >= 0]
    assert len(set(taken.tolist())) == len(taken)
    assert all(values[i, k] > least for i, k in enumerate(chosen) if k >= 0)
    padded = np.concatenate([values, np.full((len(values), len(values)), least)], axis=1)
    best = max(
        sum(max(padded[i, k] - least, 0) for i, k in enumerate(order))
        for order in permutations(range(padded.shape[1]), len(values))
    )
    assert sum(values[i, k] - least for i, k in enumerate(chosen) if k >= 0) == pytest.approx(best)


def test_what_is_all_but_sure_joins_what_is_found() -> None:
    chosen = np.array([2, -1, 0])
    likely = np.array(
        [
            [0.9, 0.9, 0.1, 0.0, 0.65, 0.8, 0.7],
            [0.0, 0.0, 0.0, 0.95, 0.0, 0.9, 0.0],
            [0.1, 0.75, 0.3, 0.9, 0.0, 0.0, 0.3],
        ]
    )
    # chosen ones stay; 1 joins the likeliest; at 3 and 5 that is not on the slice; 4 is not sure, 6 just so
    assert merge_regions(chosen, likely).tolist() == [2, 0, 0, -1, -1, -1, 0]


def test_no_region_to_join() -> None:
    assert merge_regions(np.array([-1]), np.zeros((1, 3))).tolist() == [-1, -1, -1]
    assert merge_regions(np.array([-1, -1]), np.zeros((2, 0))).shape == (0,)


def test_no_region_to_assign() -> None:
    assert match_regions(np.zeros((2, 0)), 0.0).tolist() == [-1, -1]


def test_grids_of_features_need_not_be_square() -> None:
    features = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    regions = np.zeros((4, 6), np.int32)
    regions[2:, 4:], regions[:2, :2] = 1, 2
    ids, means = region_means(features, regions)
    assert ids.tolist() == [1, 2]
    assert means.tolist() == [[5], [0]]
