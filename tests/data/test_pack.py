import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fewct.data.anatomy import AnatomyMap, read_anatomies
from fewct.data.pack import TrainingData, hu_codes, hu_of_codes, read_pack, thinned, write_pack
from fewct.data.regions.knowledge import Knowledge, from_truth, stack_slices
from fewct.data.stacks import SliceStack, joined
from fewct.errors import InputError
from training_tree import write_tree


def stack(count: int = 7, source: str = "visible_human_legs") -> SliceStack:
    """A stack of random slices (20, 30), each the neighbour of the one before."""
    rng = np.random.default_rng(0)
    truth = np.zeros((20, 30), dtype=np.uint8)
    truth[5:9, 6:12] = 3
    body = np.zeros((20, 30), dtype=np.bool_)
    body[2:18, 2:28] = True
    known: list[Knowledge] = [from_truth(truth, body, 1.0)] * count
    above = np.arange(-1, count - 1, dtype=np.int32)
    gap = np.where(above < 0, np.nan, 2.0).astype(np.float32)
    pixels = rng.integers(-1024, 1200, (count, 20, 30))
    return stack_slices(source, "hu", pixels, known, ["a"] * count, np.ones(count), above, gap)


def anatomy() -> AnatomyMap:
    """A label map of one structure."""
    return AnatomyMap("trunk_1", np.eye(4, dtype=np.uint8)[None], {1: "liver"}, (1.5, 1.0, 1.0), True)


def training_data() -> TrainingData:
    """Training data of one stack and one without labels, of one held out, and of one label map."""
    return TrainingData([stack(source="lidc"), stack()], [stack(4)], [anatomy()])


def test_a_pack_keeps_everything_but_fine_steps_of_pixels(tmp_path: Path) -> None:
    written = thinned(stack(), 2)
    write_pack(training_data(), tmp_path / "train.pack")
    whole = read_pack(tmp_path / "train.pack")
    (read,), (held_out,), (label_map,) = whole.training, whole.held_out, whole.anatomies
    assert np.array_equal(held_out.labels, stack(4).labels[::3])
    for name in ("patient", "labels", "structure", "border_weight", "body", "pixel_mm", "above", "gap_mm"):
        assert np.array_equal(getattr(read, name), getattr(written, name), equal_nan=name == "gap_mm"), name
        assert getattr(read, name).dtype == getattr(written, name).dtype
    assert (read.source, read.unit, read.label_offset_px) == ("visible_human_legs", "hu", 0.0)
    soft = (written.pixels > -150) & (written.pixels < 250)
    assert np.abs(read.pixels - written.pixels)[soft].max() <= 1
    assert label_map.names == {1: "liver"}
    assert label_map.spacing_mm == (1.5, 1.0, 1.0)
    assert np.array_equal(label_map.labels, anatomy().labels)


