"""Episodes: no hidden structure, other patients, the same in every run."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fewct.data.examples import TrainingExample
from fewct.errors import InputError
from fewct.methods.bam import episodes
from fewct.methods.bam.episodes import (
    Episodes,
    EpisodeSlice,
    augmented_view,
    base_dataset,
    draw_supports,
    episode_slice,
    slices_showing,
    without_structures,
)
from fewct.training.augment import WarpedExample, warp
from fewct.types import CTSlice
from methods.bam.tiny import body_slice

PATIENTS: list[str | None] = [*"aabbc"]


def some_slices(patients: Sequence[str | None]) -> list[EpisodeSlice]:
    return [episode_slice(*body_slice(seed), patient) for seed, patient in enumerate(patients)]


SLICES = some_slices(PATIENTS)


@settings(max_examples=15)
@given(st.integers(0, 10**6), st.integers(0, 99))
def test_an_episode_is_a_function_of_seed_and_number(seed: int, number: int) -> None:
    first, second = (Episodes(SLICES, [1, 2], 2, 48, 100, seed, pseudo_share=0.0)[number] for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@settings(max_examples=50)
@given(st.lists(st.sampled_from("abc"), min_size=2, max_size=12), st.integers(1, 6), st.integers(0, 10**6))
def test_supports_are_never_of_the_query_s_patient(patients: list[str], shots: int, seed: int) -> None:
    slices = [EpisodeSlice(SLICES[0].example, patient) for patient in patients]
    places = np.arange(len(slices))
    for query in range(len(slices)):
        supports = draw_supports(slices, places, query, shots, np.random.default_rng(seed))
        others = {patient for patient in patients if patient != patients[query]}
        assert len(supports) == (shots if others else 0)
        assert {patients[k] for k in supports} <= others


def test_where_patients_are_unknown_the_support_is_another_slice() -> None:
    slices = some_slices([None, None])
    assert draw_supports(slices, np.arange(2), 0, 1, np.random.default_rng(0)) == [1]


def test_supports_come_once_where_there_are_enough() -> None:
    supports = draw_supports(SLICES, np.arange(5), 0, 3, np.random.default_rng(0))
    assert sorted(supports) == [2, 3, 4]


class TestHidden:
    def test_the_base_learner_never_sees_a_novel_structure(self) -> None:
        data = base_dataset(without_structures(SLICES, [2]), [1], 48, 20, seed=0)
        assert set(torch.unique(torch.stack([data[i].classes for i in range(20)])).tolist()) <= {-1, 0, 1}
        kept = base_dataset(SLICES, [2, 1], 48, 20, seed=0)
        assert {1, 2} <= set(torch.unique(torch.stack([kept[i].classes for i in range(20)])).tolist())

    def test_hidden_structures_are_gone_and_the_slices_stay_as_they_were(self) -> None:
        hidden = without_structures(SLICES, [2])
        assert all(2 not in one.example.labels for one in hidden)
        assert all(2 in one.example.labels for one in SLICES)

    def test_classes_count_from_one_in_the_order_of_the_structures(self) -> None:
        first = base_dataset(SLICES, [1, 2], 48, 1, seed=0)[0].classes
        second = base_dataset(SLICES, [2, 1], 48, 1, seed=0)[0].classes
        assert torch.equal(first == 1, second == 2)


class TestEpisode:
    def test_shapes_and_values(self) -> None:
        episode = Episodes(SLICES, [2], 3, 48, 1, seed=0)[0]
        assert episode.query.shape == (3, 48, 48)
        assert episode.supports.shape == (3, 3, 48, 48)
        assert episode.masks.shape == (3, 48, 48)
        assert set(torch.unique(episode.target).tolist()) <= {-1, 0, 1}
        assert int(episode.excluded) == 1

    def test_padding_is_unknown(self) -> None:
        image, labels = body_slice(0)
        pixels = image.pixels.copy()
        pixels[:, :30] = np.nan
        padded = episode_slice(CTSlice(pixels, "hu"), labels, "a")
        data = Episodes([padded, episode_slice(*body_slice(1), "b")], [2], 1, 48, 30, seed=0)
        assert any((data[i].target == -1).any() for i in range(30))

    def test_regions_give_episodes_of_the_same_slice(self, slices: list[EpisodeSlice]) -> None:
        only = [one for one in slices if one.regions is not None]
        unnamed = [
            EpisodeSlice(without_structures([one], [1, 2])[0].example, one.patient, one.regions)
            for one in only
        ]
        data = Episodes(unnamed, [], 1, 48, 10, seed=0, pseudo_share=1.0)
        for episode in (data[i] for i in range(10)):
            assert int(episode.excluded) == 0
            assert (episode.target == 1).any()
            assert episode.masks.any()
            assert not torch.equal(episode.query, episode.supports[0])

    def test_a_region_that_is_a_base_structure_is_not_held_against_itself(
        self, slices: list[EpisodeSlice]
    ) -> None:
        data = Episodes(slices, [1], 1, 48, 40, seed=0, pseudo_share=1.0)
        assert {int(data[i].excluded) for i in range(40)} == {0, 1}

    def test_regions_of_fewer_than_24_pixels_are_not_drawn(self, monkeypatch: pytest.MonkeyPatch) -> None:
        regions = np.zeros(SLICES[0].example.labels.shape, np.int32)
        regions.ravel()[:23], regions.ravel()[40:64] = 1, 2
        monkeypatch.setattr(
            episodes, "augmented_view", lambda example, *_: (torch.zeros(1), torch.from_numpy(example.labels))
        )
        data = Episodes([replace(SLICES[0], regions=regions)], [], 1, 48, 8, seed=0, pseudo_share=1.0)
        assert {int(data[i].target.sum()) for i in range(8)} == {24}

    def test_nothing_to_draw_from(self) -> None:
        for slices, structures in itertools.product([some_slices("aa")], [[1], [7]]):
            with pytest.raises(InputError, match="a structure on slices of two patients"):
                Episodes(slices, structures, 1, 48, 1, seed=0)


def test_places_leave_out_specks() -> None:
    image, labels = body_slice(0)
    speck = np.zeros_like(labels)
    speck.ravel()[:23] = 5
    speck.ravel()[23:47] = 6
    shown = slices_showing([episode_slice(image, speck), episode_slice(image, labels)], [5, 6, 1])
    assert {structure: places.tolist() for structure, places in shown.items()} == {5: [], 6: [0], 1: [1]}


def test_the_patient_fills_a_crop_but_for_6_percent(monkeypatch: pytest.MonkeyPatch) -> None:
    example = SLICES[0].example
    rows, columns = np.nonzero(example.body)
    longest = max(np.ptp(rows), np.ptp(columns)) + 1
    zooms = []

    def spy(example: TrainingExample, *args: Any, **named: Any) -> WarpedExample:
        zooms.append(example.zoom)
        return warp(example, *args, **named)

    monkeypatch.setattr(episodes, "warp", spy)
    augmented_view(example, 48, np.random.default_rng(0), scanner=False)
    assert zooms == [pytest.approx(48 / (1.06 * longest))]
