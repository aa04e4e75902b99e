"""Training data of BAM: episodes of support slices and a query slice, and slices for the base learner."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from fewct.data.examples import BACKGROUND, UNKNOWN, TrainingExample, labelled_example
from fewct.data.splits import hide_structures
from fewct.errors import InputError
from fewct.methods.bam.preprocessing import longest_side, preprocess
from fewct.training.augment import simulate_scanner, warp
from fewct.training.sampling import RandomDataset
from fewct.types import CTSlice, Labels

MIN_PX = 24  # a structure of fewer pixels on a slice is not used as support or query
CROP_MARGIN = 1.06  # side of a crop relative to the longest side of the body


class Episode(NamedTuple):
    """An episode as tensors, or a batch of them.

    Args:
        query: float32 (channels, rows, columns): input of the network.
        target: int64 (rows, columns): 1 in the structure, -1 for unknown.
        supports: float32 (shots, channels, rows, columns).
        masks: float32 (shots, rows, columns): 1 in the structure.
        excluded: int64 (): the base structure that the target belongs to, counted from 1; 0 for none.
    """

    query: Tensor
    target: Tensor
    supports: Tensor
    masks: Tensor
    excluded: Tensor


class BaseSlice(NamedTuple):
    """A slice for the base learner as tensors, or a batch of them.

    Args:
        image: float32 (channels, rows, columns): input of the network.
        classes: int64 (rows, columns): base structures counted from 1, 0 for the rest, -1 for unknown.
    """

    image: Tensor
    classes: Tensor


@dataclass(frozen=True, eq=False)
class EpisodeSlice:
    """A slice that episodes are drawn from; its ids mean the same on all slices.

    Args:
        example: Its labels are whole structures, 0 for the rest, annotated or not.
        patient: None if unknown.
        regions: int32 (rows, columns): pseudo-labels, whose ids hold on this slice only, 0 for the rest; None
            for a slice without.
    """

    example: TrainingExample
    patient: str | None = None
    regions: Labels | None = None


def episode_slice(
    image: CTSlice, labels: Labels, patient: str | None = None, regions: Labels | None = None
) -> EpisodeSlice:
    """Return a slice for episodes; NaN in the image marks padding, which is unknown."""
    structure = np.where(np.isfinite(image.pixels), BACKGROUND, UNKNOWN).astype(np.uint8)
    example = labelled_example(image, labels, complete=True)
    return EpisodeSlice(replace(example, structure=structure), patient, regions)


def without_structures(slices: Iterable[EpisodeSlice], structures: Sequence[int]) -> list[EpisodeSlice]:
    """Return slices without some structures, which count as background in training, as in the paper.

    Background is "none of the base structures", and in an episode "not this structure".
    """
    return [
        replace(one, example=replace(one.example, labels=hide_structures(one.example.labels, structures)))
        for one in slices
    ]


def slices_showing(
    slices: Sequence[EpisodeSlice], structures: Iterable[int], min_px: int = MIN_PX
) -> dict[int, NDArray[np.int64]]:
    """Return for each structure the indices of the slices with at least `min_px` pixels of it."""
    areas = [np.bincount(one.example.labels.ravel()) for one in slices]
    return {
        structure: np.array(
            [k for k, area in enumerate(areas) if structure < len(area) and area[structure] >= min_px],
            dtype=np.int64,
        )
        for structure in structures
    }


def draw_supports(
    slices: Sequence[EpisodeSlice],
    places: NDArray[np.int64],
    query: int,
    shots: int,
    rng: np.random.Generator,
) -> list[int]:
    """Return the indices of support slices of other patients, or other slices where patients are unknown.

    Args:
        slices: All slices.
        places: Indices of the slices that show the structure.
        query: Index of the query.
        shots: Number of supports; some are repeated where there are fewer.
        rng: Source of randomness.

    Returns:
        `shots` indices; none where no other slice shows the structure.
    """
    patient = slices[query].patient
    others = [k for k in places.tolist() if k != query and (patient is None or slices[k].patient != patient)]
    if not others:
        return []
    return [int(k) for k in rng.choice(others, shots, replace=len(others) < shots)]


class Episodes(Dataset[Episode]):
    """Random training episodes by number, of base structures and of pseudo-labels.

    For a pseudo-label, the support is another augmentation of the query slice.

    Args:
        slices: What to draw from.
        structures: Ids of the base structures.
        shots: Supports an episode.
        size_px: Side of a crop.
        length: Number of episodes.
        seed: Episode `i` depends on it and on `i` alone.
        pseudo_share: Share of episodes of pseudo-labels; 0 where no slice has any.
        scanner: Whether augmentation includes blur, noise and windows.

    Raises:
        InputError: If there is nothing to draw an episode from.
    """

    def __init__(
        self,
        slices: Sequence[EpisodeSlice],
        structures: Sequence[int],
        shots: int,
        size_px: int,
        length: int,
        seed: int,
        pseudo_share: float = 0.0,
        scanner: bool = True,
    ) -> None:
        self.slices = slices
        self.structures = list(structures)
        self.shots = shots
        self.size_px = size_px
        self.length = length
        self.seed = seed
        self.scanner = scanner
        self.pseudo_share = pseudo_share
        self.places = {
            structure: places
            for structure, places in slices_showing(slices, structures).items()
            if _can_pair(slices, places)
        }
        self.with_regions = [k for k, one in enumerate(slices) if one.regions is not None]
        if not self.places and not (pseudo_share > 0 and self.with_regions):
            raise InputError(
                "data",
                expected="a structure on slices of two patients, or regions to draw episodes from",
                found=f"{len(slices)} slices without",
                fix="Check that ids mean the same on all slices, and that several patients are labelled.",
            )

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Episode:
        rng = np.random.default_rng((self.seed, index))
        pseudo = bool(self.with_regions) and (not self.places or rng.random() < self.pseudo_share)
        return self._of_region(rng) if pseudo else self._of_structure(rng)

    def _of_structure(self, rng: np.random.Generator) -> Episode:
        """Return an episode of a base structure, with supports of other patients."""
        structure = int(rng.choice(list(self.places)))
        query = int(rng.choice(self.places[structure]))
        supports: list[int] = []
        while not supports:
            query = int(rng.choice(self.places[structure]))
            supports = draw_supports(self.slices, self.places[structure], query, self.shots, rng)
        views = [self._view(self.slices[k].example, structure, rng) for k in (query, *supports)]
        return _episode(views, self.structures.index(structure) + 1)

    def _of_region(self, rng: np.random.Generator) -> Episode:
        """Return an episode of a pseudo-label, with the same slice augmented otherwise as each support."""
        one = self.slices[int(rng.choice(self.with_regions))]
        regions = np.zeros(one.example.labels.shape, dtype=np.int32) if one.regions is None else one.regions
        areas = np.bincount(regions.ravel())
        areas[0] = 0
        large = np.flatnonzero(areas >= MIN_PX)
        region = int(rng.choice(large)) if large.size else 1
        areas = np.bincount(one.example.labels[regions == region], minlength=1)
        areas[0] = 0 if areas[1:].sum() > areas[0] else areas[0]
        mostly = int(areas.argmax())
        example = replace(one.example, labels=regions)
        views = [self._view(example, region, rng) for _ in range(1 + self.shots)]
        return _episode(views, self.structures.index(mostly) + 1 if mostly in self.structures else 0)

    def _view(
        self, example: TrainingExample, structure: int, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        image, labels = augmented_view(example, self.size_px, rng, self.scanner)
        return image, torch.where(labels < 0, -1, (labels == structure).long())


def base_dataset(
    slices: Sequence[EpisodeSlice],
    structures: Sequence[int],
    size_px: int,
    length: int,
    seed: int,
    scanner: bool = True,
) -> RandomDataset[BaseSlice]:
    """Return random slices for the base learner; class `i + 1` is `structures[i]`. See `Episodes`."""
    largest = max((int(one.example.labels.max()) for one in slices), default=0)
    class_of = torch.zeros(max(largest, *structures) + 1, dtype=torch.long)
    class_of[list(structures)] = torch.arange(1, len(structures) + 1)

    def draw(rng: np.random.Generator, _: int) -> BaseSlice:
        example = slices[int(rng.integers(len(slices)))].example
        image, labels = augmented_view(example, size_px, rng, scanner)
        return BaseSlice(image, torch.where(labels < 0, -1, class_of[labels.clamp_min(0)]))

    return RandomDataset(draw, length, seed)


def augmented_view(
    example: TrainingExample, size_px: int, rng: np.random.Generator, scanner: bool
) -> tuple[Tensor, Tensor]:
    """Return the network's input of an augmented slice, never flipped, and its labels, -1 for unknown."""
    zoom = size_px / (CROP_MARGIN * longest_side(example.body))
    warped = warp(replace(example, zoom=zoom), size_px, rng, no_flips=True)
    image = simulate_scanner(warped.image, False, rng) if scanner else warped.image
    labels = np.where(warped.structure == UNKNOWN, -1, warped.labels).astype(np.int64)
    return torch.from_numpy(preprocess(image, warped.body)), torch.from_numpy(labels)


def _episode(views: Sequence[tuple[Tensor, Tensor]], excluded: int) -> Episode:
    (query, target), *supports = views
    images = torch.stack([image for image, _ in supports])
    masks = torch.stack([(mask == 1).float() for _, mask in supports])
    return Episode(query, target, images, masks, torch.tensor(excluded))


def _can_pair(slices: Sequence[EpisodeSlice], places: NDArray[np.int64]) -> bool:
    """Tell whether there is a query with a support among the slices at `places`."""
    patients = [slices[k].patient for k in places.tolist()]
    return len(patients) > 1 and (None in patients or len(set(patients)) > 1)
