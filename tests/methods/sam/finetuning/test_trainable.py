"""SAM's network while it learns: what it answers, what learns, what its losses are."""

import math
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional

from fewct.errors import UsageError
from fewct.methods.sam.conventions import INSIDE, NO_POINT, OUTSIDE, TOP_LEFT
from fewct.methods.sam.finetuning.dataset import PromptBatch, PromptSampling, sample_prompts
from fewct.methods.sam.finetuning.lora import add_lora, merge_lora
from fewct.methods.sam.finetuning.recipe import (
    CROSS_ENTROPY,
    FOCAL,
    make_losses,
    mask_losses,
    round_losses,
)
from fewct.methods.sam.finetuning.trainable import (
    DecoderRound,
    Trainable,
    TrainableSam,
    overlaps,
    sample_correction_points,
    shares,
)
from fewct.methods.sam.modeling.mask_decoder import DecoderShape
from fewct.methods.sam.modeling.sam import Sam, SamShape
from fewct.methods.sam.modeling.small_encoder import SmallShape
from fewct.training.losses import weighted_bce, weighted_dice
from fewct.training.sampling import collate_batches
from methods.sam.reference import CLOSE, IOU_CLOSE, SHAPE, official, ours
from precision import EXACT

PX = 128
SMALL = SamShape(SmallShape((4, 6, 8, 8), 16), DecoderShape(width=16, heads=2, hidden=16, score_hidden=8), 4)


def focal(logits: Tensor, target: Tensor) -> Tensor:
    """Return the focal loss (https://doi.org/10.1109/ICCV.2017.324) with gamma 2, averaged over pixels."""
    losses = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return ((1 - torch.exp(-losses)) ** 2 * losses).mean()


@pytest.fixture
def sam() -> Sam:
    return ours(official(SHAPE, PX), SHAPE, PX)


