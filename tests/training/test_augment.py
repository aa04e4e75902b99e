"""Warping keeps image and labels together; the scanner keeps anatomy recognisable."""

import numpy as np
import pytest

from fewct.training.augment import scan, warp
from fewct.training.examples import BACKGROUND, STRUCTURE, UNKNOWN, Example
from fewct.types import CTSlice


def disk_example() -> Example:
    y, x = np.mgrid[:128, :160]
    disk = np.hypot(y - 64, x - 80) < 40
    pixels = np.where(disk, 60, -1000).astype(np.float32)
    structure = np.where(disk, STRUCTURE, BACKGROUND).astype(np.uint8)
    return Example(
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


@pytest.mark.parametrize("synthetic", [True, False])
def test_a_scan_is_finite_and_windowed_ones_are_8_bit(synthetic: bool) -> None:
    image = CTSlice(disk_example().pixels, "hu")
    units = set()
    for seed in range(40):
        scanned = scan(image, synthetic, np.random.default_rng(seed))
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
    assert {scan(grey, False, np.random.default_rng(seed)).unit for seed in range(5)} == {"grey"}
