"""What SAM's networks learn from: pictures, structures on them, and prompts drawn at random."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from fewct.data.examples import TrainingExample
from fewct.imaging.intensity import to_display
from fewct.methods.sam.box_prompted import moved_boxes
from fewct.methods.sam.conventions import BOTTOM_RIGHT, INSIDE, NO_POINT, TOP_LEFT, Normalization
from fewct.methods.sam.preprocessing import InputFrame, preprocess
from fewct.training.augment import WarpedExample, simulate_scanner, warp
from fewct.training.crops import ExampleMix
from fewct.types import CTSlice, Labels

LEAST_SHARE = 1.5e-4  # of the picture that a structure must cover to be asked for: 40 px of 512 x 512
WHOLE_PX = 512  # side of a whole slice, by which the zoom of examples is told

ViewSampler: TypeAlias = Callable[[np.random.Generator], "LabelledView"]


@dataclass(frozen=True, eq=False)
class LabelledView:
    """A picture and the structures on it.

    Args:
        picture: uint8 (rows, columns).
        labels: int32 (rows, columns): structures, 0 for the rest.
    """

    picture: Annotated[NDArray[np.uint8], "rows columns"]
    labels: Labels


class PromptBatch(NamedTuple):
    """A picture with prompts as tensors, or a batch of them.

    Args:
        seen: float32 (channels, side, side): the image encoder's input; or (channels, rows, columns): what
            it made of it.
        masks: uint8 (prompts, side, side): what each prompt asks for, at the size of the input.
        points_xy: float32 (prompts, points, 2): x, y in pixels of the input.
        labels: int64 (prompts, points): as in `backend`.
        asked: bool (prompts,): False where the picture holds no structure to ask for.
        number: int64 (): of the item; later prompts are drawn by it.
    """

    seen: Tensor
    masks: Tensor
    points_xy: Tensor
    labels: Tensor
    asked: Tensor
    number: Tensor


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


class PromptDataset(Dataset[PromptBatch]):
    """Pictures with prompts, by number.

    Args:
        draw: Gives a picture.
        image_size: Side of the image encoder's input.
        normalization: How it sees grey.
        asking: How prompts are drawn.
        length: How many there are.
        seed: Item `i` depends on it and on `i` alone.
    """

    def __init__(
        self,
        draw: ViewSampler,
        image_size: int,
        normalization: Normalization,
        asking: PromptSampling,
        length: int,
        seed: int,
    ) -> None:
        self.draw = draw
        self.image_size = image_size
        self.normalization: Normalization = normalization
        self.asking = asking
        self.length = length
        self.seed = seed

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> PromptBatch:
        rng = np.random.default_rng((self.seed, index))
        view = self.draw(rng)
        frame = InputFrame(view.picture.shape, self.image_size, self.image_size)
        seen = preprocess(view.picture, frame, self.normalization)
        return sample_prompts(torch.from_numpy(seen), in_frame(view.labels, frame), self.asking, rng, index)


class EmbeddedPromptDataset(Dataset[PromptBatch]):
    """The same few pictures again and again, which the image encoder has seen before, with new prompts.

    Args:
        embeddings: float (n, channels, rows, columns).
        labels: For each its structures, int32 (side, side), at the size of the image encoder's input.
        asking: How prompts are drawn.
        length: How many there are.
        seed: Item `i` depends on it and on `i` alone.
    """

    def __init__(
        self, embeddings: Tensor, labels: Sequence[Labels], asking: PromptSampling, length: int, seed: int
    ) -> None:
        self.embeddings = embeddings
        self.labels = labels
        self.asking = asking
        self.length = length
        self.seed = seed

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> PromptBatch:
        rng = np.random.default_rng((self.seed, index))
        number = int(rng.integers(len(self.labels)))
        return sample_prompts(self.embeddings[number], self.labels[number], self.asking, rng, index)


def source_views(sources: Sequence[ExampleMix], size_px: int, no_flips: float = 0.0) -> ViewSampler:
    """Return what draws a slice of one of several sources, as another scanner might show it.

    Args:
        sources: Where examples come from.
        size_px: Side of the picture, which shows about a whole slice whatever it is.
        no_flips: Share of pictures that are neither flipped nor turned by quarters.
    """
    shares = np.array([source.share for source in sources], dtype=np.float64)

    def draw(rng: np.random.Generator) -> LabelledView:
        source = sources[rng.choice(len(sources), p=shares / shares.sum())]
        example = source.example(rng)
        zoomed = replace(example, zoom=example.zoom * size_px / WHOLE_PX)
        return _shown(warp(zoomed, size_px, rng, rng.random() < no_flips), source.synthetic, rng)

    return draw


def example_views(examples: Sequence[TrainingExample], size_px: int, no_flips: bool) -> ViewSampler:
    """Return what draws one of some slices, as another scanner might show it.

    Args:
        examples: What to draw from, each as likely as the others.
        size_px: The longest side of a slice is brought to this.
        no_flips: Whether to keep the orientation: no flips and no quarter turns.
    """

    def draw(rng: np.random.Generator) -> LabelledView:
        example = examples[int(rng.integers(len(examples)))]
        zoomed = replace(example, zoom=size_px / max(example.pixels.shape))
        return _shown(warp(zoomed, size_px, rng, no_flips), False, rng)

    return draw


def plain_view(example: TrainingExample) -> LabelledView:
    """Return a slice as it is."""
    return LabelledView(to_display(CTSlice(example.pixels, example.unit)), example.labels)


def _shown(warped: WarpedExample, synthetic: bool, rng: np.random.Generator) -> LabelledView:
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
    seen: Tensor, labels: Labels, asking: PromptSampling, rng: np.random.Generator, number: int
) -> PromptBatch:
    """Draw prompts for structures of a picture, several for each where there are few.

    Args:
        seen: What the network gets of the picture.
        labels: int32 (side, side): its structures, at the size of the image encoder's input.
        asking: How prompts are drawn.
        rng: Source of randomness.
        number: Of the item.
    """
    areas = np.bincount(labels.ravel())
    areas[0] = 0
    large = np.flatnonzero(areas >= max(LEAST_SHARE * labels.size, 1))
    chosen = np.resize(rng.permutation(large), asking.prompts if len(large) else 0)
    masks = np.zeros((asking.prompts, *labels.shape), dtype=np.uint8)
    points = np.zeros((asking.prompts, 2, 2), dtype=np.float32)
    kinds = np.full((asking.prompts, 2), NO_POINT, dtype=np.int64)
    for i, structure in enumerate(chosen.tolist()):
        masks[i] = labels == structure
        points[i], kinds[i] = draw_prompt(masks[i], asking, rng)
    return PromptBatch(
        seen,
        torch.from_numpy(masks),
        torch.from_numpy(points),
        torch.from_numpy(kinds),
        torch.full((asking.prompts,), len(chosen) > 0),
        torch.tensor(number),
    )


def draw_prompt(
    mask: Annotated[NDArray[np.uint8], "side side"], asking: PromptSampling, rng: np.random.Generator
) -> tuple[Annotated[NDArray[np.float32], "2 2"], Annotated[NDArray[np.int64], "2"]]:
    """Return a box around a structure, roughly drawn, or a point on it: two points and their labels."""
    rows, columns = np.nonzero(mask)
    if rng.random() < asking.box_share:
        box = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        jitter = rng.uniform(0, asking.jitter_px)
        moved = moved_boxes(box[None], (mask.shape[0], mask.shape[1]), 0, jitter, rng)
        return moved.reshape(2, 2).astype(np.float32), np.array([TOP_LEFT, BOTTOM_RIGHT])
    place = int(rng.integers(len(rows)))
    return np.array([[columns[place], rows[place]], [0, 0]], dtype=np.float32), np.array([INSIDE, NO_POINT])
