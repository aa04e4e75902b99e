"""The two channels that the network sees, by hand."""

import numpy as np

from fewct.methods.mosaic.preprocessing import preprocess
from fewct.types import CTSlice


def test_hounsfield_units_through_the_soft_tissue_window_and_as_ranks() -> None:
    image = CTSlice(np.array([[-900.0, -160, 40, 240, np.nan]]), "hu")
    body = np.array([[False, True, True, True, False]])
    contrast, rank, *_ = preprocess(image, body)
    np.testing.assert_allclose(contrast, [[-1, -1, 0, 1, -1]], atol=1e-6)
    np.testing.assert_allclose(rank, [[-2 / 3, -2 / 3, 0, 2 / 3, -2 / 3]], atol=1e-6)
    assert contrast.dtype == np.float32


def test_grey_values_from_the_percentiles_of_the_body() -> None:
    pixels = np.zeros((20, 60))
    body = np.zeros((20, 60), dtype=bool)
    body[:, 20:40] = True
    pixels[body] = np.linspace(100, 200, 400)
    pixels[:, :20] = np.linspace(0, 50, 400).reshape(20, 20)
    pixels[:, 40:] = np.linspace(250, 300, 400).reshape(20, 20)
    contrast, *_ = preprocess(CTSlice(pixels, "grey"), body)
    assert (contrast[:, :20] == -1).all()
    assert (contrast[:, 40:] == 1).all()
    values = contrast[body]
    assert values.min() == -1
    assert values.max() == 1
    expected = 2 * (np.linspace(100, 200, 400) - 100.5) / 99 - 1  # from 0.5 to 99.5 %
    np.testing.assert_allclose(values, expected.clip(-1, 1), atol=1 / 255)


def test_grey_values_without_a_body_are_taken_whole() -> None:
    pixels = np.linspace(3, 9, 400).reshape(20, 20)
    contrast, rank, *_ = preprocess(CTSlice(pixels, "grey"), np.zeros((20, 20), dtype=bool))
    assert (contrast.min(), contrast.max()) == (-1, 1)
    np.testing.assert_allclose(rank.ravel(), 2 * (np.arange(400) + 0.5) / 400 - 1, atol=1 / 100)