def test_equal_data_make_equal_packs(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_pack(training_data(), tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_codes_of_hounsfield_units_keep_soft_tissue_and_order() -> None:
    hu = np.arange(-1024, 3073, dtype=np.int16)
    back = hu_of_codes(hu_codes(hu))
    error = np.abs(back.astype(int) - hu)
    assert error[(hu >= -150) & (hu <= 250)].max() == 1
    assert error[hu <= -150].max() <= 17
    assert error[(hu >= 250) & (hu <= 1000)].max() <= 19
    assert (np.diff(back.astype(int)) >= 0).all()
    assert np.array_equal(hu_codes(back), hu_codes(hu))


def test_thinned_slices_are_neighbours_at_their_new_distance() -> None:
    some = thinned(stack(), 3)
    assert some.above.tolist() == [-1, 0, 1]
    assert some.gap_mm[1:].tolist() == [6, 6]
    assert np.array_equal(some.pixels, stack().pixels[::3])
    unknown = thinned(replace(stack(), gap_mm=np.full(7, np.nan, dtype=np.float32)), 3)
    assert unknown.above.tolist() == [-1, -1, -1]


def test_stacks_of_one_kind_are_joined() -> None:
    (whole,) = joined([stack(), stack()])
    assert whole.above.tolist() == [-1, 0, 1, 2, 3, 4, 5, -1, 7, 8, 9, 10, 11, 12]
    assert len(whole.pixels) == len(whole.patient) == 14


def test_a_pack_that_is_too_large_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a pack of at most 100 bytes"):
        write_pack(training_data(), tmp_path / "train.pack", max_bytes=100)
    assert list(tmp_path.iterdir()) == []


def test_a_pack_without_slices_or_anatomy_is_refused(tmp_path: Path) -> None:
    for some, found in (
        (TrainingData([stack()], [stack()], []), "found 1 and 1 stacks, 0 label maps"),
        (TrainingData([stack()], [], [anatomy()]), "found 1 and 0 stacks, 1 label maps"),
    ):
        with pytest.raises(InputError, match=found):
            write_pack(some, tmp_path / "train.pack")


def test_damaged_packs_are_refused(tmp_path: Path) -> None:
    whole = tmp_path / "train.pack"
    write_pack(training_data(), whole)
    data = whole.read_bytes()
    (tmp_path / "cut").write_bytes(data[: len(data) // 2])
    flipped = bytearray(data)
    flipped[200] ^= 255
    (tmp_path / "flipped").write_bytes(flipped)
    (tmp_path / "text").write_text("no pack")
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(tmp_path / "partial", "w") as new:
        for name in old.namelist():
            if name != "stack_0_labels":
                new.writestr(name, old.read(name))
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(tmp_path / "other", "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read("stack_0_labels" if name == "stack_0_pixels" else name))
    for name in ("cut", "flipped", "text", "partial", "other", "absent"):
        with pytest.raises(InputError, match=f"{name}: expected a whole pack of training data"):
            read_pack(tmp_path / name)


def test_anatomies_held_out_are_kept_apart(tmp_path: Path) -> None:
    root = write_tree(tmp_path)
    some = read_anatomies(root, held_out=False)
    assert [(one.name, one.complete, len(one.labels)) for one in some] == [
        ("headneck_00", False, 24),
        ("trunk_0327", True, 24),
        ("abdomen_spl", True, 4),
        ("chd68_1001_0", False, 1),
        ("chd68_1001_1", False, 1),
    ]
    assert some[0].names == {3: "Brain"}
    held_out = [one.name for one in read_anatomies(root, held_out=True)]
    assert held_out == ["headneck_03", "chd68_1003_0", "chd68_1003_1"]


def test_anatomies_run_from_the_feet_to_the_head_without_nameless_structures(tmp_path: Path) -> None:
    path = write_tree(tmp_path) / "more" / "anatomy_spl" / "abdomen_spl.npz"
    labels = np.zeros((22, 4, 4), dtype=np.uint8)
    labels[20, 0], labels[21, 1], labels[21, 2] = 1, 1, 2
    names = np.array('{"1": "liver", "2": "id 699"}')
    np.savez(path, label=labels, names=names, spacing_mm=np.array([1.5, 1.0, 1.0]))
    (abdomen,) = [one for one in read_anatomies(tmp_path, held_out=False) if one.name == "abdomen_spl"]
    assert abdomen.labels[:, :, 0].tolist() == [[0, 1, 0, 0], [1, 0, 0, 0]]
    assert abdomen.names == {1: "liver"}


def test_an_anatomy_whose_labels_have_no_name_is_refused(tmp_path: Path) -> None:
    path = write_tree(tmp_path) / "anatomy" / "trunk_0327.npz"
    np.savez(path, label=np.ones((1, 4, 4), np.uint8), names=np.array("{}"), spacing_mm=np.ones(3))
    with pytest.raises(InputError, match=r"expected a name for each label, found none for \[1\]"):
        read_anatomies(tmp_path, held_out=False)


def test_a_closed_skull_without_a_brain_gets_one(tmp_path: Path) -> None:
    path = write_tree(tmp_path) / "anatomy" / "headneck_00.npz"
    radius = np.hypot(*(np.mgrid[:64, :64] - 32))
    ring = ((radius < 30) & (radius > 27)).astype(np.uint8)
    opened = ring * (np.arange(64) > 5)[:, None].astype(np.uint8)
    labels = np.stack([ring, opened])
    np.savez(path, label=labels, names=np.array('{"1": "skull"}'), spacing_mm=np.array([2.0, 1.0, 1.0]))
    head = read_anatomies(tmp_path, held_out=False)[0]
    assert head.names == {1: "skull", 2: "brain"}
    assert (head.labels[0][radius < 26] == 2).all()
    assert np.array_equal(head.labels[1], opened)
