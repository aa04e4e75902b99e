"""Training data of SAM's networks: augmented views, structures on them, and prompts drawn at random."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fewct.data.examples import TrainingExample
from fewct.imaging.intensity import to_display
from fewct.methods.sam.conventions import BOTTOM_RIGHT, INSIDE, NO_POINT, TOP_LEFT, Normalization, Picture
from fewct.methods.sam.inference import moved_boxes
from fewct.methods.sam.preprocessing import InputFrame, preprocess
from fewct.training.augment import WarpedExample, simulate_scanner, warp
from fewct.training.crops import ExampleMix
from fewct.training.sampling import RandomDataset
from fewct.types import CTSlice, Labels

LEAST_SHARE = 1.5e-4  # of the picture that a structure must cover to get prompts: 40 px of 512 x 512
WHOLE_PX = 512  # side of a whole slice, which the zoom of examples refers to

ViewSampler: TypeAlias = Callable[[np.random.Generator], "LabelledView"]
InputSampler: TypeAlias = Callable[[np.random.Generator], tuple[Tensor, Labels]]
"""Draws what the network takes of a picture, its input or its embedding, and its structures, at the size of
the input: int32 (side, side)."""


@dataclass(frozen=True, eq=False)
class LabelledView:
    """A picture and the structures on it, int32 (rows, columns), 0 for the rest."""

    picture: Picture
    labels: Labels


class PromptBatch(NamedTuple):
    """A picture with prompts as tensors, or a batch of them.

    Args:
        inputs: float32 (channels, side, side): the image encoder's input; or (channels, rows, columns): its
            embedding.
        masks: uint8 (prompts, side, side): the structure of each prompt, at the size of the input.
        point_coords: float32 (prompts, points, 2): x, y in pixels of the input.
        point_labels: int64 (prompts, points): as in `conventions`.
        valid: bool (prompts,): False where the picture holds no structure to prompt.
        item: int64 (): number of the item; corrections are drawn by it.
    """

    inputs: Tensor
    masks: Tensor
    point_coords: Tensor
    point_labels: Tensor
    valid: Tensor
    item: Tensor


PromptDataset: TypeAlias = RandomDataset[PromptBatch]


@dataclass(frozen=True)
class PromptSampling:
    """How prompts are drawn.

    Args:
        prompts: For each picture.
        box_share: Share of prompts that are boxes; the others are points.
        jitter_px: By how much each side of a box moves at most, in pixels of the input; each box draws its
            own measure.
    """

    prompts: int
    box_share: float
    jitter_px: float


def prompt_dataset(draw: InputSampler, sampling: PromptSampling, length: int, seed: int) -> PromptDataset:
    """Return a data set of `length` pictures with prompts."""
    return RandomDataset(lambda rng, item: sample_prompts(*draw(rng), sampling, rng, item), length, seed)


def network_inputs(views: ViewSampler, image_size: int, normalization: Normalization) -> InputSampler:
    """Return a sampler of views as input of the image encoder."""
    return lambda rng: view_input(views(rng), image_size, normalization)


def one_of(encoded: Sequence[tuple[Tensor, Labels]]) -> InputSampler:
    """Return a sampler of given inputs, or embeddings, with their structures."""
    return lambda rng: encoded[int(rng.integers(len(encoded)))]


def view_input(view: LabelledView, image_size: int, normalization: Normalization) -> tuple[Tensor, Labels]:
    """Return a picture as the image encoder's input, float32 (channels, side, side), and its structures."""
    frame = InputFrame(view.picture.shape, image_size, image_size)
    return torch.from_numpy(preprocess(view.picture, frame, normalization)), in_frame(view.labels, frame)


