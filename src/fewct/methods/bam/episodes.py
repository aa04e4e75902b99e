"""Episodes: a few support slices with a structure's masks, and a query in which to find it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from fewct.data.examples import BACKGROUND, UNKNOWN, TrainingExample
from fewct.data.splits import hide_structures
from fewct.errors import InputError
from fewct.imaging.body import body_mask
from fewct.methods.bam.preprocessing import longest_side, network_input
from fewct.training.augment import simulate_scanner, warp
from fewct.types import CTSlice, Labels

MIN_PX = 24  # a structure of fewer pixels on a slice is no support and no query
ROOM = 1.06  # the patient's longest side fills so much less of a crop
DARKEST_HU = -1024.0


class Episode(NamedTuple):
    """An episode as tensors, or a batch of them.

    Args:
        query: float32 (channels, rows, columns): what the network sees.
        target: int64 (rows, columns): 1 in the structure, -1 where nothing is known.
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
        image: float32 (channels, rows, columns): what the network sees.
        classes: int64 (rows, columns): base structures counted from 1, 0 for the rest, -1 for unknown.
    """

    image: Tensor
    classes: Tensor


@dataclass(frozen=True, eq=False)
class NamedSlice:
    """A slice whose ids mean the same as on other slices; a structure that is labelled is labelled whole.

    Args:
        example: The slice; its labels are structures, 0 for the rest, known or not.
        patient: Who it is; None if unknown.
        regions: int32 (rows, columns): regions whose numbers mean nothing elsewhere, 0 for the rest; None for
            a slice that gives no pseudo-labels.
    """

    example: TrainingExample
    patient: str | None = None
    regions: Labels | None = None


def named_slice(
    image: CTSlice, labels: Labels, patient: str | None = None, regions: Labels | None = None
) -> NamedSlice:
    """Return a slice as episodes are drawn from it.

    Args:
        image: Slice; NaN marks padding, of which nothing is known.
        labels: int32 (rows, columns): structures, 0 for the rest.
        patient: Who it is; None if unknown.
        regions: int32 (rows, columns), see `NamedSlice`.
    """
    body = body_mask(image)
    finite = np.isfinite(image.pixels)
    darkest = DARKEST_HU if image.unit == "hu" else float(image.pixels[finite].min(initial=0.0))
    pixels = np.where(finite, image.pixels, np.float32(darkest)).astype(np.float32)
    known = np.where(finite, BACKGROUND, UNKNOWN).astype(np.uint8)
    no_borders = np.zeros(labels.shape, dtype=np.float32)
    return NamedSlice(
        TrainingExample(pixels, image.unit, labels, known, no_borders, body, zoom=1.0), patient, regions
    )


def hide(slices: Iterable[NamedSlice], structures: Sequence[int]) -> list[NamedSlice]:
    """Return slices without some structures: as in the paper, they count as background in training.

    That is no lie: background means "none of the base structures", and in an episode "not this structure".
    """
    return [
        replace(one, example=replace(one.example, labels=hide_structures(one.example.labels, structures)))
        for one in slices
    ]


def places_of(
    slices: Sequence[NamedSlice], structures: Iterable[int], min_px: int = MIN_PX
) -> dict[int, NDArray[np.int64]]:
    """Return for each structure the numbers of the slices that show at least so many pixels of it."""
    areas = [np.bincount(one.example.labels.ravel()) for one in slices]
    return {
        structure: np.array(
            [k for k, area in enumerate(areas) if structure < len(area) and area[structure] >= min_px],
            dtype=np.int64,
        )
        for structure in structures
    }


def draw_supports(
    slices: Sequence[NamedSlice],
    places: NDArray[np.int64],
    query: int,
    shots: int,
    rng: np.random.Generator,
) -> list[int]:
    """Return the numbers of support slices for a query: of other patients, or other slices where unknown.

    Args:
        slices: What to choose from.
        places: Numbers of the slices that show the structure.
        query: Number of the query.
        shots: How many; some come more than once where there are fewer.
        rng: Source of randomness.

    Returns:
        `shots` numbers; none where no other slice shows the structure.
    """
    patient = slices[query].patient
    others = [k for k in places.tolist() if k != query and (patient is None or slices[k].patient != patient)]
    if not others:
        return []
    return [int(k) for k in rng.choice(others, shots, replace=len(others) < shots)]


class Episodes(Dataset[Episode]):
    """Training episodes by number: of base structures, and of regions without meaning.

    In the latter, the support is the same slice turned, bent and scanned otherwise.

    Args:
        slices: What to draw from.
        structures: Ids of the base structures.
        shots: Supports an episode.
        size_px: Side of a crop.
        length: How many episodes there are.
        seed: Episode `i` depends on it and on `i` alone.
        pseudo_share: How often an episode is of a region; 0 where no slice has regions.
        scanner: Whether slices are shown as another scanner or export might: blur, noise, windows.

    Raises:
        InputError: If there is nothing to draw an episode from.
    """

    def __init__(
        self,
        slices: Sequence[NamedSlice],
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
            for structure, places in places_of(slices, structures).items()
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
        """Return an episode of a base structure, the support being of another patient."""
        structure = int(rng.choice(list(self.places)))
        query = int(rng.choice(self.places[structure]))
        supports: list[int] = []
        while not supports:
            query = int(rng.choice(self.places[structure]))
            supports = draw_supports(self.slices, self.places[structure], query, self.shots, rng)
        views = [self._view(self.slices[k].example, structure, rng) for k in (query, *supports)]
        return _episode(views, self.structures.index(structure) + 1)

    def _of_region(self, rng: np.random.Generator) -> Episode:
        """Return an episode of a region, each support being the same slice seen otherwise."""
        one = self.slices[int(rng.choice(self.with_regions))]
        regions = np.zeros(one.example.labels.shape, dtype=np.int32) if one.regions is None else one.regions
        areas = np.bincount(regions.ravel())
        areas[0] = 0
        large = np.flatnonzero(areas >= MIN_PX)
        region = int(rng.choice(large)) if large.size else 1
        named = np.bincount(one.example.labels[regions == region], minlength=1)
        named[0] = 0 if named[1:].sum() > named[0] else named[0]
        mostly = int(named.argmax())
        example = replace(one.example, labels=regions)
        views = [self._view(example, region, rng) for _ in range(1 + self.shots)]
        return _episode(views, self.structures.index(mostly) + 1 if mostly in self.structures else 0)

    def _view(
        self, example: TrainingExample, structure: int, rng: np.random.Generator
    ) -> tuple[Tensor, Tensor]:
        image, labels = view(example, self.size_px, rng, self.scanner)
        return image, torch.where(labels < 0, -1, (labels == structure).long())


class BaseSlices(Dataset[BaseSlice]):
    """Training slices of the base learner by number.

    Args:
        slices: What to draw from.
        structures: Ids of the base structures; class `i + 1` is `structures[i]`.
        size_px: Side of a crop.
        length: How many there are.
        seed: Slice `i` depends on it and on `i` alone.
        scanner: As for `Episodes`.
    """

    def __init__(
        self,
        slices: Sequence[NamedSlice],
        structures: Sequence[int],
        size_px: int,
        length: int,
        seed: int,
        scanner: bool = True,
    ) -> None:
        self.slices = slices
        self.size_px = size_px
        self.length = length
        self.seed = seed
        self.scanner = scanner
        largest = max((int(one.example.labels.max()) for one in slices), default=0)
        self.class_of = torch.zeros(max(largest, *structures) + 1, dtype=torch.long)
        self.class_of[list(structures)] = torch.arange(1, len(structures) + 1)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> BaseSlice:
        rng = np.random.default_rng((self.seed, index))
        example = self.slices[int(rng.integers(len(self.slices)))].example
        image, labels = view(example, self.size_px, rng, self.scanner)
        return BaseSlice(image, torch.where(labels < 0, -1, self.class_of[labels.clamp_min(0)]))


def view(
    example: TrainingExample, size_px: int, rng: np.random.Generator, scanner: bool
) -> tuple[Tensor, Tensor]:
    """Return a slice turned, scaled and bent a little: what the network sees, and labels, -1 for unknown."""
    zoom = size_px / (ROOM * longest_side(example.body))
    warped = warp(replace(example, zoom=zoom), size_px, rng, upright=True)
    image = simulate_scanner(warped.image, False, rng) if scanner else warped.image
    labels = np.where(warped.structure == UNKNOWN, -1, warped.labels).astype(np.int64)
    return torch.from_numpy(network_input(image, warped.body)), torch.from_numpy(labels)


def _episode(views: Sequence[tuple[Tensor, Tensor]], excluded: int) -> Episode:
    (query, target), *supports = views
    images = torch.stack([image for image, _ in supports])
    masks = torch.stack([(mask == 1).float() for _, mask in supports])
    return Episode(query, target, images, masks, torch.tensor(excluded))


def _can_pair(slices: Sequence[NamedSlice], places: NDArray[np.int64]) -> bool:
    """Tell whether some query among the slices has a support among them."""
    patients = [slices[k].patient for k in places.tolist()]
    return len(patients) > 1 and (None in patients or len(set(patients)) > 1)
