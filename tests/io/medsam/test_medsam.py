"""MedSAM's NPZ: what is written is read, and what is no such file is told."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fewct.errors import InputError, OutputError
from fewct.io.medsam.reading import EMBEDDING, SIDE, read_medsam
from fewct.io.medsam.writing import SquareSlice, write_medsam


def slice_of(labels: NDArray[np.int32], number: int = 0, grey: int = 0) -> SquareSlice:
    picture = np.full((SIDE, SIDE), grey, dtype=np.uint8)
    return SquareSlice(f"scan/{number:03d}", number, (512, 300), picture, labels)


def disjoint(ids: list[int], seed: int) -> NDArray[np.int32]:
    """Scatter labels, 0 among them, over a square."""
    values = np.array([0, *ids], dtype=np.int32)
    return values[np.random.default_rng(seed).integers(len(values), size=(SIDE, SIDE))]


def embed_by_mean(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.full(EMBEDDING, picture.mean(), dtype=np.float32)


LABELS = st.lists(st.integers(1, 2**31 - 1), min_size=0, max_size=4, unique=True)


@settings(max_examples=12)
@given(st.lists(LABELS, min_size=1, max_size=3), st.booleans(), st.sampled_from([None, "p7"]))
def test_label_maps_come_back(
    tmp_path_factory: pytest.TempPathFactory, ids: list[list[int]], multi: bool, patient: str | None
) -> None:
    path = tmp_path_factory.mktemp("round") / "scan.npz"
    slices = [slice_of(disjoint(some, number), number, number) for number, some in enumerate(ids)]
    there = [one for one in slices if one.labels.any()]
    if not there:
        with pytest.raises(InputError, match=f"found {len(slices)} slices without any"):
            write_medsam(path, slices, multi=multi, patient=patient)
        assert not path.exists()
        return
    entries = write_medsam(path, slices, multi=multi, patient=patient)
    data = read_medsam(path)
    assert len(data.imgs) == len(data.gts) == entries
    assert entries == (len(there) if multi else sum(map(len, ids)))
    assert (data.patient, data.multi) == (patient, multi)
    assert data.original_shapes is not None
    assert (data.original_shapes == (512, 300)).all()
    for one, back in zip(there, data.slices(), strict=True):
        assert (back.name, back.number) == (one.name, one.number)
        np.testing.assert_array_equal(back.labels, one.labels)
        np.testing.assert_array_equal(back.image, np.repeat(one.picture[..., None], 3, axis=-1))


@pytest.fixture
def two_slices() -> list[SquareSlice]:
    """Structures 300 and 7 on slice 4, and 7 alone on slice 9."""
    first, second = np.zeros((2, SIDE, SIDE), dtype=np.int32)
    first[:10, :10], first[50:60, 50:70] = 300, 7
    second[100:130, :5] = 7
    return [slice_of(first, 4, 11), slice_of(second, 9, 22)]


def test_one_structure_an_entry(tmp_path: Path, two_slices: list[SquareSlice]) -> None:
    assert write_medsam(tmp_path / "a.npz", two_slices, embed=embed_by_mean) == 3
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        assert (arrays["imgs"].shape, arrays["imgs"].dtype) == ((3, 256, 256, 3), np.uint8)
        assert (arrays["gts"].shape, arrays["gts"].dtype) == ((3, 256, 256), np.uint8)
        assert (arrays["img_embeddings"].shape, arrays["img_embeddings"].dtype) == (
            (3, *EMBEDDING),
            np.float32,
        )
        assert arrays["imgs"][:, 0, 0, 0].tolist() == [11, 11, 22]
        assert arrays["img_embeddings"][:, 5, 6, 7].tolist() == [11, 11, 22]
        assert arrays["gts"].sum(axis=(1, 2)).tolist() == [200, 100, 150]
        assert np.unique(arrays["gts"]).tolist() == [0, 1]
        assert arrays["label_ids"].tolist() == [7, 300, 7]
        assert arrays["slice_numbers"].tolist() == [4, 4, 9]
        assert arrays["names"].tolist() == ["scan/004", "scan/004", "scan/009"]


def test_all_structures_of_a_slice_in_one_entry(tmp_path: Path, two_slices: list[SquareSlice]) -> None:
    assert write_medsam(tmp_path / "a.npz", two_slices, multi=True, embed=embed_by_mean) == 2
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        assert (arrays["imgs"].shape, arrays["gts"].shape) == ((2, 256, 256, 3), (2, 256, 256, 2))
        assert arrays["img_embeddings"][:, 0, 0, 0].tolist() == [11, 22]
        assert arrays["gts"].sum(axis=(1, 2)).tolist() == [[200, 100], [150, 0]]
        assert arrays["label_ids"].tolist() == [7, 300]
        assert arrays["slice_numbers"].tolist() == [4, 9]
    (first, second) = read_medsam(tmp_path / "a.npz").slices()
    assert (first.label_ids.tolist(), second.label_ids.tolist()) == ([7, 300], [7])
    assert second.embedding is not None
    assert float(second.embedding.max()) == 22


def test_embeddings_are_left_out_on_request(tmp_path: Path, two_slices: list[SquareSlice]) -> None:
    write_medsam(tmp_path / "a.npz", two_slices, embed=embed_by_mean)
    assert read_medsam(tmp_path / "a.npz", embeddings=False).img_embeddings is None


def test_the_same_slices_give_the_same_bytes(tmp_path: Path, two_slices: list[SquareSlice]) -> None:
    for name in ("a.npz", "b.npz"):
        write_medsam(tmp_path / name, two_slices, manifest={"version": "1"})
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_a_failure_leaves_nothing(tmp_path: Path, two_slices: list[SquareSlice]) -> None:
    def fail(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        raise KeyError(picture.shape)

    with pytest.raises(KeyError):
        write_medsam(tmp_path / "a.npz", two_slices, embed=fail)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OutputError, match="Make the folder first"):
        write_medsam(tmp_path / "absent" / "a.npz", two_slices)


def test_files_of_other_programs(tmp_path: Path) -> None:
    gts = np.zeros((2, 8, 8), dtype=bool)
    gts[0, :4], gts[1, 6:] = True, True
    imgs = np.arange(2 * 8 * 8 * 3, dtype=np.uint8).reshape(2, 8, 8, 3)
    np.savez(tmp_path / "ct.npz", imgs=imgs, gts=gts)
    data = read_medsam(tmp_path / "ct.npz")
    assert (data.original_shapes, data.patient) == (None, None)
    slices = list(data.slices())
    assert [(one.name, one.number) for one in slices] == [("ct/000", 0), ("ct/001", 1)]
    np.testing.assert_array_equal(slices[1].labels, gts[1])
    np.testing.assert_array_equal(slices[1].image, imgs[1])


def test_a_mask_inside_another_lies_on_top(tmp_path: Path) -> None:
    gts = np.zeros((1, 8, 8, 2), dtype=np.uint8)
    gts[0, 2:4, 2:4, 0], gts[0, :6, :6, 1] = 1, 1
    np.savez(tmp_path / "a.npz", imgs=np.zeros((1, 8, 8, 3), np.uint8), gts=gts)
    (one,) = read_medsam(tmp_path / "a.npz").slices()
    assert (int((one.labels == 1).sum()), int((one.labels == 2).sum())) == (4, 32)


IMGS, GTS = np.zeros((2, 8, 8, 3), np.uint8), np.zeros((2, 8, 8), np.uint8)
ORIGIN: dict[str, Any] = {
    "label_ids": np.array([1, 2]),
    "slice_numbers": np.array([0, 1]),
    "names": np.array(["a", "b"]),
    "original_shapes": np.ones((2, 2), dtype=np.int64),
}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"image": IMGS}, "arrays imgs and gts, found image"),
        (
            {"imgs": IMGS[..., 0], "gts": GTS},
            r"imgs of uint8 \(n, rows, columns, 3\), found uint8 \(2, 8, 8\)",
        ),
        ({"imgs": IMGS.astype(float), "gts": GTS}, "found float64"),
        ({"imgs": IMGS[:0], "gts": GTS[:0]}, r"found uint8 \(0, 8, 8, 3\)"),
        ({"imgs": IMGS, "gts": GTS[:1]}, r"gts of whole numbers \(2, 8, 8\).*found uint8 \(1, 8, 8\)"),
        ({"imgs": IMGS, "gts": GTS + 255}, "gts of 0 and 1, found values from 255 to 255"),
        ({"imgs": IMGS, "gts": GTS - 1.0}, "found float64"),
        (
            {"imgs": IMGS, "gts": GTS, "img_embeddings": np.zeros((2, 1))},
            r"img_embeddings .*\(2, 256, 64, 64\)",
        ),
        ({"imgs": IMGS, "gts": GTS, "names": ORIGIN["names"]}, "or none, found only names"),
        ({"imgs": IMGS, "gts": GTS} | ORIGIN | {"label_ids": np.array([1])}, r"label_ids of integers \(2,\)"),
        ({"imgs": IMGS, "gts": GTS} | ORIGIN | {"names": np.array([1, 2])}, r"names of text \(2,\)"),
        ({"imgs": IMGS, "gts": GTS} | ORIGIN | {"label_ids": np.array([0, 1])}, "found values from 0 to 1"),
        ({"imgs": np.array([{}]), "gts": GTS}, "a whole NPZ file"),
    ],
)
def test_other_files(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InputError, match=message):
        read_medsam(tmp_path / "a.npz")


def test_damaged_files(tmp_path: Path, two_slices: list[SquareSlice]) -> None:
    write_medsam(tmp_path / "a.npz", two_slices)
    content = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "short.npz").write_bytes(content[: len(content) // 2])
    np.save(tmp_path / "array.npy", GTS)
    (tmp_path / "array.npy").rename(tmp_path / "array.npz")
    for name in ("short.npz", "array.npz", "absent.npz"):
        with pytest.raises(InputError, match=f"{name}: expected a whole NPZ"):
            read_medsam(tmp_path / name)
