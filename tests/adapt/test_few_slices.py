"""Few slices: read, checked, and grouped so that nothing of a patient stands on two sides."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adapt.conftest import make_case
from fewct.adapt.few_slices import few_of, read_few
from fewct.data.cases import LabelledCase
from fewct.errors import FewctWarning, InputError, UsageError
from fewct.types import CTSlice


class TestGroups:
    def test_by_patient(self, people: tuple[LabelledCase, ...]) -> None:
        first, second, third, *_ = people
        few = few_of([first, second, replace(third, patient=first.patient)], "complete")
        assert few.groups.tolist() == [0, 1, 0]
        assert (few.grouped_by, few.n_groups) == ("patient", 2)

    def test_by_likeness_where_a_patient_is_unknown(self, people: tuple[LabelledCase, ...]) -> None:
        first, second, third, *_ = people
        turned = replace(first.image, pixels=np.rot90(first.image.pixels), geometry=None)
        alike = LabelledCase("turned", None, turned, np.rot90(first.truth))
        few = few_of([first, second, alike, third], "complete")
        assert few.groups.tolist() == [0, 1, 0, 2]
        assert few.grouped_by == "similarity"

    def test_slices_of_one_patient_stand_for_themselves(self, people: tuple[LabelledCase, ...]) -> None:
        few = few_of([replace(case, patient="same") for case in people[:3]], "complete")
        assert few.groups.tolist() == [0, 1, 2]
        assert few.grouped_by == "slice"

    def test_a_single_slice(self, people: tuple[LabelledCase, ...]) -> None:
        few = few_of(people[:1], "partial")
        assert (few.n_groups, few.grouped_by) == (1, "slice")


class TestHash:
    def test_tells_pixels_and_labels(self, people: tuple[LabelledCase, ...]) -> None:
        case = people[0]
        other_labels = replace(case, truth=case.truth + 1)
        other_pixels = replace(case, image=replace(case.image, pixels=case.image.pixels + 1))
        hashes = {few_of([one], "complete").sha256 for one in (case, other_labels, other_pixels)}
        assert len(hashes) == 3
        assert few_of([replace(case, name="other name")], "complete").sha256 in hashes


class TestReading:
    def test_a_folder_of_pictures(self, pictures: Path) -> None:
        few = read_few([f"{pictures}"])
        assert [case.name for case in few.cases] == ["0", "1", "2", "3"]
        assert (few.truth, few.grouped_by) == ("complete", "similarity")
        assert len(read_few([f"{pictures}"], step=2).cases) == 2

    def test_slices_of_other_sizes_and_spacings(self) -> None:
        sizes = [make_case(seed, f"{seed}", size=size) for seed, size in ((0, 64), (1, 80))]
        assert len(few_of(sizes, "complete").cases) == 2


class TestBadInput:
    def test_no_labels(self, people: tuple[LabelledCase, ...]) -> None:
        blank = replace(people[0], truth=np.zeros_like(people[0].truth))
        with pytest.raises(
            InputError, match=r"slices with labelled structures, found 1 slices, all labels 0"
        ):
            few_of([blank], "complete")

    def test_some_without_labels_are_left_out(self, people: tuple[LabelledCase, ...]) -> None:
        blank = replace(people[0], truth=np.zeros_like(people[0].truth))
        with pytest.warns(FewctWarning, match="1 slices without any label are left out"):
            few = few_of([blank, people[1]], "complete")
        assert few.cases == (people[1],)

    def test_more_than_50(self, people: tuple[LabelledCase, ...]) -> None:
        with pytest.raises(UsageError, match=r"1 to 50 labelled slices, found 51\. Take every n-th"):
            few_of([people[0]] * 51, "complete")

    def test_mixed_units(self, people: tuple[LabelledCase, ...]) -> None:
        grey = CTSlice(people[1].image.pixels.clip(0, 255), "grey")
        with pytest.warns(FewctWarning, match="1 slices are in Hounsfield units and 1 are grey"):
            few_of([people[0], replace(people[1], image=grey)], "complete")

    def test_no_data(self) -> None:
        with pytest.raises(UsageError, match="Name some with --data"):
            read_few([])

    def test_two_kinds_of_truth(self, pictures: Path) -> None:
        description = pictures.parent / "partial.json"
        description.write_text(json.dumps({"truth": "partial", "sources": [{"path": f"{pictures}"}]}))
        with pytest.raises(UsageError, match="one kind of truth, found complete and partial"):
            read_few([f"{pictures}", f"{description}"])

    def test_unreadable(self, tmp_path: Path) -> None:
        (tmp_path / "a.npz").write_bytes(b"no arrays")
        with pytest.raises(InputError, match="a whole NPZ file"):
            read_few([f"{tmp_path / 'a.npz'}"])
