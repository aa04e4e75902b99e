"""Thumbnails of slices, and groups of those that look alike, by hand."""

import numpy as np
import pytest
from numpy.typing import NDArray

from fewct.errors import InputError
from fewct.imaging.similarity import group_thumbnails, similarity_groups, thumbnail

Thumbnail = NDArray[np.float32]


@pytest.fixture
def image(rng: np.random.Generator) -> NDArray[np.float64]:
    return rng.normal(size=(100, 130)).cumsum(axis=0).cumsum(axis=1)


def mixed(*shares: float) -> Thumbnail:
    """A thumbnail of norm 1 with some shares at places that no turn maps to each other."""
    made = np.zeros((8, 8), np.float32)
    made[0, 1 : 1 + len(shares)] = shares
    assert np.linalg.norm(made) == pytest.approx(1)
    return made


def test_thumbnails_are_detail_without_brightness_and_contrast(image: NDArray[np.float64]) -> None:
    small = thumbnail(image)
    assert small.shape == (64, 64)
    assert small.dtype == np.float32
    assert small.mean() == pytest.approx(0, abs=1e-6)
    assert np.linalg.norm(small) == pytest.approx(1, rel=1e-5)
    np.testing.assert_allclose(thumbnail(3 * image + 700), small, atol=1e-4)
    sloping = thumbnail(image + 5 * np.arange(100)[:, None])
    assert np.sum(small * sloping) > 0.9


def test_unknown_pixels_count_as_the_darkest(image: NDArray[np.float64]) -> None:
    image[10:30, 40:60] = image.min()
    unknown = image.copy()
    unknown[10:30, 40:60] = np.nan
    np.testing.assert_array_equal(thumbnail(unknown), thumbnail(image))


def test_constant_slices_have_no_detail_and_are_like_nothing() -> None:
    assert not thumbnail(np.full((20, 30), 7)).any()
    assert similarity_groups([np.full((20, 30), 7), np.full((20, 30), 7)]).tolist() == [0, 1]


def test_only_slices_have_thumbnails() -> None:
    with pytest.raises(InputError, match=r"\(rows, columns\)"):
        thumbnail(np.zeros((2, 3, 4)))


@pytest.mark.parametrize(("correlation", "groups"), [(0.64, [0, 1]), (0.66, [0, 0])])
def test_from_a_correlation_of_65_percent_slices_look_alike(correlation: float, groups: list[int]) -> None:
    other = mixed(correlation, (1 - correlation**2) ** 0.5)
    assert group_thumbnails([mixed(1.0), other]).tolist() == groups


def test_likeness_is_passed_on_and_groups_count_by_first_appearance() -> None:
    first, second, between = mixed(1.0), mixed(0.0, 1.0), mixed(0.5**0.5, 0.5**0.5)
    other = mixed(0.0, 0.0, 1.0)
    assert group_thumbnails([first, second]).tolist() == [0, 1]
    assert group_thumbnails([first, second, between]).tolist() == [0, 0, 0]
    assert group_thumbnails([other, first, other, second, first]).tolist() == [0, 1, 0, 2, 1]


def test_turned_and_flipped_slices_look_alike() -> None:
    one = mixed(0.6, 0.8)
    turned = [np.rot90(flipped, k) for flipped in (one, one[:, ::-1]) for k in range(4)]
    assert group_thumbnails([one, *turned, -one]).tolist() == [0] * 9 + [1]


def test_many_slices_are_compared_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fewct.imaging.similarity.BLOCK", 2)
    one, other = mixed(1.0), mixed(0.0, 1.0)
    assert group_thumbnails([one, other, other, one, other]).tolist() == [0, 1, 1, 0, 1]


def test_detail_of_a_twentieth_of_the_contrast_counts_half(rng: np.random.Generator) -> None:
    noise = rng.normal(size=(64, 64))
    noise[:, :32] *= 0.036  # a twentieth of the standard deviation of the slice, 0.72
    small = thumbnail(noise)
    assert small[:, :24].std() / small[:, 40:].std() == pytest.approx(0.5, abs=0.06)
