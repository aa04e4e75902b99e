"""Pictures show what they should."""

import numpy as np

from fewct.plot import colours, contact_sheet, overlay, side_by_side
from fewct.types import CTSlice, CTVolume


def disc(side: int = 64) -> tuple[CTSlice, np.ndarray]:
    """A bright disc in the middle of a dark slice, and its label map with id 300."""
    rows, columns = np.mgrid[:side, :side]
    inside = (rows - side // 2) ** 2 + (columns - side // 2) ** 2 < (side // 4) ** 2
    return CTSlice(np.where(inside, 100.0, -900.0), "hu"), np.where(inside, 300, 0).astype(np.int32)


def test_overlay_marks_the_structure_and_leaves_the_rest() -> None:
    image, labels = disc()
    picture = overlay(image, labels, side=64, numbers=False)
    assert picture.shape == (64, 64, 3)
    assert (picture[labels == 0] == 0).all(), "background stays as the window shows it"
    contour_row = np.flatnonzero(labels[:, 32])[0]
    assert (picture[contour_row, 32] == colours(np.array([300]))[0]).all()
    assert len(np.unique(picture[32, 32])) > 1, "the inside is tinted"


def test_overlay_enlarges_small_slices_and_writes_numbers() -> None:
    image, labels = disc()
    plain = overlay(image, labels, side=512, numbers=False)
    numbered = overlay(image, labels, side=512)
    assert plain.shape == numbered.shape == (512, 512, 3)
    changed = (plain != numbered).any(axis=2)
    rows, columns = np.nonzero(changed)
    assert 0 < changed.mean() < 0.05
    assert abs(rows.mean() - 256) < 16
    assert abs(columns.mean() - 256) < 16


def test_colours_belong_to_ids() -> None:
    assert (colours(np.array([7, 3]))[0] == colours(np.array([1, 7]))[1]).all()
    assert len({tuple(colour) for colour in colours(np.arange(1, 41))}) == 40


def test_contact_sheet_shows_slices_in_order() -> None:
    pixels = np.stack([np.full((16, 16), value) for value in (-1000.0, 40.0, 400.0, 40.0)])
    sheet = contact_sheet(CTVolume.from_array(pixels, "hu"), np.zeros((4, 16, 16), np.int32), tile_side=64)
    assert sheet.shape == (128, 128, 3)
    middles = [int(sheet[row, column, 0]) for row in (40, 104) for column in (40, 104)]
    assert middles[0] < middles[1] < middles[2]
    assert middles[1] == middles[3]


def test_long_scans_show_some_slices_only() -> None:
    volume = CTVolume.from_array(np.zeros((50, 8, 8)), "hu")
    sheet = contact_sheet(volume, np.zeros((50, 8, 8), np.int32), tiles=6, tile_side=32)
    assert sheet.shape == (2 * 32, 3 * 32, 3)


def test_contact_sheet_is_cut_to_the_structures() -> None:
    pixels = np.full((2, 100, 100), -1000.0)
    labels = np.zeros((2, 100, 100), np.int32)
    pixels[0, 40:60, 40:60], labels[0, 40:60, 40:60] = 40, 1
    sheet = contact_sheet(CTVolume.from_array(pixels, "hu"), labels, tile_side=56)
    first = sheet[:, :56]
    assert 0.4 < (first > 0).any(axis=2).mean() < 0.7, "the structure fills the tile but for its margin"


def test_side_by_side_sets_pictures_in_a_row() -> None:
    image, labels = disc()
    row = side_by_side(
        [("image", overlay(image, labels * 0)), ("found", overlay(image, labels))], tile_side=100
    )
    assert row.shape == (100, 200, 3)
