"""Warping keeps image and labels together; the scanner keeps anatomy recognisable."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from fewct.data.examples import BACKGROUND, STRUCTURE, UNKNOWN, TrainingExample
from fewct.data.packed import LABEL_OFFSET_PX
from fewct.training.augment import simulate_scanner, warp
from fewct.types import CTSlice


def disk_example() -> TrainingExample:
    y, x = np.mgrid[:128, :160]
    disk = np.hypot(y - 64, x - 80) < 40
    pixels = np.where(disk, 60, -1000).astype(np.float32)
    structure = np.where(disk, STRUCTURE, BACKGROUND).astype(np.uint8)
    return TrainingExample(
        pixels, "hu", disk.astype(np.int32), structure, np.ones(disk.shape, np.float32), disk, zoom=1.5
    )


@pytest.mark.parametrize("seed", range(8))
def test_labels_move_with_the_image(seed: int) -> None:
    warped = warp(disk_example(), 128, np.random.default_rng(seed))
    assert warped.image.shape == (128, 128)
    disk = warped.labels == 1
    assert disk.any()
    known = warped.structure != UNKNOWN
    assert np.array_equal(warped.structure == STRUCTURE, disk)
    assert (known == (warped.border_weight > 0)).all()  # both end where the slice ends
    agrees = (warped.image.pixels > -470) == disk
    assert agrees[known].mean() > 0.99


def test_orientations_and_sizes_differ_between_seeds() -> None:
    areas = [
        np.count_nonzero(warp(disk_example(), 128, np.random.default_rng(seed)).labels) for seed in range(9)
    ]
    assert max(areas) > 1.3 * min(areas)


@pytest.mark.parametrize("seed", range(4))
def test_examples_are_enlarged_by_their_zoom(seed: int) -> None:
    """A random zoom of exp(-0.25) to exp(0.22) comes on top; deformation changes the area by a little."""
    area = np.count_nonzero(disk_example().labels)
    for zoom in (0.6, 1.0, 1.5):
        warped = warp(replace(disk_example(), zoom=zoom), round(133 * zoom), np.random.default_rng(seed))
        enlarged = np.sqrt(np.count_nonzero(warped.labels) / area)
        assert 0.95 * np.exp(-0.25) < enlarged / zoom < 1.05 * np.exp(0.22)


@pytest.mark.parametrize("synthetic", [True, False])
def test_a_scan_is_finite_and_windowed_ones_are_8_bit(synthetic: bool) -> None:
    image = CTSlice(disk_example().pixels, "hu")
    units = set()
    for seed in range(40):
        scanned = simulate_scanner(image, synthetic, np.random.default_rng(seed))
        assert scanned.pixels.dtype == np.float32
        assert np.isfinite(scanned.pixels).all()
        units.add(scanned.unit)
        if scanned.unit == "grey":
            assert scanned.pixels.min() >= 0
            assert scanned.pixels.max() <= 255
            assert np.array_equal(scanned.pixels, np.rint(scanned.pixels))
    assert units == {"hu", "grey"}


def test_grey_stays_grey() -> None:
    grey = CTSlice(np.full((64, 64), 90, dtype=np.float32), "grey")
    assert {simulate_scanner(grey, False, np.random.default_rng(seed)).unit for seed in range(5)} == {"grey"}


def test_slices_without_flips_are_neither_flipped_nor_turned_by_quarters() -> None:
    example = disk_example()
    y, x = np.mgrid[:128, :160]
    corner = (np.hypot(y - 40, x - 50) < 12).astype(np.int32)  # up and left of the middle
    for seed in range(12):
        marked = replace(example, labels=corner)
        labels = warp(marked, 200, np.random.default_rng(seed), no_flips=True).labels
        disk = warp(example, 200, np.random.default_rng(seed), no_flips=True).labels
        assert (np.argwhere(labels).mean(axis=0) < np.argwhere(disk).mean(axis=0)).all()


@pytest.mark.parametrize("seed", range(4))
def test_labels_that_lie_ahead_are_brought_to_the_pixels(seed: int) -> None:
    example = disk_example()
    moved = {
        name: np.roll(getattr(example, name), (-6, -6), (0, 1))
        for name in ("labels", "structure", "border_weight")
    }
    warped = warp(replace(example, **moved, label_offset_px=6.0), 128, np.random.default_rng(seed))
    agrees = (warped.image.pixels > -470) == (warped.labels == 1)
    assert agrees[warped.structure != UNKNOWN].mean() > 0.99


@pytest.mark.shared
def test_the_packed_patients_labels_lie_ahead(shared_data: Path) -> None:
    """The edges of the images are steepest where the labels' edges are, moved by `LABEL_OFFSET_PX`."""
    moves = np.linspace(-1, 1.5, 11)
    steepness = np.zeros(len(moves))
    for path in sorted((shared_data / "btcv" / "train").glob("*.npz"))[:4]:
        with np.load(path) as patient:
            for image, labels in zip(patient["image"][::10], patient["label"][::10], strict=True):
                edge = ndimage.gaussian_gradient_magnitude(image.astype(np.float32), 0.7)
                for axis in (0, 1):
                    places = np.argwhere(np.diff(labels.astype(int), axis=axis) != 0).T + 0.0
                    places[axis] += 0.5
                    for k, move in enumerate(moves):
                        moved = places + move
                        steepness[k] += ndimage.map_coordinates(edge, moved, order=1).mean()
    assert abs(moves[steepness.argmax()] - LABEL_OFFSET_PX) <= 0.2
