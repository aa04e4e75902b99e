"""From data of every layout to MedSAM's NPZ, without the defects of the founding paper's code."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from fewct.data.cases import parse_data, read_cases
from fewct.errors import InputError, OutputError, UsageError
from fewct.imaging.intensity import to_display
from fewct.io.medsam.reading import EMBEDDING, SIDE, MedSAMData, read_medsam
from fewct.methods.sam.checkpoints.build import load_sam
from fewct.methods.sam.modeling.image_encoder import ViTShape
from fewct.methods.sam.modeling.mask_decoder import DecoderShape
from fewct.methods.sam.modeling.sam import Sam, SamShape
from fewct.methods.sam.preprocessing import InputFrame, preprocess
from fewct.prepare import MedSAMSettings, Prepared, nearest, prepare_medsam
from fewct.types import CTSlice
from precision import float32_rounding

Labels = NDArray[np.int32]


def prepare(data: Path, out: Path, **options: Any) -> list[Prepared]:
    return list(prepare_medsam([parse_data(str(data))], out, MedSAMSettings(**options)))


def squares(side: int, places: Mapping[int, tuple[int, int, int]]) -> Labels:
    """Draw squares: label -> (row, column, side)."""
    labels = np.zeros((side, side), dtype=np.int32)
    for label, (row, column, length) in places.items():
        labels[row : row + length, column : column + length] = label
    return labels


def noise(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


def write_scan(path: Path, labels: Labels) -> Path:
    np.savez(path, image=noise(labels.shape), label=labels)
    return path


def write_pair(folder: Path, name: str, labels: Labels, image: NDArray[np.uint8] | None = None) -> None:
    folder.mkdir(exist_ok=True)
    Image.fromarray(noise(labels.shape) if image is None else image).save(folder / f"{name}.png")
    Image.fromarray(labels.astype(np.uint16)).save(folder / f"{name}_labels.png")


def papers_masks(labels: Labels) -> list[NDArray[np.bool_]]:
    """What the paper's code took for structures of a slice: every value there is."""
    return [labels == value for value in np.unique(labels)]


