"""Prompts drawn as first guesses: what is drawn, and that a backend asks with it."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fewct.methods.sam.backends.mask_prompts import SURE, MaskPromptBackend, mask_prompts
from fewct.methods.sam.backends.torch import TorchBackend
from fewct.methods.sam.conventions import BOTTOM_RIGHT, INSIDE, NO_POINT, OUTSIDE, TOP_LEFT
from fewct.methods.sam.finetuning.dataset import PromptBatch
from fewct.methods.sam.finetuning.trainable import TrainableSam
from methods.sam.finetuning.test_trainable import batch
from methods.sam.reference import SHAPE, official, ours

PX, SIDE = 128, 32


def points(*xy: tuple[float, float]) -> Any:
    return np.array([xy], dtype=np.float32)


@given(x=st.floats(0, PX), y=st.floats(0, PX), width=st.floats(8, PX), height=st.floats(8, PX))
def test_a_box_is_filled(x: float, y: float, width: float, height: float) -> None:
    drawn = mask_prompts(
        points((x, y), (x + width, y + height)), np.array([[TOP_LEFT, BOTTOM_RIGHT]]), PX, SIDE
    )
    for row in range(0, SIDE, 5):
        for column in range(0, SIDE, 5):
            place = np.float32([column * 4 + 2, row * 4 + 2])
            low, high = np.float32([x, y]), np.float32([x + width, y + height])
            inside = bool((place > low).all() and (place < high).all())
            assert drawn[0, row, column] == (SURE if inside else -SURE)


def test_points_are_spots_that_add_and_take_away() -> None:
    xy, labels = points((34, 70), (90, 70), (0, 0)), np.array([[INSIDE, OUTSIDE, NO_POINT]])
    (drawn,) = mask_prompts(xy, labels, PX, SIDE)
    assert np.unravel_index(drawn.argmax(), drawn.shape) == (17, 8)
    assert drawn[17, 8] == pytest.approx(SURE)
    assert drawn[17, 22] == pytest.approx(-SURE)
    assert drawn[0, 0] < -0.99 * SURE  # the point of no place is not drawn
    (one,) = mask_prompts(xy[:, :1], labels[:, :1], PX, SIDE)
    distance = 8.0 * np.sqrt(2 * np.log(2))  # where a spot of deviation 8 px has fallen to half
    across = np.interp(34 + distance, np.arange(SIDE) * 4 + 2, one[17])
    assert across == pytest.approx(0.0, abs=0.4)


def test_nothing_is_drawn_for_no_prompts() -> None:
    none = np.zeros((0, 2), dtype=np.int64)
    assert mask_prompts(np.zeros((0, 2, 2), dtype=np.float32), none, PX, SIDE).shape == (0, SIDE, SIDE)


def test_each_prompt_is_asked_with_its_own_guess_and_a_given_guess_wins() -> None:
    backend = TorchBackend(ours(official(SHAPE, PX), SHAPE, PX))
    spots = MaskPromptBackend(backend)
    embedding = backend.embed(np.random.default_rng(0).normal(size=(3, PX, PX)).astype(np.float32))
    xy = np.random.default_rng(1).uniform(0, PX, (3, 2, 2)).astype(np.float32)
    xy[:, 1] = np.minimum(xy[:, 0] + 30, PX)
    labels = np.array([[TOP_LEFT, BOTTOM_RIGHT], [INSIDE, NO_POINT], [INSIDE, OUTSIDE]])
    drawn = spots.decode_masks(spots.encode_prompts(embedding, None), xy, labels, True)
    assert drawn.indices.tolist() == [[i, j] for i in range(3) for j in range(3)]
    for i, guess in enumerate(mask_prompts(xy, labels, PX, SIDE)):
        alone = backend.decode_masks(
            backend.encode_prompts(embedding, guess), xy[i : i + 1], labels[i : i + 1], True
        )
        assert np.array_equal(drawn.logits[3 * i : 3 * i + 3], alone.logits)
        assert np.array_equal(drawn.predicted_iou[i], alone.predicted_iou[0])
    guess = np.random.default_rng(2).normal(size=(SIDE, SIDE)).astype(np.float32)
    given_guess = spots.decode_masks(spots.encode_prompts(embedding, guess), xy, labels, False)
    plain = backend.decode_masks(backend.encode_prompts(embedding, guess), xy, labels, False)
    assert np.array_equal(given_guess.logits, plain.logits)
    threshold = float(np.median(drawn.predicted_iou))
    some = spots.decode_masks(spots.encode_prompts(embedding, None), xy, labels, True, threshold)
    assert some.indices.tolist() == np.argwhere(drawn.predicted_iou > threshold).tolist()
    assert (
        len(spots.decode_masks(spots.encode_prompts(embedding, None), xy[:0], labels[:0], True).logits) == 0
    )


@torch.no_grad()
def test_a_network_learns_as_it_will_be_asked() -> None:
    sam = ours(official(SHAPE, PX), SHAPE, PX)
    network = TrainableSam(sam, "all", correction_prompts=0)
    network.uses_mask_prompts = True
    prompts: PromptBatch = batch()
    (first,) = network(prompts)
    backend = MaskPromptBackend(TorchBackend(sam))
    for picture in range(2):
        image_tokens = backend.encode_prompts(backend.embed(prompts.inputs[picture].numpy()), None)
        xy, labels = prompts.point_coords[picture].numpy(), prompts.point_labels[picture].numpy()
        drawn = backend.decode_masks(image_tokens, xy, labels, True)
        expected = first.logits[4 * picture : 4 * picture + 4, 1:].flatten(0, 1).numpy()
        assert np.abs(drawn.logits - expected).max() < 1e-4
