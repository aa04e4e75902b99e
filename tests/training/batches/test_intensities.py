"""Intensities on tensors against those that slices are segmented with."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fewct.imaging import intensity
from fewct.training.batches.intensities import contrast, ranks
from fewct.types import CTSlice, Image, Mask, Unit


def body() -> Mask:
    y, x = np.mgrid[:48, :64]
    disk: Mask = np.hypot(y - 24, x - 30) < 20
    return disk


def pixels(unit: Unit, seed: int) -> Image:
    rng = np.random.default_rng(seed)
    hu = np.where(body(), rng.normal(60, 80, (48, 64)), -1000.0)
    if unit == "grey":
        hu = np.rint(np.clip((hu + 125) / 400, 0, 1) * 255)
    return hu.astype(np.float32)


@given(st.integers(0, 1000))
def test_contrast_in_hounsfield_units(seed: int) -> None:
    image = CTSlice(pixels("hu", seed), "hu")
    found = contrast(
        torch.from_numpy(image.pixels)[None, None], torch.from_numpy(body())[None], torch.tensor([True])
    )
    np.testing.assert_allclose(found[0, 0].numpy(), intensity.normalise(image), atol=1e-6)


@given(st.integers(0, 1000))
def test_contrast_of_grey_values(seed: int) -> None:
    image = CTSlice(pixels("grey", seed), "grey")
    low, high = intensity.contrast_range(image, body())
    expected = intensity.rescale(image.pixels, low, high)
    found = contrast(
        torch.from_numpy(image.pixels)[None, None], torch.from_numpy(body())[None], torch.tensor([False])
    )
    # percentiles between two grey levels are interpolated there, and taken as the next of them here
    assert np.abs(found[0, 0].numpy() - expected).max() <= 4.0 / (high - low)


def test_neighbours_go_through_the_range_of_their_slice() -> None:
    first = pixels("grey", 1)
    stack = torch.from_numpy(np.stack([first, first + 10]))[None]
    found = contrast(stack, torch.from_numpy(body())[None], torch.tensor([False]))
    low, high = intensity.contrast_range(CTSlice(first, "grey"), body())
    inside = (found[0] > 0.1) & (found[0] < 0.8)
    difference = (found[0, 1] - found[0, 0])[inside.all(0)]
    assert difference.mean() == pytest.approx(10 / (high - low), rel=0.02)


@pytest.mark.parametrize("unit", ["hu", "grey"])
def test_ranks(unit: Unit) -> None:
    image = pixels(unit, 3)
    found = ranks(torch.from_numpy(image)[None], torch.from_numpy(body())[None])
    # float32 against float64 may put a pixel into the next of the bins
    np.testing.assert_allclose(found[0].numpy(), intensity.ranks(image, body()), atol=0.01)


def test_without_a_body_all_pixels_count() -> None:
    image, nothing = pixels("hu", 4), np.zeros((48, 64), dtype=bool)
    found = ranks(torch.from_numpy(image)[None], torch.from_numpy(nothing)[None])
    np.testing.assert_allclose(found[0].numpy(), intensity.ranks(image, nothing), atol=0.01)


def test_a_slice_of_one_intensity_is_0() -> None:
    flat, mask = torch.full((1, 48, 64), 7.0), torch.from_numpy(body())[None]
    assert (ranks(flat, mask) == 0).all()
    assert (contrast(flat[None], mask, torch.tensor([False])) == 0).all()