class TestDefects:
    """Each mistake of the paper's code is made here again, and must not be ours."""

    def test_background_is_no_structure(self, tmp_path: Path) -> None:
        labels = squares(SIDE, {1: (10, 10, 40), 2: (100, 100, 50)})
        assert len(papers_masks(labels)) == 3
        write_pair(tmp_path / "data", "a", labels)
        (prepared,) = prepare(tmp_path / "data", tmp_path / "out")
        data = read_medsam(tmp_path / "out" / "a.npz")
        assert (prepared.masks, prepared.entries, data.label_ids.tolist()) == (2, 2, [1, 2])
        assert not (data.gts[:, labels == 0] > 0).any()

    def test_a_file_of_one_entry_is_saved(self, tmp_path: Path) -> None:
        write_pair(tmp_path / "data", "a", squares(SIDE, {1: (10, 10, 40)}))
        (prepared,) = prepare(tmp_path / "data", tmp_path / "out")
        assert prepared.entries == 1
        assert not prepared.entries > 1, "the paper's code saved nothing unless this held"
        assert read_medsam(tmp_path / "out" / "a.npz").imgs.shape == (1, 256, 256, 3)

    def test_the_last_slice_of_a_structure_is_there(self, tmp_path: Path) -> None:
        labels = np.stack([squares(SIDE, {1: (10, 10, 40)})] * 3)
        first, last = 0, 2
        assert last not in range(first, last), "MedSAM's code ended there"
        prepare(write_scan(tmp_path / "p.npz", labels), tmp_path / "out")
        assert read_medsam(tmp_path / "out" / "p.npz").slice_numbers.tolist() == [0, 1, 2]


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A picture of 512 x 512 with structures of 1024, 961, 1024 and 1536 px."""
    labels = squares(512, {1: (0, 0, 32), 2: (100, 100, 31)})
    labels[300:302] = 3  # of two rows of 512, one row of 256 is left
    labels[[400, 402, 404]] = 4  # rows that nearest neighbour does not meet
    write_pair(tmp_path / "data", "a", labels)
    return tmp_path / "data"


class TestByHand:
    @pytest.mark.parametrize(
        ("options", "areas"),
        [
            ({}, {1: 256, 3: 256}),
            ({"min_resized_px": 256}, {1: 256, 3: 256}),
            ({"min_original_px": 961}, {1: 256, 2: 225, 3: 256}),
            ({"min_original_px": 0, "min_resized_px": 226}, {1: 256, 3: 256}),
            ({"min_original_px": 0, "min_resized_px": 0}, {1: 256, 2: 225, 3: 256}),
            ({"min_original_px": 1025, "min_resized_px": 0}, {}),
        ],
    )
    @pytest.mark.parametrize("multi", [False, True])
    def test_thresholds_of_a_picture(
        self, picture: Path, tmp_path: Path, options: dict[str, int], areas: dict[int, int], multi: bool
    ) -> None:
        if not areas:
            with pytest.raises(InputError, match=r"found 4 masks, all smaller\. Lower --min-original-px"):
                prepare(picture, tmp_path / "out", multi=multi, **options)
            return
        (prepared,) = prepare(picture, tmp_path / "out", multi=multi, **options)
        (one,) = read_medsam(tmp_path / "out" / "a.npz").slices()
        assert dict(zip(one.label_ids.tolist(), one.masks.sum(axis=(1, 2)).tolist(), strict=True)) == areas
        assert (prepared.masks, prepared.dropped) == (len(areas), 4 - len(areas))
        assert prepared.entries == (1 if multi else len(areas))

    def test_a_scan_counts_as_a_whole_before_and_by_slice_after_resizing(self, tmp_path: Path) -> None:
        sides = (20, 20, 9, 20)  # 400 + 400 + 81 + 400 px
        labels = np.stack([squares(SIDE, {5: (30, 30, side)}) for side in sides])
        (prepared,) = prepare(write_scan(tmp_path / "p.npz", labels), tmp_path / "out")
        data = read_medsam(tmp_path / "out" / "p.npz")
        assert (prepared.masks, prepared.dropped, data.patient) == (3, 1, "p")
        assert data.slice_numbers.tolist() == [0, 1, 3]
        assert data.names.tolist() == ["p/000", "p/001", "p/003"]

    def test_pictures_are_averaged_and_stretched(self, tmp_path: Path) -> None:
        image = noise((512, 256))
        write_pair(tmp_path / "data", "a", squares(512, {1: (0, 0, 100)})[:, :256], image)
        prepare(tmp_path / "data", tmp_path / "out")
        data = read_medsam(tmp_path / "out" / "a.npz")
        shown = to_display(CTSlice(image, "grey")).astype(float)
        np.testing.assert_array_equal(data.imgs[0, ..., 0], np.rint((shown[::2] + shown[1::2]) / 2))
        assert int(data.gts.sum()) == 50 * 100
        assert data.original_shapes is not None
        assert data.original_shapes.tolist() == [[512, 256]]


@settings(max_examples=30)
@given(st.integers(1, 700), st.integers(1, 700))
def test_nearest_neighbour(rows: int, columns: int) -> None:
    numbered = np.arange(rows * columns, dtype=np.int32).reshape(rows, columns)
    row, column = np.divmod(nearest(numbered), columns)
    for place, old, axis in ((row, rows, 0), (column, columns, 1)):
        wanted = (np.arange(SIDE) + 0.5) * old / SIDE
        distance = np.abs(place + 0.5 - (wanted[:, None] if axis == 0 else wanted))
        assert distance.max() <= 0.5


def resized(data: MedSAMData) -> dict[str, Labels]:
    return {one.name: one.labels for one in data.slices()}


@pytest.mark.parametrize("multi", [False, True])
def test_what_is_written_is_read_as_data_of_a_benchmark(tmp_path: Path, multi: bool) -> None:
    labels = np.stack([squares(SIDE, {300: (10, 10, 40 + k), 70000: (100, 90, 50)}) for k in range(3)])
    prepare(write_scan(tmp_path / "p.npz", labels), tmp_path / "out", multi=multi)
    cases = list(read_cases(parse_data(str(tmp_path / "out"))))
    assert [(case.name, case.patient) for case in cases] == [(f"p/00{k}", "p") for k in range(3)]
    np.testing.assert_array_equal([case.truth for case in cases], labels)
    np.testing.assert_array_equal(list(resized(read_medsam(tmp_path / "out" / "p.npz")).values()), labels)


def test_colours_are_no_data_of_a_benchmark(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", imgs=noise((1, 8, 8, 3)), gts=np.ones((1, 8, 8), np.uint8))
    with pytest.raises(InputError, match="three channels that are alike, found colours"):
        list(read_cases(parse_data(str(tmp_path / "a.npz"))))


class TestBadInput:
    def test_no_labels(self, tmp_path: Path) -> None:
        write_scan(tmp_path / "p.npz", np.zeros((2, 64, 64), np.int32))
        with pytest.raises(InputError, match=r"found no labels but 0\. Give data with labels"):
            prepare(tmp_path / "p.npz", tmp_path / "out")
        assert list((tmp_path / "out").iterdir()) == []

    def test_pictures_of_several_sizes_and_one_with_nothing_left(self, tmp_path: Path) -> None:
        write_pair(tmp_path / "data", "1", squares(300, {400: (0, 0, 90)}))
        write_pair(tmp_path / "data", "2", squares(128, {2: (0, 0, 20)}))
        write_pair(tmp_path / "data", "10", squares(128, {3: (0, 0, 64)}))
        outcomes = prepare(tmp_path / "data", tmp_path / "out")
        assert [(one.name, one.masks, one.dropped) for one in outcomes] == [
            ("1", 1, 0),
            ("2", 0, 1),
            ("10", 1, 0),
        ]
        assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["1.npz", "10.npz"]
        data = read_medsam(tmp_path / "out" / "1.npz")
        assert (data.label_ids.tolist(), data.patient) == ([400], None)

    def test_data_that_does_not_fit_leaves_the_other_data(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "a.npz", image=noise((2, 64, 64)), label=np.ones((2, 32, 64), np.uint8))
        write_scan(tmp_path / "b.npz", squares(64, {1: (0, 0, 60)})[None])
        data = [parse_data(str(tmp_path / name)) for name in ("a.npz", "b.npz")]
        first, second = prepare_medsam(data, tmp_path / "out", MedSAMSettings())
        assert "labels of the image's shape, 2 x 64 x 64, found 2 x 32 x 64" in str(first.error)
        assert second.file == tmp_path / "out" / "b.npz"

    def test_results_are_never_mixed_with_other_files(self, tmp_path: Path) -> None:
        path = write_scan(tmp_path / "p.npz", squares(64, {1: (0, 0, 60)})[None])
        prepare(path, tmp_path / "out")
        before = (tmp_path / "out" / "p.npz").read_bytes()
        with pytest.raises(UsageError, match=r"a folder without NPZ files, found 1, such as p\.npz"):
            prepare(path, tmp_path / "out")
        assert (tmp_path / "out" / "p.npz").read_bytes() == before

    def test_two_scans_of_one_name(self, tmp_path: Path) -> None:
        labels = squares(64, {1: (0, 0, 60)})[None]
        for folder in ("a", "b"):
            (tmp_path / folder).mkdir()
            write_scan(tmp_path / folder / "p.npz", labels)
        data = [parse_data(str(tmp_path / folder)) for folder in ("a", "b")]
        outcomes = prepare_medsam(data, tmp_path / "out", MedSAMSettings())
        assert [one.file.name for one in outcomes if one.file] == ["p.npz", "p_2.npz"]

    def test_a_folder_that_is_a_file(self, tmp_path: Path) -> None:
        path = write_scan(tmp_path / "p.npz", squares(64, {1: (0, 0, 60)})[None])
        with pytest.raises(OutputError, match="Choose another one with --out"):
            prepare(path, path)

    def test_a_window_for_grey_data(self, tmp_path: Path) -> None:
        path = write_scan(tmp_path / "p.npz", squares(64, {1: (0, 0, 60)})[None])
        with pytest.raises(UsageError, match="none for a slice of grey values, found 'lung'"):
            prepare(path, tmp_path / "out", window="lung")

    @pytest.mark.parametrize("name", ["min_original_px", "min_resized_px"])
    def test_a_threshold_below_0(self, name: str) -> None:
        with pytest.raises(UsageError, match=f"{name}: expected 0 or more, found -1"):
            MedSAMSettings(**{name: -1})

    def test_intensities_without_weights(self) -> None:
        with pytest.raises(UsageError, match="normalization: expected weights"):
            MedSAMSettings(normalization="medsam")


def write_checkpoint(path: Path, outputs: int = 256, grid: int = 64) -> Path:
    """Write the weights of a SAM of one narrow block, with random numbers."""
    torch.manual_seed(0)
    encoder = ViTShape(width=4, heads=1, windows=(8,), hidden=4, outputs=outputs, patch_px=2, grid=grid)
    decoder = DecoderShape(width=outputs, heads=4, hidden=4, score_hidden=4)
    torch.save(Sam(SamShape(encoder, decoder, mask_channels=4)).state_dict(), path)
    return path


class TestEmbeddings:
    @pytest.mark.parametrize("normalization", ["auto", "medsam"])
    def test_they_are_those_of_the_pictures(self, tmp_path: Path, normalization: str) -> None:
        labels = squares(SIDE, {1: (0, 0, 60), 2: (100, 100, 60)})
        path = write_scan(tmp_path / "p.npz", np.stack([labels, labels]))
        weights = write_checkpoint(tmp_path / "sam.pth")
        prepare(path, tmp_path / "out", weights=str(weights), normalization=normalization)
        data = read_medsam(tmp_path / "out" / "p.npz")
        assert data.img_embeddings is not None
        assert (data.img_embeddings.shape, data.img_embeddings.dtype) == ((4, *EMBEDDING), np.float32)
        kind = "medsam" if normalization == "medsam" else "sam"
        for entry in (0, 3):
            pixels = preprocess(data.imgs[entry, ..., 0], InputFrame((SIDE, SIDE), 128, 256), kind)
            with torch.inference_mode():
                wanted = load_sam(weights).image_encoder(torch.from_numpy(pixels)[None])[0]
            np.testing.assert_allclose(data.img_embeddings[entry], wanted, **float32_rounding(1000, 10))
        np.testing.assert_array_equal(data.img_embeddings[0], data.img_embeddings[1])

    def test_of_another_shape(self, tmp_path: Path) -> None:
        path = write_scan(tmp_path / "p.npz", squares(64, {1: (0, 0, 60)})[None])
        weights = write_checkpoint(tmp_path / "sam.pth", outputs=16, grid=8)
        with pytest.raises(UsageError, match=r"embeddings of \(256, 64, 64\).*found .* with \(16, 8, 8\)"):
            prepare(path, tmp_path / "out", weights=str(weights))
        assert list((tmp_path / "out").iterdir()) == []

    def test_absent_weights(self, tmp_path: Path) -> None:
        path = write_scan(tmp_path / "p.npz", squares(64, {1: (0, 0, 60)})[None])
        with pytest.raises(InputError, match=r"sam\.pth"):
            prepare(path, tmp_path / "out", weights=str(tmp_path / "sam.pth"))


@pytest.mark.shared
def test_a_real_series(shared_data: Path, tmp_path: Path) -> None:
    data = [parse_data(str(shared_data / "abdomen_series"), step=10)]
    (prepared,) = prepare_medsam(data, tmp_path, MedSAMSettings())
    file = read_medsam(tmp_path / "abdomen_series.npz")
    assert file.slice_numbers[[0, -1]].tolist() == [0, 10]
    cases = list(read_cases(data[0]))
    size = np.bincount(np.concatenate([case.truth.ravel() for case in cases]))
    wanted = [np.bincount(nearest(case.truth).ravel(), minlength=len(size)) for case in cases]
    kept = [np.flatnonzero((counts >= 100) & (size >= 1000))[1:].tolist() for counts in wanted]
    assert [one.label_ids.tolist() for one in file.slices()] == kept
    assert prepared.masks == len(file.imgs) == sum(map(len, kept))
    for case, one in zip(cases, file.slices(), strict=True):
        there = one.labels > 0
        np.testing.assert_array_equal(one.labels[there], nearest(case.truth)[there])
