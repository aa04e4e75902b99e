"""Grids of points, coarse to fine, and crops of a picture."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fewct.methods.sam.mask_generator.point_grids import coarse_to_fine, crop_boxes, layer_grids, point_grid

PROPERTY = settings(max_examples=40)


def test_levels_hold_each_point_once() -> None:
    for n in range(1, 12):
        assert sorted(np.concatenate(coarse_to_fine(n * n))) == list(range(n * n))


def test_layers() -> None:
    assert [len(grid) for grid in layer_grids(8, 2, 2)] == [64, 16, 4]
    assert point_grid(1).tolist() == [[0.5, 0.5]]


@PROPERTY
@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 3), st.floats(0, 1))
def test_crops_cover_the_picture(rows: int, columns: int, n_layers: int, overlap: float) -> None:
    boxes, layers = crop_boxes((rows, columns), n_layers, overlap)
    assert len(boxes) == sum(4**layer for layer in range(n_layers + 1))
    for layer in range(n_layers + 1):
        seen = np.zeros((rows, columns), dtype=bool)
        for x0, y0, x1, y1 in boxes[layers == layer].tolist():
            seen[y0:y1, x0:x1] = True
        assert seen.all()


def test_levels_by_hand() -> None:
    first, second, third = coarse_to_fine(16)
    assert first.tolist() == [10]  # row 2, column 2
    assert second.tolist() == [5, 7, 13, 15]
    assert len(third) == 11


def test_crops_of_the_second_layer_overlap_by_half_as_much() -> None:
    boxes, layers = crop_boxes((80, 100), 2, 0.25)
    assert layers.tolist() == [0] + [1] * 4 + [2] * 16
    # overlaps of 0.25 * 80 * 2 / n: 20 and 10 pixels
    assert boxes[1:5].tolist() == [[0, 0, 60, 50], [0, 30, 60, 80], [40, 0, 100, 50], [40, 30, 100, 80]]
    assert boxes[5:9].tolist() == [[0, 0, 33, 28], [0, 18, 33, 46], [0, 36, 33, 64], [0, 54, 33, 80]]
