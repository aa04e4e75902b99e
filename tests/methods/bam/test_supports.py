"""Support slices: what is read, and what is wrong with what is not."""

from pathlib import Path

import numpy as np
import pytest

from fewct.errors import InputError, UsageError
from fewct.methods.bam.supports import MAX_ID, read_supports, support_ids, supports_sha256
from methods.bam.tiny import body_slice


def save(folder: Path, name: str, image: np.ndarray, labels: np.ndarray | None) -> None:
    np.save(folder / f"{name}.npy", image)
    if labels is not None:
        np.save(folder / f"{name}_labels.npy", labels)


def test_slices_of_any_size_with_ids_above_255(support: Path) -> None:
    supports = read_supports(f"{support}")
    assert [one.image.shape for one in supports] == [(64, 80), (96, 120)]
    assert [one.name for one in supports] == ["0", "1"]
    assert support_ids(supports) == (3, 300)
    assert support_ids(supports, (300,)) == (300,)


def test_only_labelled_slices_of_a_scan(tmp_path: Path) -> None:
    image, labels = body_slice(0)
    stack = np.stack([np.zeros_like(labels), labels, np.zeros_like(labels)])
    save(tmp_path, "scan", np.stack([image.pixels] * 3), stack)
    (only,) = read_supports(f"{tmp_path}")
    assert only.name == "scan/001"
    np.testing.assert_array_equal(only.labels, labels)


def test_the_hash_changes_with_labels_and_names(support: Path) -> None:
    before = supports_sha256(f"{support}")
    (support / "1.npy").rename(support / "2.npy")
    (support / "1_labels.npy").rename(support / "2_labels.npy")
    renamed = supports_sha256(f"{support}")
    labels = np.load(support / "2_labels.npy")
    labels[0, 0] = 3
    np.save(support / "2_labels.npy", labels)
    assert len({before, renamed, supports_sha256(f"{support}")}) == 3
    assert read_supports(f"{support}")[1].labels[0, 0] == 3


class TestBadInput:
    def test_no_folder_named(self) -> None:
        with pytest.raises(UsageError, match="expected a folder of slices with label maps, found none"):
            read_supports("")

    def test_no_such_folder(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="found no folder of that name"):
            read_supports(f"{tmp_path / 'absent'}")

    def test_no_label_maps(self, tmp_path: Path) -> None:
        save(tmp_path, "a", body_slice(0)[0].pixels, None)
        with pytest.raises(InputError, match="found 1 images, no labels"):
            read_supports(f"{tmp_path}")

    def test_an_image_without_labels(self, support: Path) -> None:
        save(support, "lonely", body_slice(0)[0].pixels, None)
        with pytest.raises(InputError, match=r"labels for each of 3 files, found none for lonely\.npy"):
            read_supports(f"{support}")

    def test_a_label_map_of_zeros(self, support: Path) -> None:
        save(support, "blank", body_slice(0)[0].pixels, np.zeros((64, 80), dtype=np.uint8))
        with pytest.raises(InputError, match=r"blank_labels\.npy: expected at least one labelled structure"):
            read_supports(f"{support}")

    def test_labels_of_another_shape(self, support: Path) -> None:
        save(support, "odd", body_slice(0)[0].pixels, np.ones((64, 79), dtype=np.uint8))
        with pytest.raises(InputError, match="labels of the image's shape, 64 x 80, found 64 x 79"):
            read_supports(f"{support}")

    def test_an_id_that_no_label_map_of_16_bits_holds(self, support: Path) -> None:
        save(support, "big", body_slice(0)[0].pixels, np.full((64, 80), MAX_ID + 1))
        with pytest.raises(InputError, match="expected ids up to 65535, found 65536"):
            read_supports(f"{support}")

    def test_a_structure_in_no_support_slice(self, support: Path) -> None:
        with pytest.raises(InputError, match="ids among those of the supports: 3, 300, found 4, 5"):
            support_ids(read_supports(f"{support}"), (3, 5, 4))
