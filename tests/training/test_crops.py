"""The stream of crops, and what labelled slices tell."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from fewct.data.examples import BACKGROUND, STRUCTURE, UNKNOWN
from fewct.data.hidden import NAMES_OF, anatomy_names
from fewct.data.packed import ORGANS, PackedSlice, load_packed_slices, packed_example
from fewct.errors import InputError
from fewct.training.crops import (
    anatomy_source,
    crop_dataset,
    labelled_source,
    phantom_source,
    unlabelled_slices,
)
from fewct.training.synthetic_ct import Anatomy, load_anatomy
from fewct.types import CTSlice, Mask


def two_channels(image: CTSlice, body: Mask) -> NDArray[np.float32]:
    return np.stack([np.clip(image.pixels / 1500, -1, 1), body.astype(np.float32)])


def abdomen() -> PackedSlice:
    """A body of fat (grey 16) with muscle (grey 108), an organ (labelled 6), bone and a lung, in air."""
    y, x = np.mgrid[:128, :128]
    image = np.zeros((128, 128), dtype=np.uint8)
    image[np.hypot(y - 64, x - 64) < 56] = 16
    image[np.hypot(y - 64, x - 64) < 44] = 108
    image[50:66, 40:60] = 120
    image[80:92, 60:70] = 255
    image[45:65, 70:90] = 0
    labels = np.zeros((128, 128), dtype=np.uint8)
    labels[50:66, 40:60] = 6
    return PackedSlice(image, labels, low_contrast=image // 4 + 90)


def test_intensities_tell_what_labels_do_not() -> None:
    example = packed_example(abdomen(), low_contrast=False)
    assert example.unit == "hu"
    assert example.pixels[86, 65] == 275
    at = example.structure
    assert at[58, 50] == STRUCTURE  # the organ
    assert at[86, 65] == STRUCTURE  # bone
    assert at[55, 80] == STRUCTURE  # lung
    assert at[64, 13] == BACKGROUND  # fat
    assert at[2, 2] == BACKGROUND  # air around
    assert at[75, 40] == UNKNOWN  # muscle
    weight = example.border_weight
    assert weight[58, 50] == weight[58, 61] == 1
    assert weight[75, 40] == 0
    assert 0 < weight[64, 13] < 1


def test_weak_contrast_shows_the_same_slice_in_grey() -> None:
    strong, low_contrast = (
        packed_example(abdomen(), low_contrast=False),
        packed_example(abdomen(), low_contrast=True),
    )
    assert low_contrast.unit == "grey"
    assert np.ptp(low_contrast.pixels) <= 64
    assert np.array_equal(strong.structure, low_contrast.structure)


def test_crop_i_is_a_function_of_i_and_the_seed(anatomy: Anatomy) -> None:
    sources = [labelled_source(0.5, [abdomen()], low_contrast=True), anatomy_source(0.5, [anatomy])]
    crops = crop_dataset(sources, two_channels, 96, 10, seed=3)
    again = crop_dataset(sources, two_channels, 96, 10, seed=3)
    other = crop_dataset(sources, two_channels, 96, 10, seed=4)
    assert len(crops) == 10
    for one, same in zip(crops[7], again[7], strict=True):
        assert torch.equal(one, same)
    assert not torch.equal(crops[7].channels, crops[6].channels)
    assert not torch.equal(crops[7].channels, other[7].channels)


def test_a_crop_is_within_its_ranges(anatomy: Anatomy) -> None:
    crops = crop_dataset([anatomy_source(1.0, [anatomy])], two_channels, 96, 10, seed=0)
    for index in range(10):
        crop = crops[index]
        assert crop.channels.shape == (2, 96, 96)
        assert float(crop.channels.abs().max()) <= 1
        assert set(crop.border.unique().tolist()) <= {0.0, 1.0}
        assert set(crop.structure.unique().tolist()) <= {0.0, 1.0}
        assert crop.border[crop.border_weight == 0].sum() == 0


def test_dense_segments_take_the_place_of_labels(tmp_path: Path) -> None:
    item = abdomen()
    segments = np.full((128, 128), 1, dtype=np.uint8)  # air
    segments[item.image > 0] = 2  # the rest of the body
    segments[45:65, 70:90] = 3  # a lung
    segments[item.labels > 0] = 4  # the organ
    segments[0:5, 0:5] = 5  # a part of the air
    np.savez(
        tmp_path / "001.npz",
        image=item.image[None].repeat(2, 0),
        label=item.labels[None].repeat(2, 0),
        z=np.array([4, 9]),
        dense_z=np.array([9]),
        dense_image=item.image[None] // 4,
        dense_label=item.labels[None],
        dense_segments=segments[None],
    )
    plain, dense = load_packed_slices(tmp_path)
    assert plain.low_contrast is None
    assert np.array_equal(plain.labels, item.labels)
    assert dense.low_contrast is not None
    assert dense.labels[58, 50] == 6
    assert dense.labels[55, 80] == 14  # the lung, numbered after the organs
    assert set(np.unique(dense.labels)) == {0, 6, 14}
    for hidden in load_packed_slices(tmp_path, without=["liver"]):
        assert set(np.unique(hidden.labels)) <= {0, 14}


def test_the_phantom_is_a_source() -> None:
    example = phantom_source(1.0, patients=1).example(np.random.default_rng(0))
    assert example.unit == "hu"
    assert len(np.unique(example.labels)) > 5
    assert ((example.structure == STRUCTURE) == (example.labels > 0)).all()


def test_slices_without_labels(tmp_path: Path) -> None:
    (tmp_path / "lidc").mkdir()
    image = abdomen().image
    np.savez(tmp_path / "lidc" / "0001.npz", image=image[None])
    example = unlabelled_slices(tmp_path)(np.random.default_rng(0))
    assert not example.labels.any()
    assert not example.border_weight.any()
    assert (example.structure == UNKNOWN).all()
    assert example.pixels.min() == -160
    assert example.body.sum() == packed_example(abdomen(), low_contrast=False).body.sum()
    with pytest.raises(InputError, match=r"expected btcv/train_unlabelled\.npz or lidc"):
        unlabelled_slices(tmp_path / "lidc")


@pytest.mark.shared
def test_hidden_organs_are_in_no_source(shared_data: Path) -> None:
    hidden = [*ORGANS][:2]
    for item in load_packed_slices(shared_data / "btcv" / "val", without=hidden):
        assert not np.isin(item.labels, [1, 2]).any()
    trunk = next((shared_data / "anatomy").glob("trunk_*.npz"))
    whole = load_anatomy(trunk, complete=True)
    names = anatomy_names(hidden)
    anatomy = load_anatomy(trunk, complete=True, without=names)
    gone = set(np.unique(whole.labels)) - set(np.unique(anatomy.labels))
    assert len(gone) == 2
    assert set(NAMES_OF) == set(ORGANS)


@pytest.mark.shared
def test_the_real_patients(shared_data: Path) -> None:
    slices = load_packed_slices(shared_data / "btcv" / "val")
    assert len(slices) == 297
    assert sum(item.low_contrast is not None for item in slices) == 13
