"""Slices without labels: found in every layout of labelled data, and kept apart from validation."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from fewct.data.cases import LabelledCase
from fewct.data.unlabelled import UnlabelledSlice, check_disjoint, read_unlabelled
from fewct.errors import InputError, UsageError
from fewct.phantom import phantom_slice
from fewct.types import CTSlice, Provenance

SIZE = 32


def picture(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    ct, _ = phantom_slice(seed, size=SIZE)
    Image.fromarray(((ct.pixels + 160) / 400 * 255).clip(0, 255).astype(np.uint8)).save(path)
    return path


def label_map(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.eye(SIZE, dtype=np.uint8)).save(path)
    return path


def pixels(seed: int = 0) -> np.ndarray:
    return phantom_slice(seed, size=SIZE)[0].pixels


def read_all(text: object, step: int = 1) -> list[UnlabelledSlice]:
    return list(read_unlabelled(f"{text}", step))


class TestLayouts:
    def test_npz_with_an_image_alone(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "a.npz", image=np.stack([pixels(k) for k in range(3)]))
        found = read_all(tmp_path / "a.npz")
        assert [one.patient for one in found] == ["a"] * 3
        assert all(np.array_equal(one.image.pixels, pixels(k)) for k, one in enumerate(found))
        assert found[0].image.unit == "hu"

    def test_npz_with_labels_and_every_second_slice(self, tmp_path: Path) -> None:
        stack = np.stack([pixels(k) for k in range(3)])
        for name in ("a", "b"):
            np.savez(tmp_path / f"{name}.npz", image=stack, label=np.ones(stack.shape, dtype=np.uint8))
        assert [one.patient for one in read_all(tmp_path, step=2)] == ["a", "a", "b", "b"]

    def test_a_folder_of_pictures(self, tmp_path: Path) -> None:
        for k in range(3):
            picture(tmp_path / f"{k}.png", k)
        found = read_all(tmp_path)
        assert [one.patient for one in found] == [None] * 3
        assert len(read_all(tmp_path, step=2)) == 2

    def test_label_maps_are_left_out(self, tmp_path: Path) -> None:
        label_map(tmp_path / "two" / "labels" / "a.png")
        picture(tmp_path / "two" / "images" / "a.png")
        for suffix in ("_label", "_labels"):
            label_map(tmp_path / "pairs" / f"a{suffix}.png")
        picture(tmp_path / "pairs" / "a.png")
        for folder in ("two", "pairs"):
            assert len(read_all(tmp_path / folder)) == 1

    def test_a_scan_beside_its_labels(self, tmp_path: Path) -> None:
        stack = np.stack([pixels(k) for k in range(4)]).transpose(2, 1, 0)
        nibabel.save(nibabel.Nifti1Image(stack, np.eye(4)), tmp_path / "scan.nii.gz")
        nibabel.save(nibabel.Nifti1Image((stack > 0).astype(np.uint8), np.eye(4)), tmp_path / "labels.nii.gz")
        assert [one.patient for one in read_all(tmp_path, step=3)] == ["scan", "scan"]

    def test_of_a_challenge_only_what_is_for_training(self, tmp_path: Path) -> None:
        picture(tmp_path / "train" / "0.png")
        picture(tmp_path / "test" / "0.png", 1)
        (tmp_path / "Y_train.csv").write_text(",0.png\n")
        assert len(read_all(tmp_path)) == 1

    def test_a_description(self, tmp_path: Path) -> None:
        picture(tmp_path / "a.png")
        np.savez(tmp_path / "b.npz", image=np.stack([pixels(k) for k in range(4)]))
        sources = [{"path": "a.png", "patient": "x"}, {"path": "b.npz", "step": 2, "patient": {"b": "y"}}]
        (tmp_path / "data.json").write_text(json.dumps({"truth": "partial", "sources": sources}))
        assert [one.patient for one in read_all(tmp_path / "data.json")] == ["x", "y", "y"]

    def test_nothing_but_label_maps(self, tmp_path: Path) -> None:
        label_map(tmp_path / "labels" / "a.png")
        with pytest.raises(InputError, match="at least one image, found label maps alone"):
            read_all(tmp_path)

    def test_nothing_at_all(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="at least one image, found nothing readable"):
            read_all(tmp_path)

    def test_a_label_map_for_an_image(self, tmp_path: Path) -> None:
        truth = np.zeros((2, SIZE, SIZE), dtype=np.uint8)
        truth[:, 8:20, 8:20] = 3
        np.savez(tmp_path / "a.npz", label=truth)
        with pytest.raises(InputError, match="looks like a mask"):
            read_all(tmp_path / "a.npz")

    def test_no_truth_to_choose(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "a.npz", image=pixels()[None], dense_image=pixels()[None])
        with pytest.raises(UsageError, match=r"--unlabelled .*a\.npz:dense: expected data as a whole"):
            read_all(f"{tmp_path / 'a.npz'}:dense")


def case(image: CTSlice, patient: str | None = None) -> LabelledCase:
    return LabelledCase("slice 7", patient, image, np.zeros(image.shape, dtype=np.int32))


class TestApart:
    def test_other_slices(self) -> None:
        check_disjoint(
            [UnlabelledSlice("a", CTSlice(pixels(0), "hu"))], [case(CTSlice(pixels(1), "hu"), "b")]
        )
        check_disjoint([UnlabelledSlice(None, CTSlice(pixels(0), "hu"))], [case(CTSlice(pixels(1), "hu"))])

    def test_slices_of_one_value_look_alike(self) -> None:
        air = CTSlice(np.full((SIZE, SIZE), -1000.0), "hu")
        check_disjoint([UnlabelledSlice("a", air)], [case(air, "b")])

    def test_a_patient(self) -> None:
        with pytest.raises(InputError, match=r"patient a on both sides\. Leave it out of --unlabelled"):
            check_disjoint(
                [UnlabelledSlice("a", CTSlice(pixels(0), "hu"))], [case(CTSlice(pixels(1), "hu"), "a")]
            )

    def test_a_file(self, tmp_path: Path) -> None:
        named, linked = picture(tmp_path / "a.png"), tmp_path / "b.png"
        linked.symlink_to(named)
        one, other = (
            CTSlice(pixels(k), "grey", source=Provenance(path, "image", "x", (path,)))
            for k, path in enumerate((named, linked))
        )
        with pytest.raises(InputError, match="the slice slice 7 on both sides"):
            check_disjoint([UnlabelledSlice(None, one)], [case(other)])

    def test_a_copy(self) -> None:
        with pytest.raises(InputError, match="the slice slice 7 on both sides"):
            check_disjoint(
                [UnlabelledSlice("a", CTSlice(pixels(), "hu"))], [case(CTSlice(pixels(), "hu"), "b")]
            )
