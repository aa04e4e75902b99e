"""Every layout that data may have, and what is said where it is wrong."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.conftest import scan
from fewct.challenge.editions import Edition
from fewct.challenge.example import write_example
from fewct.data.cases import DataSet, DataSource, LabelledCase, parse_data, read_cases
from fewct.data.splits import save_split, split_by_patient
from fewct.errors import FewctWarning, InputError, UsageError
from fewct.io import write
from fewct.phantom import phantom_slice, phantom_volume
from fewct.types import LabelMap


def cases(text: str | Path, truth: str = "complete", step: int = 1) -> list[LabelledCase]:
    return list(read_cases(parse_data(str(text), truth, step)))


@pytest.fixture
def slices(tmp_path: Path) -> Path:
    """Four PNG images beside their label maps."""
    image, label = scan(0, 4)
    for number, (pixels, labels) in enumerate(zip(image, label, strict=True), start=8):
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        Image.fromarray(labels.astype(np.uint8)).save(tmp_path / f"{number}_labels.png")
    return tmp_path


def test_npz_is_a_patient_with_numbered_slices(patients: Path) -> None:
    image, label = scan(1)
    found = cases(patients / "p1.npz")
    assert [(case.name, case.patient) for case in found] == [(f"p1/00{k}", "p1") for k in range(3)]
    np.testing.assert_array_equal(found[2].image.pixels, image[2])
    np.testing.assert_array_equal(found[2].truth, label[2])
    assert (found[0].image.unit, found[0].truth.dtype) == ("grey", np.int32)


def test_folder_of_npz_and_step(patients: Path) -> None:
    assert [case.name for case in cases(patients, step=2)] == [
        f"p{patient}/00{k}" for patient in range(3) for k in (0, 2)
    ]


def test_one_of_several_truths(tmp_path: Path) -> None:
    image, label = scan(0)
    dense = {"dense_image": image[:1] // 2, "dense_label": label[:1] + 1}
    np.savez(tmp_path / "a.npz", image=image, label=label, **dense)
    np.savez(tmp_path / "b.npz", image=image, labels=label)
    (found,) = cases(f"{tmp_path / 'a.npz'}:dense")
    np.testing.assert_array_equal(found.image.pixels, image[0] // 2)
    np.testing.assert_array_equal(found.truth, label[0] + 1)
    assert parse_data(f"{tmp_path / 'a.npz'}:dense").name == "a:dense"
    with pytest.warns(FewctWarning, match=r"no dense_image in b\.npz, which are left out"):
        assert [case.name for case in cases(f"{tmp_path}:dense")] == ["a"]
    with pytest.raises(InputError, match=r"b\.npz: expected arrays dense_image and dense_label, found image"):
        cases(f"{tmp_path / 'b.npz'}:dense")
    with pytest.raises(InputError, match=r"a\.npz: expected arrays weak_image and weak_label"):
        cases(f"{tmp_path}:weak")


def test_pairs_in_one_folder_in_the_order_of_numbers(slices: Path) -> None:
    found = cases(slices)
    assert [(case.name, case.patient) for case in found] == [(name, None) for name in ("8", "9", "10", "11")]
    assert [case.name for case in cases(slices, step=3)] == ["8", "11"]
    (one,) = cases(slices / "9.png")
    np.testing.assert_array_equal(one.truth, found[1].truth)


def test_pairs_in_two_folders(slices: Path, tmp_path: Path) -> None:
    for part in ("images", "labels"):
        (tmp_path / "two" / part).mkdir(parents=True)
    for name in ("8", "9"):
        (slices / f"{name}.png").rename(tmp_path / "two" / "images" / f"{name}.png")
        (slices / f"{name}_labels.png").rename(tmp_path / "two" / "labels" / f"{name}.png")
    assert [case.name for case in cases(tmp_path / "two")] == ["8", "9"]
    (tmp_path / "two" / "labels" / "9.png").unlink()
    with pytest.raises(InputError, match=r"two: expected labels for each of 2 files, found none for 9\.png"):
        cases(tmp_path / "two")


def test_scan_beside_labels_on_another_grid(tmp_path: Path) -> None:
    volume, truth = phantom_volume(3, slices=4, size=64)
    pixels = np.stack([plane.pixels for plane in volume])
    write(LabelMap((pixels + 2000).astype(np.int32), volume.geometry), tmp_path / "scan.nii.gz", "nifti")
    flipped = truth.geometry.affine.copy()
    flipped[:3, 3] += 3 * flipped[:3, 0]
    flipped[:3, 0] *= -1
    write(LabelMap(truth.labels[::-1], type(truth.geometry)(flipped)), tmp_path / "labels.nii.gz", "nifti")
    found = cases(tmp_path)
    assert [case.name for case in found] == [f"{tmp_path.name}/00{k}" for k in range(4)]
    assert {case.patient for case in found} == {tmp_path.name}
    first = pixels[0] + 2000
    by_first = next(case for case in found if np.allclose(case.image.pixels, first, atol=1))
    np.testing.assert_array_equal(by_first.truth, truth.labels[0])
    assert by_first.image.spacing_mm == pytest.approx(volume.spacing_mm[1:])


@pytest.mark.shared
def test_dicom_series_with_labels(shared_data: Path) -> None:
    found = cases(shared_data / "abdomen_series", step=5)
    assert len(found) == 4
    assert all(case.image.unit == "hu" for case in found)
    counts = [len(np.unique(case.truth)) - 1 for case in found]
    assert all(24 <= count <= 28 for count in counts)
    bone = found[0].image.pixels[found[0].truth > 0].mean()
    assert bone > found[0].image.pixels[found[0].truth == 0].mean() + 300


def test_challenge_folder_without_its_unlabelled_images(tmp_path: Path) -> None:
    write_example(tmp_path, Edition("2023", side=64, n_train=6, n_labelled=3, n_test=4))
    assert [case.name for case in cases(tmp_path)] == ["0", "1", "2"]
    assert [case.name for case in cases(f"{tmp_path}:test")] == ["0", "1", "2", "3"]
    (tmp_path / "description.json").write_text(
        json.dumps({"truth": "complete", "sources": [{"path": "test", "labels": "Y_test.csv", "step": 2}]})
    )
    assert [case.name for case in cases(tmp_path / "description.json")] == ["0", "2"]
    (tmp_path / "train" / "1.png").unlink()
    with pytest.raises(
        InputError, match=r"expected an image for each column of Y_train\.csv, found no 1\.png"
    ):
        cases(tmp_path)


def test_json_description(patients: Path, slices: Path) -> None:
    content = {
        "name": "mine",
        "truth": "partial",
        "step": 2,
        "sources": [
            {"path": str(patients / "p0.npz"), "patient": "A"},
            {"path": "8.png", "labels": "8_labels.png", "patient": {"8": "B"}},
            {"path": str(patients / "p2.npz"), "step": 1},
        ],
    }
    (slices / "d.json").write_text(json.dumps(content))
    data = parse_data(str(slices / "d.json"))
    assert (data.name, data.truth) == ("mine", "partial")
    assert [(case.name, case.patient) for case in read_cases(data)] == [
        ("p0/000", "A"),
        ("p0/002", "A"),
        ("8", "B"),
        *((f"p2/00{k}", "p2") for k in range(3)),
    ]


def test_json_takes_one_part_of_a_split(patients: Path, tmp_path: Path) -> None:
    split = split_by_patient({case.name: case.patient for case in cases(patients)}, {"a": 0.6, "b": 0.4}, 0)
    save_split(split, tmp_path / "split.json")
    content = {"truth": "complete", "sources": [{"path": str(patients)}], "split": "split.json", "part": "b"}
    (tmp_path / "d.json").write_text(json.dumps(content))
    assert [case.name for case in cases(tmp_path / "d.json")] == sorted(split.parts["b"])
    (tmp_path / "d.json").write_text(json.dumps(content | {"part": "c"}))
    with pytest.raises(InputError, match=r"""expected "part" of "a", "b", found 'c'"""):
        parse_data(str(tmp_path / "d.json"))
    del content["part"]
    (tmp_path / "d.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r'expected "part", "split" in the file, found no "part"'):
        parse_data(str(tmp_path / "d.json"))


def test_slices_without_any_label_say_nothing_on_partial_truth(tmp_path: Path) -> None:
    image, label = scan(0)
    label[1] = 0
    np.savez(tmp_path / "a.npz", image=image, label=label)
    assert [case.name for case in cases(tmp_path / "a.npz", "partial")] == ["a/000", "a/002"]
    assert len(cases(tmp_path / "a.npz")) == 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "expected a JSON description of data"),
        ("[]", 'expected "sources", "truth" in the file, found no "sources", "truth"'),
        ('{"sources": []}', 'expected "sources", "truth" in the file, found no "truth"'),
        ('{"sources": [], "truth": "half"}', """expected "truth" of "complete" or "partial", found 'half'"""),
        ('{"sources": [{}], "truth": "partial"}', 'expected "path" in source 1, found no "path"'),
        (
            '{"sources": [{"path": "a", "patients": "b"}], "truth": "partial"}',
            'expected only "labels", "path", "patient", "step" in source 1, found "patients"',
        ),
    ],
)
def test_what_is_no_description(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "d.json").write_text(content)
    with pytest.raises(InputError, match=message):
        parse_data(str(tmp_path / "d.json"))


def test_a_patient_that_is_not_told(patients: Path, tmp_path: Path) -> None:
    source = {"path": str(patients / "p0.npz"), "patient": {"p0/000": "A", "p0/001": "A"}}
    (tmp_path / "d.json").write_text(json.dumps({"truth": "partial", "sources": [source]}))
    with pytest.raises(InputError, match="expected a patient for each case, found none for p0/002"):
        cases(tmp_path / "d.json")


def test_bad_folders_and_files(slices: Path, patients: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere: expected an NPZ .*, found nothing of that name"):
        cases(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty: expected an NPZ .*, found 0 images, no labels"):
        cases(tmp_path / "empty")
    np.savez(tmp_path / "bare.npz", image=scan(0)[0])
    with pytest.raises(InputError, match=r"bare\.npz: expected arrays image and label, found image\. Save"):
        cases(tmp_path / "bare.npz")
    (tmp_path / "broken.npz").write_bytes(b"PK\3\4 nothing")
    with pytest.raises(InputError, match=r"broken\.npz: expected a whole NPZ file"):
        cases(tmp_path / "broken.npz")
    with pytest.raises(UsageError, match=r"8\.png:dense: expected several truths to choose from"):
        cases(f"{slices / '8.png'}:dense")
    with pytest.raises(UsageError, match="step: expected 1 or more, found 0"):
        cases(patients, step=0)
    twice = DataSet("twice", (DataSource(patients / "p0.npz"), DataSource(patients / "p0.npz")))
    with pytest.raises(
        InputError, match="expected names of cases that differ within a data set, found p0/000"
    ):
        list(read_cases(twice))
    with pytest.raises(InputError, match="none: expected at least one slice with truth, found none"):
        list(read_cases(DataSet("none", (DataSource(patients / "p0.npz"),), only=frozenset())))


def test_image_and_labels_that_do_not_match(slices: Path) -> None:
    (slices / "9_labels.png").unlink()
    with pytest.raises(InputError, match=r"expected labels for each of 4 files, found none for 9\.png"):
        cases(slices)
    with pytest.raises(
        InputError, match=r"9\.png: expected labels beside it, such as 9_labels\.png, found none"
    ):
        cases(slices / "9.png")
    Image.fromarray(np.ones((64, 60), np.uint8)).save(slices / "9_labels.png")
    with pytest.raises(
        InputError, match=r"9\.png: expected labels of the image's shape, 64 x 64, found 64 x 60"
    ):
        cases(slices)
    (slices / "8.png").unlink()
    with pytest.raises(
        InputError, match=r"expected an image for each of 4 files, found none for 8_labels\.png"
    ):
        cases(slices)


def test_two_scans_beside_one_label_map(tmp_path: Path) -> None:
    slice_, truth = phantom_slice(0, size=64)
    for name in ("a", "b"):
        np.save(tmp_path / f"{name}.npy", slice_.pixels)
    write(truth, tmp_path / "labels.nii.gz", "nifti")
    with pytest.raises(InputError, match="expected one scan beside its labels, found 2: a, b"):
        cases(tmp_path)
