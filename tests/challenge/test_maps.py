from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from fewct.challenge.maps import pack, unpack
from fewct.errors import InputError
from fewct.io.label_table.table import write_table

Labels = NDArray[np.uint8]


@pytest.fixture
def packed(tmp_path: Path, maps: Labels) -> Path:
    write_table(tmp_path / "y.csv", maps, [2, 10])
    return tmp_path / "y.csv"


def save(folder: Path, number: int, pixels: NDArray[np.generic]) -> None:
    folder.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(folder / f"{number}.png")


@pytest.mark.parametrize("name", ["maps", "maps.npz"])
def test_a_table_survives_unpacking_and_packing(name: str, packed: Path, tmp_path: Path) -> None:
    unpack(packed, tmp_path / name)
    content = pack(tmp_path / name, tmp_path / "again.csv")
    assert content.numbers == (2, 10)
    assert (tmp_path / "again.csv").read_bytes() == packed.read_bytes()


def test_label_maps_are_named_after_their_images(packed: Path, tmp_path: Path, maps: Labels) -> None:
    unpack(packed, tmp_path / "maps")
    assert sorted(path.name for path in (tmp_path / "maps").iterdir()) == ["10.png", "2.png"]
    with Image.open(tmp_path / "maps" / "10.png") as picture:
        np.testing.assert_array_equal(np.asarray(picture), maps[1])
    unpack(packed, tmp_path / "maps.npz")
    with np.load(tmp_path / "maps.npz") as arrays:
        np.testing.assert_array_equal(arrays["labels"], maps)
        assert arrays["numbers"].tolist() == [2, 10]


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (np.zeros((4, 5), np.uint8), r"1\.png: expected a square label map of 4 x 4 pixels, found 4 x 5"),
        (np.zeros((5, 5), np.uint8), r"1\.png: expected a square label map of 4 x 4 pixels, found 5 x 5"),
        (np.full((4, 4), 300, np.uint16), r"1\.png: expected labels from 0 to 255, .* from 300 to 300"),
    ],
)
def test_label_maps_that_fit_no_table_are_named(
    second: NDArray[np.generic], message: str, tmp_path: Path, maps: Labels
) -> None:
    save(tmp_path / "maps", 0, maps[0])
    save(tmp_path / "maps", 1, second)
    with pytest.raises(InputError, match=message):
        pack(tmp_path / "maps", tmp_path / "y.csv")
    assert not (tmp_path / "y.csv").exists()


def test_a_label_map_larger_than_its_image_is_refused(tmp_path: Path, packed: Path) -> None:
    unpack(packed, tmp_path / "maps")
    for number in (2, 10):
        save(tmp_path / "images", number, np.zeros((3, 3), np.uint8))
    message = r"label map 2\.png: expected the size of its image, 3 x 3, found 4 x 4"
    with pytest.raises(InputError, match=message):
        pack(tmp_path / "maps", tmp_path / "again.csv", images=tmp_path / "images")


def test_each_image_needs_its_label_map(tmp_path: Path, packed: Path) -> None:
    unpack(packed, tmp_path / "maps")
    save(tmp_path / "images", 2, np.zeros((4, 4), np.uint8))
    with pytest.raises(InputError, match=r"expected one for each of the 1 images in .*, found 2 label maps"):
        pack(tmp_path / "maps", tmp_path / "again.csv", images=tmp_path / "images")


def test_another_npz_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "maps.npz", other=np.zeros(3))
    with pytest.raises(InputError, match=r"maps\.npz: expected an NPZ with the arrays labels and numbers"):
        pack(tmp_path / "maps.npz", tmp_path / "y.csv")
    (tmp_path / "maps.npz").write_bytes(b"no zip")
    with pytest.raises(InputError, match=r"maps\.npz: expected an NPZ with the arrays labels and numbers"):
        pack(tmp_path / "maps.npz", tmp_path / "y.csv")


@pytest.mark.parametrize("name", ["maps", "maps.npz"])
def test_unpacking_returns_what_it_wrote(name: str, packed: Path, tmp_path: Path, maps: Labels) -> None:
    content = unpack(packed, tmp_path / name)
    assert content.numbers == (2, 10)
    np.testing.assert_array_equal(content.labels, maps)