def source_views(sources: Sequence[ExampleMix], size_px: int, no_flips: float = 0.0) -> ViewSampler:
    """Return a sampler of augmented slices of several sources.

    Args:
        size_px: Side of the picture, which shows about a whole slice whatever it is.
        no_flips: Share of pictures that are neither flipped nor turned by quarters.
    """
    shares = np.array([source.share for source in sources], dtype=np.float64)

    def draw(rng: np.random.Generator) -> LabelledView:
        source = sources[rng.choice(len(sources), p=shares / shares.sum())]
        example = source.example(rng)
        zoomed = replace(example, zoom=example.zoom * size_px / WHOLE_PX)
        return _scanned(warp(zoomed, size_px, rng, rng.random() < no_flips), source.synthetic, rng)

    return draw


def example_views(examples: Sequence[TrainingExample], size_px: int, no_flips: bool) -> ViewSampler:
    """Return a sampler of augmented views of given slices.

    Args:
        examples: The slices, each as likely as the others.
        size_px: The longest side of a slice is brought to this.
        no_flips: Whether to keep the orientation: no flips and no quarter turns.
    """

    def draw(rng: np.random.Generator) -> LabelledView:
        example = examples[int(rng.integers(len(examples)))]
        zoomed = replace(example, zoom=size_px / max(example.pixels.shape))
        return _scanned(warp(zoomed, size_px, rng, no_flips), False, rng)

    return draw


def plain_view(example: TrainingExample) -> LabelledView:
    """Return a slice as it is."""
    return LabelledView(to_display(CTSlice(example.pixels, example.unit)), example.labels)


def _scanned(warped: WarpedExample, synthetic: bool, rng: np.random.Generator) -> LabelledView:
    return LabelledView(to_display(simulate_scanner(warped.image, synthetic, rng)), warped.labels)


def in_frame(labels: Labels, frame: InputFrame) -> Labels:
    """Return labels as they lie in the network's input, int32 (image_size, image_size); padding is 0."""
    rows, columns = (
        ((np.arange(inner) + 0.5) * side / inner).astype(np.int64)
        for inner, side in zip(frame.inner, frame.shape, strict=True)
    )
    placed = np.zeros((frame.image_size, frame.image_size), dtype=np.int32)
    placed[: frame.inner[0], : frame.inner[1]] = labels[np.ix_(rows, columns)]
    return placed


def sample_prompts(
    inputs: Tensor, labels: Labels, sampling: PromptSampling, rng: np.random.Generator, item: int
) -> PromptBatch:
    """Draw prompts for structures of a picture, several for each where there are few; see `InputSampler`."""
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    large = np.flatnonzero(areas >= max(LEAST_SHARE * labels.size, 1))
    structures = np.resize(rng.permutation(large), sampling.prompts if len(large) else 0)
    masks = np.zeros((sampling.prompts, *labels.shape), dtype=np.uint8)
    points = np.zeros((sampling.prompts, 2, 2), dtype=np.float32)
    kinds = np.full((sampling.prompts, 2), NO_POINT, dtype=np.int64)
    for i, structure in enumerate(structures.tolist()):
        masks[i] = labels == structure
        points[i], kinds[i] = sample_prompt(masks[i], sampling, rng)
    return PromptBatch(
        inputs,
        torch.from_numpy(masks),
        torch.from_numpy(points),
        torch.from_numpy(kinds),
        torch.full((sampling.prompts,), len(structures) > 0),
        torch.tensor(item),
    )


def sample_prompt(
    mask: Annotated[NDArray[np.uint8], "side side"], sampling: PromptSampling, rng: np.random.Generator
) -> tuple[Annotated[NDArray[np.float32], "2 2"], Annotated[NDArray[np.int64], "2"]]:
    """Return a jittered box around a structure, or a point on it: two points and their labels."""
    rows, columns = np.nonzero(mask)
    if rng.random() < sampling.box_share:
        box = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        jitter = rng.uniform(0, sampling.jitter_px)
        moved = moved_boxes(box[None], (mask.shape[0], mask.shape[1]), 0, jitter, rng)
        return moved.reshape(2, 2).astype(np.float32), np.array([TOP_LEFT, BOTTOM_RIGHT])
    place = int(rng.integers(len(rows)))
    return np.array([[columns[place], rows[place]], [0, 0]], dtype=np.float32), np.array([INSIDE, NO_POINT])
