"""Training crops, and the sources of labelled, synthetic and unlabelled examples that they are cut from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fewct.data.examples import BACKGROUND, STRUCTURE, UNKNOWN, TrainingExample
from fewct.data.hidden import anatomy_names
from fewct.data.packed import (
    HIGH_HU,
    LOW_HU,
    PackedSlice,
    load_packed_slices,
    packed_example,
    unlabelled_packed_example,
)
from fewct.errors import InputError
from fewct.imaging.body import body_mask
from fewct.phantom import phantom_slice
from fewct.training.augment import simulate_scanner, warp
from fewct.training.sampling import RandomDataset
from fewct.training.synthetic_ct import Anatomy, border_pixels, load_anatomy, make_scene, render
from fewct.types import CTSlice, Mask

BTCV_WINDOW_HU, LIDC_WINDOW_HU = (LOW_HU, HIGH_HU), (-160.0, 240.0)

ExampleSampler: TypeAlias = Callable[[np.random.Generator], TrainingExample]
Preprocess: TypeAlias = Callable[[CTSlice, Mask], NDArray[np.float32]]
"""From a slice and its body mask to the input of a network, float32 (channels, rows, columns)."""


class TrainingCrop(NamedTuple):
    """A training crop as tensors, or a batch of them.

    Args:
        channels: float32 (channels, rows, columns): input of the network.
        border: float32 (rows, columns): 1 on a border between labels.
        border_weight: float32 (rows, columns) in [0, 1]; 0 where borders are not annotated.
        structure: float32 (rows, columns): 1 in a structure.
        structure_weight: float32 (rows, columns): 0 where structures are not annotated, else 1.
        labels: int32 (rows, columns): structures, 0 for the rest, annotated or not.
        labels_above: int32 (rows, columns): those of the next slice towards the head; -1 where unknown.
    """

    channels: Tensor
    border: Tensor
    border_weight: Tensor
    structure: Tensor
    structure_weight: Tensor
    labels: Tensor
    labels_above: Tensor


@dataclass(frozen=True)
class ExampleMix:
    """A source of examples.

    Args:
        share: How often it is drawn from, relative to the other sources.
        example: Draws an example.
        synthetic: Whether its slices are rendered without a scanner's blur and noise.
    """

    share: float
    example: ExampleSampler
    synthetic: bool


def crop_dataset(
    sources: Sequence[ExampleMix], preprocess: Preprocess, size_px: int, length: int, seed: int
) -> RandomDataset[TrainingCrop]:
    """Return random crops of side `size_px`, as many as `length`."""
    shares = np.array([source.share for source in sources], dtype=np.float64)
    shares = shares / shares.sum()

    def draw(rng: np.random.Generator, _: int) -> TrainingCrop:
        source = sources[rng.choice(len(sources), p=shares)]
        warped = warp(source.example(rng), size_px, rng)
        channels = preprocess(simulate_scanner(warped.image, source.synthetic, rng), warped.body)
        return TrainingCrop(
            torch.from_numpy(channels),
            torch.from_numpy(border_pixels(warped.labels).astype(np.float32)),
            torch.from_numpy(warped.border_weight),
            torch.from_numpy((warped.structure == STRUCTURE).astype(np.float32)),
            torch.from_numpy((warped.structure != UNKNOWN).astype(np.float32)),
            torch.from_numpy(warped.labels),
            torch.full(warped.labels.shape, -1, dtype=torch.int32),
        )

    return RandomDataset(draw, length, seed)


def labelled_source(share: float, slices: Sequence[PackedSlice], low_contrast: bool) -> ExampleMix:
    """Return a source of packed slices, drawn uniformly; see `packed_example` for `low_contrast`."""
    example = lru_cache(maxsize=None)(lambda k: packed_example(slices[k], low_contrast))
    return ExampleMix(share, lambda rng: example(int(rng.integers(len(slices)))), synthetic=False)


def anatomy_source(share: float, volumes: Sequence[Anatomy], cache_size: int = 800) -> ExampleMix:
    """Return a source of slices rendered from label maps, of those with more than 1 % labelled pixels."""
    slices = [
        (volume, k)
        for volume, anatomy in enumerate(volumes)
        for k in np.flatnonzero((anatomy.labels > 0).mean(axis=(1, 2)) > 0.01)
    ]
    scene = lru_cache(maxsize=cache_size)(
        lambda volume, k: make_scene(volumes[volume].labels[k], volumes[volume].pixel_mm)
    )

    def example(rng: np.random.Generator) -> TrainingExample:
        volume, k = slices[rng.integers(len(slices))]
        anatomy = volumes[volume]
        return render(scene(volume, k), anatomy.tissues, anatomy.pixel_mm, anatomy.complete, rng)

    return ExampleMix(share, example, synthetic=True)


def phantom_source(share: float, patients: int = 300) -> ExampleMix:
    """Return a source of slices of the phantom, one of each patient."""

    @cache
    def example(seed: int) -> TrainingExample:
        level = float(np.random.default_rng((seed, 1)).uniform())
        image, truth = phantom_slice(seed, level=level, size=256)
        labels, body = truth.labels.astype(np.int32), body_mask(image)
        structure = np.where(labels > 0, STRUCTURE, BACKGROUND).astype(np.uint8)
        known = np.ones(labels.shape, dtype=np.float32)
        return TrainingExample(image.pixels, "hu", labels, structure, known, body, zoom=2.0)

    return ExampleMix(share, lambda rng: example(int(rng.integers(patients))), synthetic=False)


class SourceShares(NamedTuple):
    """How often examples come from each source.

    Args:
        slices: All labelled slices.
        dense: Those with dense segments.
        low_contrast: The same, windowed to their own range.
        trunks: Slices rendered from label maps of trunks.
        heads: Slices rendered from label maps of heads and necks.
        phantoms: Slices of the phantom.
    """

    slices: float = 0.25
    dense: float = 0.10
    low_contrast: float = 0.20
    trunks: float = 0.37
    heads: float = 0.03
    phantoms: float = 0.05


MOSAIC_SHARES = SourceShares()


def default_sources(
    data: Path, shares: SourceShares = MOSAIC_SHARES, without: Sequence[str] = ()
) -> list[ExampleMix]:
    """Return the sources of the small networks: folders `btcv/train` and `anatomy` of `data`, and phantoms.

    Args:
        data: Where the folders lie.
        shares: How often examples come from each source.
        without: Names of `ORGANS` that are left unlabelled on patients and left out of anatomies. The
            phantom, which has them all, is left out then.
    """
    slices = load_packed_slices(data / "btcv" / "train", without)
    dense = [item for item in slices if item.low_contrast is not None]
    hidden = anatomy_names(without)
    volumes = sorted((data / "anatomy").glob("trunk_*.npz"))
    trunks = [load_anatomy(path, complete=True, without=hidden) for path in volumes]
    heads = [
        load_anatomy(path, complete=False) for path in sorted((data / "anatomy").glob("headneck_*.npz"))[::4]
    ]
    sources = [
        labelled_source(shares.slices, slices, low_contrast=False),
        labelled_source(shares.dense, dense, low_contrast=False),
        labelled_source(shares.low_contrast, dense, low_contrast=True),
        anatomy_source(shares.trunks, trunks),
        anatomy_source(shares.heads, heads),
    ]
    return sources if without else [*sources, phantom_source(shares.phantoms)]


def unlabelled_slices(data: Path) -> ExampleSampler:
    """Return a source of slices without labels: `btcv/train_unlabelled.npz` and `lidc/*.npz` of `data`.

    Raises:
        InputError: If there are none.
    """
    files = {
        path: window
        for pattern, window in (("btcv/train_unlabelled.npz", BTCV_WINDOW_HU), ("lidc/*.npz", LIDC_WINDOW_HU))
        for path in sorted(data.glob(pattern))
    }
    if not files:
        raise InputError(
            data,
            expected="btcv/train_unlabelled.npz or lidc/*.npz",
            found="neither",
            fix="Switch self-training off with --no-self-training.",
        )
    images = []
    for path, window in files.items():
        with np.load(path) as file:
            images += [(image, window) for image in file["image"]]
    return lambda rng: unlabelled_packed_example(*images[int(rng.integers(len(images)))])
