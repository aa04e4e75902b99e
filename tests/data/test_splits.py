"""Splits: no patient, no look-alike, no structure on two sides; and what happens without them."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewct.data.splits import (
    Split,
    hide_structures,
    load_split,
    save_split,
    split_by_patient,
    split_by_similarity,
    split_by_structure,
)
from fewct.errors import InputError, UsageError
from fewct.imaging.similarity import similarity_groups
from fewct.phantom import phantom_slice, phantom_volume

SHARES = {"train": 0.75, "val": 0.25}
SCAN_OF = {f"{patient}{z:02d}": patient for patient in "ABCDEFGH" for z in range(10)}


def shuffled_slices(names: list[str], seed: int) -> dict[str, tuple[str, ...]]:
    """The defective way: slices are drawn one by one, whoever they belong to."""
    order = np.random.default_rng(seed).permutation(len(names)).tolist()
    cut = round(len(names) * SHARES["train"])
    return {"train": tuple(names[i] for i in order[:cut]), "val": tuple(names[i] for i in order[cut:])}


@pytest.fixture(scope="module")
def pictures() -> dict[str, np.ndarray]:
    """Three patients, three neighbouring slices each, some of them turned, mirrored or windowed anew."""
    made = {}
    for seed in range(3):
        volume, _ = phantom_volume(seed, slices=3, size=96, levels=(0.44, 0.46))
        first, second, third = (plane.pixels.clip(-200, 300) for plane in volume)
        made |= {f"{seed}a": first, f"{seed}b": np.rot90(second, seed), f"{seed}c": 0.4 * third[:, ::-1] + 9}
    return made


def test_neighbours_of_one_patient_stay_on_one_side() -> None:
    defective = shuffled_slices(list(SCAN_OF), seed=0)
    on_both = {SCAN_OF[name] for name in defective["train"]} & {SCAN_OF[name] for name in defective["val"]}
    assert len(on_both) == 8  # every patient
    with pytest.raises(
        InputError, match=r"expected each patient on one side, found patient \w in train and in"
    ):
        Split("patient", 0, defective, SCAN_OF)
    split = split_by_patient(SCAN_OF, SHARES, seed=0)
    assert not {SCAN_OF[name] for name in split.parts["train"]} & {
        SCAN_OF[name] for name in split.parts["val"]
    }
    assert {part: len(items) for part, items in split.parts.items()} == {"train": 60, "val": 20}


def test_near_duplicates_stay_on_one_side(pictures: dict[str, np.ndarray]) -> None:
    defective = shuffled_slices(list(pictures), seed=0)
    patients = [{name[0] for name in part} for part in defective.values()]
    assert patients[0] & patients[1]
    split = split_by_similarity(pictures, {"train": 0.6, "val": 0.4}, seed=0)
    patients = [{name[0] for name in part} for part in split.parts.values()]
    assert not patients[0] & patients[1]
    assert sum(map(len, split.parts.values())) == len(pictures)
    with pytest.raises(InputError, match="expected each similarity on one side"):
        Split("similarity", 0, defective, split.groups)


def test_groups_of_similar_slices_are_the_patients(pictures: dict[str, np.ndarray]) -> None:
    np.testing.assert_array_equal(similarity_groups(pictures.values()), np.repeat(np.arange(3), 3))
    exact_copies = Counter(image.tobytes() for image in pictures.values())
    assert max(exact_copies.values()) == 1  # a search for identical files finds none of them


def test_sizes_and_padding_do_not_matter() -> None:
    small, large = phantom_slice(4, size=96)[0].pixels, phantom_slice(4, size=128)[0].pixels.copy()
    padded = np.where(large < -990, np.nan, large)
    groups = similarity_groups([small, large, padded, np.zeros((70, 50)), np.ones((9, 9))])
    np.testing.assert_array_equal(groups, [0, 0, 0, 1, 2])


@pytest.mark.shared
def test_groups_of_real_slices_are_the_patients(shared_data: Path) -> None:
    images, patients = [], []
    for number, name in enumerate(("033", "034", "039")):
        with np.load(shared_data / "btcv" / "val" / f"{name}.npz") as arrays:
            images += list(arrays["image"])
            patients += [number] * len(arrays["image"])
    np.testing.assert_array_equal(similarity_groups(images), patients)


@settings(max_examples=60)
@given(
    sizes=st.lists(st.integers(1, 30), min_size=3, max_size=12),
    first=st.floats(0.05, 0.8),
    seed=st.integers(0, 10**6),
)
def test_properties_of_every_split(sizes: list[int], first: float, seed: int) -> None:
    patients = {f"{p}/{k}": f"{p}" for p, size in enumerate(sizes) for k in range(size)}
    shares = {"train": first, "val": 0.1, "test": 1 - first - 0.1}
    split = split_by_patient(patients, shares, seed)
    drawn = [name for items in split.parts.values() for name in items]
    assert sorted(drawn) == sorted(patients)
    assert all(split.parts.values())
    assert len({(patients[name], part) for part, items in split.parts.items() for name in items}) == len(
        sizes
    )
    assert split == split_by_patient(dict(reversed(patients.items())), shares, seed)


def test_another_seed_gives_another_split() -> None:
    drawn = {split_by_patient(SCAN_OF, SHARES, seed).parts["val"] for seed in range(10)}
    assert len(drawn) > 5


def test_structures_left_out_become_unknown() -> None:
    split = split_by_structure(range(1, 14), {"seen": 0.7, "unseen": 0.3}, seed=1)
    unseen = [int(name) for name in split.parts["unseen"]]
    assert len(unseen) == 4
    labels = np.arange(14).reshape(2, 7)
    kept = hide_structures(labels, unseen)
    assert set(np.unique(kept)) == {0, *map(int, split.parts["seen"])}
    np.testing.assert_array_equal(kept[kept > 0], labels[kept > 0])


def test_a_split_is_saved_and_loaded_whole(tmp_path: Path) -> None:
    split = split_by_patient(SCAN_OF, SHARES, seed=3)
    save_split(split, tmp_path / "split.json")
    assert load_split(tmp_path / "split.json") == split
    content = json.loads((tmp_path / "split.json").read_text())
    content["parts"]["train"].append(content["parts"]["val"][0])
    (tmp_path / "edited.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="in train and in val"):
        load_split(tmp_path / "edited.json")


@pytest.mark.parametrize("text", ["", "[]", '{"kind": "patient"}', '{"kind": "age", "seed": 0}'])
def test_what_is_no_split(tmp_path: Path, text: str) -> None:
    (tmp_path / "split.json").write_text(text)
    with pytest.raises(InputError, match=r"split\.json: expected a split with kind, seed, parts and groups"):
        load_split(tmp_path / "split.json")


def test_bad_input() -> None:
    with pytest.raises(InputError, match=r"s2: expected a known patient, found none\. Tell the patient"):
        split_by_patient({"s1": "A", "s2": None}, SHARES, seed=0)
    with pytest.raises(InputError, match="s2: expected a known patient, found none"):
        Split("patient", 0, {"train": ("s1",), "val": ("s2",)}, {"s1": "A"})
    with pytest.raises(InputError, match=r"expected at least 2 groups by patient, one a part, found 1"):
        split_by_patient({"s1": "A", "s2": "A"}, SHARES, seed=0)
    for shares in ({"all": 1.0}, {"a": 0.5, "b": 0.6}, {"a": 1.5, "b": -0.5}):
        with pytest.raises(UsageError, match="shares: expected two or more parts with shares above 0"):
            split_by_patient({"s1": "A", "s2": "B"}, shares, seed=0)
