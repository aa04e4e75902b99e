"""How BAM is trained: two stages on a tiny network, losses, settings."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fewct.errors import InputError, UsageError
from fewct.methods.bam import recipe as recipes
from fewct.methods.bam.episodes import EpisodeSlice, without_structures
from fewct.methods.bam.recipe import BAMRecipe, cross_entropy, dice, load_trained, train
from fewct.training.loop import LoopConfig
from methods.bam.tiny import tiny_network

TINY = BAMRecipe(
    size_px=48,
    base_share=0.5,
    scanner=False,
    loop=LoopConfig(steps=4, batch_size=2, workers=0, budget_minutes=60, validate_every=1),
)


@pytest.fixture(autouse=True)
def small_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train tiny networks in place of the real ones."""
    monkeypatch.setattr(
        recipes, "BAMNet", lambda n_base, _, with_base: tiny_network(n_base, with_base=with_base)
    )
    monkeypatch.setattr(recipes, "thread_count", lambda: 1)


class TestTraining:
    def test_both_stages(self, slices: list[EpisodeSlice], tmp_path: Path) -> None:
        network = train(TINY, slices, [1, 2], tmp_path)
        assert (tmp_path / "base" / "curves.csv").read_text().startswith("step,minutes,base")
        header = (tmp_path / "meta" / "curves.csv").read_text().splitlines()[0]
        assert header == "step,minutes,meta,meta_dice,final"
        assert network.frozen
        assert not network.training

    def test_the_second_stage_keeps_backbone_and_base_learner(
        self, slices: list[EpisodeSlice], tmp_path: Path
    ) -> None:
        base = recipes.train_base(TINY, slices, [1, 2], tmp_path)
        network = recipes.train_meta(TINY, base, slices, [1, 2], tmp_path)
        for part in ("backbone", "base"):
            for name, value in getattr(base, part).state_dict().items():
                assert torch.equal(value, getattr(network, part).state_dict()[name])

    def test_without_the_base_learner_there_is_one_answer(
        self, slices: list[EpisodeSlice], tmp_path: Path
    ) -> None:
        train(replace(TINY, with_base=False), slices, [1, 2], tmp_path)
        header = (tmp_path / "meta" / "curves.csv").read_text().splitlines()[0]
        assert header == "step,minutes,meta,meta_dice"

    def test_a_stopped_training_goes_on_to_the_same_weights(
        self, slices: list[EpisodeSlice], tmp_path: Path
    ) -> None:
        whole, parts = tmp_path / "whole", tmp_path / "parts"
        network = train(TINY, slices, [1, 2], whole)
        train(TINY, slices, [1, 2], parts)
        (parts / "meta" / "checkpoint.pt").unlink()
        again = train(TINY, slices, [1, 2], parts)
        for name, value in network.state_dict().items():
            assert torch.equal(value, again.state_dict()[name])

    def test_without_names_the_backbone_learns_from_regions(
        self, slices: list[EpisodeSlice], tmp_path: Path
    ) -> None:
        nameless = without_structures(slices, [1, 2])
        network = train(TINY, nameless, [], tmp_path)
        assert not (tmp_path / "base").exists()
        assert network.n_base == 0
        assert not network.frozen
        again = load_trained(TINY, tmp_path)
        before = tiny_network(0)
        for part, learns in (("backbone", True), ("meta", True), ("base", False)):
            weights = dict(getattr(network, part).named_parameters())
            assert (
                any(
                    not torch.equal(value, dict(getattr(before, part).named_parameters())[name])
                    for name, value in weights.items()
                )
                is learns
            )
            for name, value in getattr(again, part).named_parameters():
                assert torch.equal(value, weights[name])

    def test_neither_names_nor_regions(self, slices: list[EpisodeSlice], tmp_path: Path) -> None:
        nothing = [replace(one, regions=None) for one in slices]
        with pytest.raises(InputError, match="regions to draw episodes from"):
            train(TINY, nothing, [], tmp_path)

    def test_structures_that_no_slice_shows(self, slices: list[EpisodeSlice], tmp_path: Path) -> None:
        with pytest.raises(InputError, match="slices that show one of the structures 8, 9"):
            train(TINY, slices, [8, 9], tmp_path)


class TestLosses:
    def test_unknown_pixels_do_not_count(self) -> None:
        logits = torch.zeros(1, 2, 2, 2)
        logits[0, 1, 0] = 3.0
        target = torch.tensor([[[1, -1], [-1, 0]]])
        expected = (np.log(1 + np.exp(-3)) + np.log(2)) / 2
        full = logits.clone()
        assert float(cross_entropy(full, target)) == pytest.approx(expected, rel=1e-5)
        full[0, :, 0, 1] = torch.tensor([50.0, -50.0])
        assert float(cross_entropy(full, target)) == pytest.approx(expected, rel=1e-5)
        assert float(dice(full, target)) == pytest.approx(float(dice(logits, target)))

    def test_nothing_known_is_no_loss(self) -> None:
        assert float(cross_entropy(torch.zeros(1, 2, 2, 2), torch.full((1, 2, 2), -1))) == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"size_px": 100}, "size_px: expected a multiple of 48, found 100"),
        ({"shots": 0}, "shots: expected 1 or more, found 0"),
        ({"base_share": 1.5}, r"base_share: expected a number in \[0, 1\], found 1.5"),
        ({"pseudo_share": -0.5}, r"pseudo_share: expected a number in \[0, 1\], found -0.5"),
    ],
)
def test_settings_out_of_range(settings: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        BAMRecipe(**settings)  # type: ignore[arg-type]