def batch(channels: int = 3, box_share: float = 0.5, seed: int = 0) -> PromptBatch:
    """Return two pictures with four prompts each."""
    rng = np.random.default_rng(seed)
    labels = np.kron(rng.integers(0, 4, (4, 4), dtype=np.int32), np.ones((PX // 4, PX // 4), dtype=np.int32))
    sampling = PromptSampling(4, box_share, 3.0)
    seen = torch.from_numpy(rng.normal(size=(2, channels, PX, PX)).astype(np.float32))
    return collate_batches([sample_prompts(x, labels, sampling, rng, i) for i, x in enumerate(seen)], 2)[0]


@torch.no_grad()
def test_the_first_round_is_what_the_network_answers(sam: Sam) -> None:
    prompts = batch()
    (first,) = TrainableSam(sam, "all", correction_prompts=0)(prompts)
    logits, iou = sam(prompts.inputs, prompts.point_coords, prompts.point_labels)
    assert torch.allclose(first.logits, logits.flatten(0, 1), **CLOSE)
    assert torch.allclose(first.predicted_iou, iou.flatten(0, 1), **IOU_CLOSE)
    assert first.unambiguous.tolist() == (prompts.point_labels[..., 0] == TOP_LEFT).flatten().tolist()
    assert 0 < first.unambiguous.sum() < 8


@torch.no_grad()
def test_a_correction_adds_a_point_on_a_mistake_and_the_better_mask(sam: Sam) -> None:
    prompts = batch(box_share=0.0)
    first, second = TrainableSam(sam, "all", correction_prompts=3)(prompts)
    assert len(second.logits) == 3
    again = torch.randperm(8, generator=torch.Generator().manual_seed(0))[:3]
    for i, prompt in enumerate(again.tolist()):
        guess = first.logits[prompt, overlaps(first.logits, first.target)[prompt].argmax()]
        wrong = torch.nonzero((guess > 0) != (first.target[prompt] > 0.5))
        image, place = prompt // 4, prompts.point_coords.flatten(0, 1)[prompt, 0]
        answers = []  # to every point that could have been drawn
        for y, x in wrong[:: max(1, len(wrong) // 500)].tolist():
            kind = INSIDE if first.target[prompt, y, x] > 0.5 else OUTSIDE
            point = torch.tensor([4.0 * x + 1.5, 4.0 * y + 1.5])
            xy = torch.stack([place, point, torch.zeros(2)])[None, None]
            labels = torch.tensor([[[INSIDE, kind, NO_POINT]]])
            answers.append(
                sam(prompts.inputs[image : image + 1], xy, labels, guess[None, None].clamp(-20, 20))
            )
            if torch.allclose(answers[-1][0][0, 0], second.logits[i], **CLOSE):
                break
        assert torch.allclose(answers[-1][0][0, 0], second.logits[i], **CLOSE)


@pytest.mark.parametrize(
    ("trainable", "learning"),
    [
        ("decoder", {"mask_decoder"}),
        ("prompts", {"mask_decoder", "prompt_encoder"}),
        ("adapters", {"mask_decoder", "prompt_encoder", "image_encoder"}),
        ("all", {"mask_decoder", "prompt_encoder", "image_encoder"}),
    ],
)
def test_only_the_parts_that_shall_learn_do(sam: Sam, trainable: Trainable, learning: set[str]) -> None:
    prompts = batch()
    if trainable in ("decoder", "prompts"):
        with torch.no_grad():
            prompts = prompts._replace(inputs=sam.image_encoder(prompts.inputs))
    if trainable == "adapters":
        add_lora(sam, rank=2)
    network = TrainableSam(sam, trainable, correction_prompts=2)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-2, weight_decay=0.1)
    torch.stack(list(make_losses("cross-entropy")(network, prompts).values())).sum().backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert {name.split(".")[1] for name in changed} == learning
    if trainable == "adapters":
        assert all("parametrizations.weight.0" in name for name in changed if "image_encoder" in name)


def test_frozen_statistics_stay_while_the_rest_learns() -> None:
    sam = Sam(SMALL, PX)
    for name, part in sam.image_encoder.named_children():
        part.requires_grad_(name == "neck")
    network = TrainableSam(sam, "all", correction_prompts=0).train()
    modes = {type(m): m.training for m in network.modules() if isinstance(m, nn.BatchNorm2d | nn.LayerNorm)}
    assert modes == {nn.BatchNorm2d: False, nn.LayerNorm: True}
    assert not any(module.training for module in network.eval().modules())
    frozen = network.requires_grad_(False)
    assert frozen.train().training  # also where all of it is frozen, as a moving average is


def test_adapters_change_nothing_at_first_and_merge_into_the_weights(sam: Sam) -> None:
    sam, pixels = sam.double(), batch().inputs.double()
    before = sam.image_encoder(pixels)
    add_lora(sam, rank=2)
    assert torch.allclose(sam.image_encoder(pixels), before, **EXACT)
    names = [name for name, p in sam.image_encoder.named_parameters() if p.requires_grad]
    assert sorted({name.rpartition(".")[2] for name in names}) == ["down", "up"]
    with torch.no_grad():
        for name, parameter in sam.image_encoder.named_parameters():
            if name.endswith(".up"):
                parameter.normal_()
    adapted = sam.image_encoder(pixels)
    assert not torch.allclose(adapted, before, atol=1e-2)
    merge_lora(sam)
    assert torch.allclose(sam.image_encoder(pixels), adapted, **EXACT)
    assert set(sam.state_dict()) == set(ours(official(SHAPE, PX), SHAPE, PX).state_dict())


def test_an_encoder_without_attention_takes_no_adapters() -> None:
    with pytest.raises(UsageError, match=r"(?s)trainable.*without attention.*--trainable all"):
        add_lora(Sam(SMALL, PX), rank=2)


@given(seed=st.integers(0, 1000))
def test_mistakes_are_wrong_pixels_and_tell_what_they_are(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    guess, target = torch.randn(3, 6, 6, generator=generator), torch.rand(3, 6, 6, generator=generator)
    guess[1] = torch.where(target[1] > 0.5, 1.0, -1.0)  # nothing is wrong here
    guess[2], target[2] = -1.0, 0.0  # nor here, where there is no structure
    xy, kinds = sample_correction_points(guess, target, 4.0, generator)
    for i, (x, y) in enumerate(((xy - 1.5) / 4).int().tolist()):
        inside = bool(target[i, y, x] > 0.5)
        assert kinds[i] == (INSIDE if inside else OUTSIDE)
        if i == 0:
            assert bool(guess[i, y, x] > 0) != inside
        if i == 1:
            assert inside


def test_shares_and_overlaps_by_hand() -> None:
    masks = torch.tensor([[[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]], dtype=torch.uint8)
    assert shares(masks, 2).tolist() == [[[0.75, 0.0], [0.0, 1.0]]]
    logits = torch.tensor([[[[1.0, 1.0], [-1.0, 1.0]], [[-1.0, 1.0], [1.0, -1.0]]]])
    assert overlaps(logits, shares(masks, 2)).tolist() == [[pytest.approx(2 / 3), 0.0]]
    assert overlaps(-torch.ones(1, 1, 2, 2), torch.zeros(1, 2, 2)).tolist() == [[0.0]]


def test_the_focal_loss_gives_less_to_what_is_easy() -> None:
    assert float(focal(torch.tensor([math.log(3)]), torch.ones(1))) == pytest.approx(math.log(4 / 3) / 16)


@pytest.mark.parametrize("loss", ["cross-entropy", "focal"])
def test_the_loss_of_a_mask_is_dice_and_the_other(loss: Literal["cross-entropy", "focal"]) -> None:
    generator = torch.Generator().manual_seed(0)
    logits, target = torch.randn(3, 4, 8, 8, generator=generator), torch.rand(3, 8, 8, generator=generator)
    found = mask_losses(logits, target, loss)
    for prompt in range(3):
        for mask in range(4):
            one, true = logits[prompt : prompt + 1, mask], target[prompt : prompt + 1]
            known = torch.ones_like(true)
            other = (
                FOCAL * focal(one, true)
                if loss == "focal"
                else CROSS_ENTROPY * weighted_bce(one, true, known)
            )
            assert found[prompt, mask] == pytest.approx(
                float(weighted_dice(one, true, known) + other), rel=1e-5
            )


def test_only_the_best_mask_learns_and_the_single_one_from_sure_prompts() -> None:
    target = torch.zeros(2, 4, 4)
    target[:, :2] = 1
    good, bad = torch.where(target[0] > 0, 5.0, -5.0), torch.where(target[0] > 0, -1.0, 1.0)
    logits = torch.stack([torch.stack([bad, bad, good, bad]), torch.stack([bad, good, bad, bad])])
    logits.requires_grad_()
    iou = torch.zeros(2, 4, requires_grad=True)
    masks, scores = round_losses(
        DecoderRound(logits, iou, target, torch.tensor([True, False])), "cross-entropy"
    )
    (masks + scores).backward()  # type: ignore[no-untyped-call]
    learning = functional.relu(logits.grad.abs().sum((2, 3)) - 1e-9) > 0 if logits.grad is not None else None
    assert learning is not None
    assert learning.tolist() == [[True, False, True, False], [False, True, False, False]]
    # predicted IoU 0 is wrong by 1 for the perfect masks only; the single mask of a lone point is left out
    assert float(scores.detach()) == pytest.approx(2 / 7)


def test_a_batch_without_structures_has_no_loss() -> None:
    sam = Sam(SMALL, PX)
    prompts = batch(channels=2)
    empty = prompts._replace(valid=torch.zeros_like(prompts.valid))
    values = make_losses("focal")(TrainableSam(sam, "all", correction_prompts=2), empty)
    total: Tensor = torch.stack(list(values.values())).sum()
    total.backward()  # type: ignore[no-untyped-call]
    assert float(total.detach()) == 0.0
