"""What SAM's networks learn from: prompts lie where they should, and an item depends on its number alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.utils.data import Dataset

from fewct.data.examples import TrainingExample, labelled_example
from fewct.methods.sam.conventions import BOTTOM_RIGHT, INSIDE, NO_POINT, TOP_LEFT
from fewct.methods.sam.finetuning.dataset import (
    PromptBatch,
    PromptSampling,
    example_views,
    in_frame,
    network_inputs,
    one_of,
    plain_view,
    prompt_dataset,
    sample_prompts,
    source_views,
)
from fewct.methods.sam.preprocessing import InputFrame
from fewct.phantom import phantom_slice
from fewct.training.crops import ExampleMix
from fewct.types import CTSlice

SIDE = 128
BOXES = PromptSampling(prompts=5, box_share=1, jitter_px=0)
POINTS = PromptSampling(prompts=5, box_share=0, jitter_px=0)


def squares() -> NDArray[np.int32]:
    """Return three structures, of which the last is but one pixel."""
    labels = np.zeros((SIDE, SIDE), dtype=np.int32)
    labels[5:20, 10:30], labels[40:50, 33:60], labels[0, 0] = 7, 3, 9
    return labels


def prompts(sampling: PromptSampling, seed: int = 0, labels: NDArray[np.int32] | None = None) -> PromptBatch:
    drawn = squares() if labels is None else labels
    return sample_prompts(torch.zeros(1), drawn, sampling, np.random.default_rng(seed), 0)


@pytest.fixture(scope="module")
def examples() -> list[TrainingExample]:
    drawn = [phantom_slice(seed, size=48) for seed in (1, 2)]
    return [labelled_example(ct, truth.labels.astype(np.int32), complete=True) for ct, truth in drawn]


def whole(example: TrainingExample) -> TrainingExample:
    """Return an example that fills a slice of 512 pixels, as those of the sources do."""
    return replace(example, zoom=512 / len(example.pixels))


def same(first: PromptBatch, second: PromptBatch) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_boxes_without_jitter_are_those_of_structures() -> None:
    found = prompts(BOXES)
    corners = {7: [[10, 5], [30, 20]], 3: [[33, 40], [60, 50]]}
    seen = set()
    for mask, points, labels in zip(found.masks, found.point_coords, found.point_labels, strict=True):
        structure = int(squares()[mask.numpy() > 0][0])
        assert torch.equal(mask > 0, torch.from_numpy(squares() == structure))
        assert points.tolist() == corners[structure]
        assert labels.tolist() == [TOP_LEFT, BOTTOM_RIGHT]
        seen.add(structure)
    assert seen == {3, 7}  # each of them, however few, and no structure of one pixel
    assert found.valid.all()


@given(seed=st.integers(0, 10_000))
def test_jitter_moves_no_side_of_a_box_further_than_asked(seed: int) -> None:
    found = prompts(replace(BOXES, jitter_px=4.0), seed)
    for mask, points in zip(found.masks, found.point_coords, strict=True):
        rows, columns = np.nonzero(mask.numpy())
        box = np.array([[columns.min(), rows.min()], [columns.max() + 1, rows.max() + 1]])
        assert np.abs(points.numpy() - box).max() <= 4.001
        assert (points[1] > points[0]).all()


@given(seed=st.integers(0, 10_000))
def test_points_lie_on_their_structure(seed: int) -> None:
    found = prompts(POINTS, seed)
    for mask, points, labels in zip(found.masks, found.point_coords, found.point_labels, strict=True):
        x, y = points[0].int().tolist()
        assert mask[y, x] == 1
        assert labels.tolist() == [INSIDE, NO_POINT]


def test_nothing_is_asked_where_nothing_is_labelled() -> None:
    found = prompts(BOXES, labels=np.zeros((SIDE, SIDE), dtype=np.int32))
    assert not found.valid.any()
    assert not found.masks.any()
    assert (found.point_labels == NO_POINT).all()


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_labels_in_the_frame_are_repeated_where_the_picture_grows(factor: int) -> None:
    labels = np.arange(1, 5 * 8 + 1, dtype=np.int32).reshape(5, 8)
    placed = in_frame(labels, InputFrame((5, 8), 8 * factor, 8 * factor))
    assert np.array_equal(placed[: 5 * factor], np.kron(labels, np.ones((factor, factor), dtype=np.int32)))
    assert not placed[5 * factor :].any()


def test_labels_in_the_frame_are_taken_from_the_middle_where_the_picture_shrinks() -> None:
    labels = np.arange(36, dtype=np.int32).reshape(6, 6)
    assert np.array_equal(in_frame(labels, InputFrame((6, 6), 2, 2)), labels[1::3, 1::3])


@pytest.mark.parametrize("kind", ["slices", "sources", "embeddings"])
def test_an_item_depends_on_its_number_alone(kind: str, examples: list[TrainingExample]) -> None:
    def data() -> Dataset[PromptBatch]:
        if kind == "embeddings":
            encoded = [(torch.rand(3, 4, 4), example.labels) for example in examples]
            return prompt_dataset(one_of(encoded), POINTS, 9, seed=4)
        source = ExampleMix(1.0, lambda rng: whole(examples[int(rng.integers(2))]), synthetic=False)
        draw = source_views([source], SIDE) if kind == "sources" else example_views(examples, SIDE, False)
        return prompt_dataset(network_inputs(draw, SIDE, "ranks"), BOXES, 9, seed=4)

    torch.manual_seed(0)
    forwards = [data()[i] for i in (0, 1, 2)]
    torch.manual_seed(0)
    backwards = [data()[i] for i in (2, 1, 0)][::-1]
    assert same(forwards[2], backwards[2]) if kind != "embeddings" else True
    assert torch.equal(forwards[0].point_coords, backwards[0].point_coords)
    assert not torch.equal(forwards[0].point_coords, forwards[1].point_coords)


def test_pictures_and_labels_are_moved_together(examples: list[TrainingExample]) -> None:
    plain = examples[0]
    marked = replace(plain, labels=(plain.pixels > 0).astype(np.int32))  # what is bright is the structure
    view = example_views([marked], SIDE, no_flips=False)(np.random.default_rng(3))
    inside, outside = view.picture[view.labels > 0], view.picture[view.labels == 0]
    assert inside.size > 20
    assert np.median(inside) > np.percentile(outside, 75) + 20


@pytest.mark.parametrize("size_px", [64, 128])
def test_pictures_of_sources_show_about_the_whole_slice(
    size_px: int, examples: list[TrainingExample]
) -> None:
    body = whole(replace(examples[0], labels=examples[0].body.astype(np.int32)))
    draw = source_views([ExampleMix(1.0, lambda _: body, synthetic=False)], size_px)
    seen = [np.mean(draw(np.random.default_rng(seed)).labels > 0) for seed in range(6)]
    assert np.mean(seen) == pytest.approx(body.body.mean(), rel=0.35)


def test_sources_are_turned_as_rarely_as_asked() -> None:
    """The half of the picture that is marked stays where it is, unless the picture is turned or flipped."""
    labels = np.zeros((SIDE, SIDE), dtype=np.int32)
    labels[: SIDE // 2] = 1
    marked = labelled_example(CTSlice(np.full((SIDE, SIDE), 40, np.float32), "hu"), labels, complete=True)
    half = whole(marked)

    def upright(share: float) -> float:
        draw = source_views([ExampleMix(1.0, lambda _: half, synthetic=False)], SIDE, share)
        views = [draw(np.random.default_rng(seed)).labels for seed in range(60)]
        return float(np.mean([view[: SIDE // 4].mean() - view[-SIDE // 4 :].mean() > 0.1 for view in views]))

    assert upright(1.0) == 1.0
    assert 0.7 < upright(0.8) < 0.97  # a quarter of the flipped and turned ones has its top up
    assert upright(0.0) < 0.5


def test_a_plain_view_is_the_slice_as_people_see_it(examples: list[TrainingExample]) -> None:
    view = plain_view(examples[0])
    assert view.picture.shape == examples[0].pixels.shape
    assert np.array_equal(view.labels, examples[0].labels)
