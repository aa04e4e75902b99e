"""The network of BAM: stages, the ensemble by hand, shots, and the exported file against PyTorch."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pytest
import torch
from torch.nn import functional

from fewct.methods.bam.backbone import Backbone
from fewct.methods.bam.inference import DECODED, ENCODED, load_networks
from fewct.methods.bam.network import (
    PRIOR_BIAS,
    PRIOR_SCALE,
    REDUCED,
    SIMILARITY_BIAS,
    SIMILARITY_SCALE,
    BAMNet,
    EncodedSlices,
    Ensemble,
    base_foreground,
)
from methods.bam.tiny import SIZE_PX, tiny_network
from precision import EXACT, float32_rounding, in_double

Draw: TypeAlias = Callable[..., torch.Tensor]
CLOSE = float32_rounding(2000, 1)  # of probabilities


@pytest.fixture
def float64() -> Iterator[None]:
    with in_double():
        yield


@pytest.fixture
def random() -> Draw:
    """Return what draws a tensor of a shape, uniformly from 0 to 1; the same for every test."""
    generator = torch.Generator().manual_seed(0)
    return lambda *shape: torch.rand(shape, generator=generator)


@pytest.fixture
def masks(random: Draw) -> Draw:
    """Return what draws a tensor of zeros and ones."""
    return lambda *shape: random(*shape).round()


def test_size_of_the_default_network() -> None:
    assert 300_000 < sum(p.numel() for p in BAMNet(6).parameters()) < 3_000_000


def test_strides_of_the_features(random: Draw) -> None:
    low, middle, deep, place = Backbone((4, 8, 12, 16))(random(1, 3, 96, 48))
    assert low.shape == (1, 8, 24, 12)
    assert middle.shape == (1, 20, 24, 12)
    assert deep.shape == (1, 16, 12, 6)
    assert place.shape == (1, 2, 24, 12)


@pytest.mark.usefixtures("float64")
class TestEnsemble:
    def test_begins_as_the_meta_learner_alone(self, random: Draw) -> None:
        meta = random(2, 2, 3, 4)
        found = Ensemble()(meta, random(2, 3, 4), random(2))
        torch.testing.assert_close(found, meta.softmax(dim=1), **EXACT)

    def test_formula_of_the_paper_by_hand(self) -> None:
        ensemble = Ensemble()
        with torch.no_grad():
            ensemble.adjust.weight.copy_(torch.tensor([2.0, 0.5]).reshape(1, 2, 1, 1))
            ensemble.fold.weight.copy_(torch.tensor([1.5, 3.0]).reshape(1, 2, 1, 1))
        meta = torch.log(torch.tensor([0.25, 0.75])).reshape(1, 2, 1, 1)
        found = ensemble(meta, torch.tensor([[[0.4]]]), torch.tensor([0.2]))
        background = 1.5 * (2 * 0.25 + 0.5 * 0.2) + 3 * 0.4
        structure = 2 * 0.75 + 0.5 * 0.2
        np.testing.assert_allclose(found.detach().numpy().ravel(), [background, structure], **EXACT)

    def test_base_structures_but_the_target_fold_into_the_background(self) -> None:
        likely = torch.tensor([0.5, 0.2, 0.3]).reshape(1, 3, 1, 1).expand(3, 3, 1, 1)
        found = base_foreground(likely.log(), torch.tensor([0, 1, 2]))
        np.testing.assert_allclose(found.ravel().numpy(), [0.5, 0.3, 0.2], rtol=1e-5)
        np.testing.assert_allclose(base_foreground(likely.log()).ravel().numpy(), 0.5, rtol=1e-5)


@pytest.mark.usefixtures("float64")
def test_the_meta_learner_begins_as_a_prototype_with_a_threshold(random: Draw) -> None:
    meta = tiny_network().meta
    reduced, mean = random(1, REDUCED, 4, 4) - 0.5, random(1, REDUCED) - 0.5
    prior = torch.full((1, 2, 2), 0.9)
    with torch.no_grad():
        logits = meta(reduced, random(1, 2, 4, 4), mean, prior)[0]
    for place in np.ndindex(4, 4):
        q, p = reduced[0, :, *place].numpy(), mean[0].numpy()
        alike = q @ p / np.linalg.norm(q) / np.linalg.norm(p)
        evidence = SIMILARITY_SCALE * (alike - SIMILARITY_BIAS) + PRIOR_SCALE * (0.9 - PRIOR_BIAS)
        expected = [-evidence, evidence]
        np.testing.assert_allclose(logits[:, *place].numpy(), expected, **EXACT)


class TestStages:
    def test_frozen_parts_stay_as_they_are(self, random: Draw, masks: Draw) -> None:
        network = tiny_network().freeze()
        before = {name: value.clone() for name, value in network.state_dict().items()}
        network.train()
        optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
        answer = network(random(2, 3, 48, 48), random(2, 1, 3, 48, 48), masks(2, 1, 48, 48))
        answer.final.pow(2).mean().backward()
        optimizer.step()
        changed = {
            name.split(".")[0]
            for name, value in network.state_dict().items()
            if not torch.equal(value, before[name])
        }
        assert changed == {"meta", "ensemble"}

    def test_without_the_base_learner_the_meta_learner_decides(self, random: Draw, masks: Draw) -> None:
        answer = tiny_network(with_base=False)(
            random(1, 3, 48, 48), random(1, 1, 3, 48, 48), masks(1, 1, 48, 48)
        )
        assert answer.final is answer.meta


class TestShots:
    def test_the_same_support_twice_counts_once(self, random: Draw, masks: Draw) -> None:
        network = tiny_network()
        query, support, mask = random(1, 3, 48, 48), random(1, 1, 3, 48, 48), masks(1, 1, 48, 48)
        with torch.no_grad():
            once = network(query, support, mask).final
            twice = network(query, support.repeat(1, 2, 1, 1, 1), mask.repeat(1, 2, 1, 1)).final
        torch.testing.assert_close(once, twice, **CLOSE)

    def test_order_of_supports_and_neighbours_in_a_batch_do_not_matter(
        self, random: Draw, masks: Draw
    ) -> None:
        network = tiny_network()
        network.support_scale.data.fill_(-30.0)
        query, support, mask = random(2, 3, 48, 48), random(2, 3, 3, 48, 48), masks(2, 3, 48, 48)
        with torch.no_grad():
            together = network(query, support, mask).final
            alone = network(query[1:], support[1:].flip(1), mask[1:].flip(1)).final
        torch.testing.assert_close(together[1:], alone, **CLOSE)

    def test_a_support_of_another_style_counts_less_where_the_scale_is_negative(
        self, random: Draw, masks: Draw
    ) -> None:
        network = tiny_network()
        network.support_scale.data.fill_(-1e4)
        query, mask = random(1, 3, 48, 48), masks(1, 2, 48, 48)
        other = torch.zeros(1, 3, 48, 48)
        with torch.no_grad():
            near = network(query, query[None], mask[:, :1]).final
            both = network(query, torch.stack([query, other], dim=1), mask).final
        torch.testing.assert_close(near, both, **CLOSE)


@pytest.mark.parametrize("shots", [1, 3])
def test_exported_file_gives_what_pytorch_gives(weights: Path, shots: int, random: Draw, masks: Draw) -> None:
    network, networks = tiny_network(), load_networks(weights)
    assert networks.size_px == SIZE_PX
    slices, mask = random(1 + shots, 3, SIZE_PX, SIZE_PX), masks(shots, SIZE_PX, SIZE_PX)
    encoded = [
        EncodedSlices(
            *map(torch.from_numpy, networks.encoder.session.run(list(ENCODED), {"x": one[None].numpy()}))
        )
        for one in slices
    ]
    feeds = {f"query_{name}": part.numpy() for name, part in encoded[0]._asdict().items()}
    for name in ENCODED[:-1]:
        feeds[f"support_{name}"] = torch.cat([getattr(one, name) for one in encoded[1:]]).numpy()
    (found,) = networks.decoder.session.run(list(DECODED), feeds | {"masks": mask.numpy()})
    with torch.no_grad():
        final = network(slices[:1], slices[None, 1:], mask[None]).final
        full = functional.interpolate(final, size=(SIZE_PX, SIZE_PX), mode="bilinear")
    np.testing.assert_allclose(found, full.softmax(dim=1)[0, 1].numpy(), **CLOSE)
