from pathlib import Path

import numpy as np
import pytest

from fewct.data.examples import BACKGROUND, STRUCTURE, UNKNOWN
from fewct.data.regions import read_stacks
from fewct.data.regions.head_neck import read_openkbp_dense
from fewct.data.regions.series import SERIES, read_series
from fewct.data.stacks import SLICE_LABELS, SliceStack
from fewct.errors import InputError
from training_tree import LABEL, write_tree


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Training data of every source, three slices each."""
    return write_tree(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def stacks(tree: Path) -> dict[str, SliceStack]:
    """The stacks for training by source."""
    return {stack.source: stack for stack in read_stacks(tree, held_out=False)}


def test_every_source_is_read_once(stacks: dict[str, SliceStack], tree: Path) -> None:
    counts = {source: len(stack.patient) for source, stack in stacks.items()}
    assert counts == {
        "btcv": 3,
        "btcv_dense": 1,
        "btcv_dense_low": 1,
        "btcv_unlabelled": 8,
        "lidc": 8,
        "openkbp": 4,
        "openkbp_dense": 2,
        "acrin_flt_breast": 6,
        "cmb_crc": 3,
        "cptac_pda": 3,
        "lidc_0314": 3,
        "rider_pilot": 3,
        "tcga_luad_lusc": 3,
        "visible_human": 3,
        "visible_human_legs": 3,
        "chd68": 2,
        "aorta_kaggle": 2,
    }
    held_out = {stack.source: set(stack.patient.tolist()) for stack in read_stacks(tree, held_out=True)}
    assert held_out == {
        "btcv": {"033"},
        "openkbp": {"pt_1"},
        "openkbp_dense": {"pt_212"},
        "acrin_flt_breast": {"013"},
        "lung_fused_ct_path": {"lungfcp_01_0001"},
        "chd68": {"1003"},
    }


def test_people_with_dense_truth_are_in_no_other_stack(stacks: dict[str, SliceStack]) -> None:
    assert set(stacks["openkbp"].patient.tolist()) == {"pt_2", "pt_7"}  # pt_293 is pt_36
    assert set(stacks["acrin_flt_breast"].patient.tolist()) == {"001"}


def test_neighbours_lie_towards_the_head(stacks: dict[str, SliceStack]) -> None:
    assert stacks["btcv"].above.tolist() == [1, 2, -1]
    assert np.isnan(stacks["btcv"].gap_mm).all()
    assert stacks["lidc"].above.tolist() == [1, 2, 3, -1, 5, 6, 7, -1]
    assert stacks["openkbp_dense"].above.tolist() == [-1, 0]
    assert stacks["openkbp_dense"].gap_mm[1] == 2.5
    assert stacks["rider_pilot"].above.tolist() == [-1, 0, 1]
    assert stacks["rider_pilot"].gap_mm[1:].tolist() == [4, 4]
    assert (stacks["tcga_luad_lusc"].above == -1).all()


def test_dense_segments_are_pieces_of_their_slice(stacks: dict[str, SliceStack]) -> None:
    labels = stacks["btcv_dense"].labels
    assert set(np.unique(labels)) == {0, LABEL, SLICE_LABELS}
    assert np.array_equal(stacks["btcv"].labels[1], labels[0])
    assert np.array_equal(stacks["btcv_dense_low"].labels, labels)
    assert (stacks["btcv_dense_low"].unit, stacks["btcv_dense"].unit) == ("grey", "hu")
    assert stacks["btcv"].label_offset_px == 0.35


def test_tissue_tells_lung_bone_fat_and_the_air_around(stacks: dict[str, SliceStack]) -> None:
    stack = stacks["acrin_flt_breast"]
    labels, structure, weight = stack.labels[0], stack.structure[0], stack.border_weight[0]
    assert labels[30, 20] == 101  # lung
    assert labels[43, 32] == SLICE_LABELS  # bone
    assert labels[25, 37] == SLICE_LABELS + 1  # gas at the level of the lungs
    assert structure[30, 20] == structure[43, 32] == STRUCTURE
    assert structure[32, 7] == BACKGROUND  # fat
    assert structure[0, 0] == BACKGROUND
    assert structure[32, 45] == UNKNOWN
    assert weight[30, 20] == weight[43, 32] == 255
    assert 0 < weight[0, 0] < 100
    assert weight[35, 50] == 0
    assert not stack.body[0, 0, 0]
    assert stack.body[0, 32, 7]


def test_truth_wins_over_tissue(stacks: dict[str, SliceStack]) -> None:
    labels = stacks["openkbp"].labels[0]
    assert labels[35, 44] == LABEL
    assert labels[30, 20] == 101
    dense = stacks["openkbp_dense"].labels[0]
    assert dense[35, 44] == LABEL
    assert dense[30, 20] == 0  # annotated lungs are elsewhere
    assert stacks["openkbp_dense"].structure[0, 30, 20] == STRUCTURE


def test_without_a_tissue_map_large_gas_is_lung(stacks: dict[str, SliceStack]) -> None:
    hearts = stacks["chd68"]
    assert (hearts.structure[0][hearts.labels[0] > 0] == STRUCTURE).all()
    assert hearts.structure[0, 30, 50] == UNKNOWN
    assert hearts.border_weight[0, 35, 44] == 255
    unknown = stacks["tcga_luad_lusc"]
    assert unknown.structure[2, 43, 32] == STRUCTURE
    assert (unknown.labels[2] < SLICE_LABELS + 2).all()


def test_segments_of_legs_are_structures_but_for_fat(stacks: dict[str, SliceStack]) -> None:
    labels = stacks["visible_human_legs"].labels[0]
    assert labels[50, 32] == SLICE_LABELS  # muscle
    assert labels[43, 32] == SLICE_LABELS + 1  # bone
    assert labels[32, 7] == 0
    assert stacks["visible_human_legs"].structure[0, 32, 7] == BACKGROUND


@pytest.mark.parametrize("part", ["lidc", "more", "more/chd68", "btcv/val"])
def test_a_missing_part_is_named(part: str, tmp_path: Path) -> None:
    root = write_tree(tmp_path)
    (root / part).rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=rf"{part.split('/')[-1]}.*expected a part of the training data"):
        read_stacks(root, held_out=part == "btcv/val")


def test_labels_without_the_flags_are_refused(tmp_path: Path) -> None:
    path = write_tree(tmp_path) / "more" / "openkbp" / "test_pats.npz"
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files if name != "annotated"}
    np.savez(path, **arrays)
    with pytest.raises(InputError, match="found no annotated"):
        read_stacks(tmp_path, held_out=False)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = write_tree(tmp_path) / "lidc" / "0001.npz"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match=r"0001\.npz: expected an NPZ file"):
        read_stacks(tmp_path, held_out=False)


@pytest.mark.shared
def test_hearts_held_out_have_every_structure(shared_data: Path) -> None:
    from fewct.data.regions.hearts import read_hearts

    (hearts,) = read_hearts(shared_data / "more" / "chd68", held_out=True)
    assert set(hearts.patient.tolist()) == {"1003", "1006"}
    assert set(np.unique(hearts.labels)) == set(range(8))


def test_a_lung_behind_a_thin_chest_wall_is_not_outside(tmp_path: Path) -> None:
    y, x = np.mgrid[:64, :64]
    radius = np.hypot(y - 32, x - 32)
    hu = np.where(radius < 30, 40, -1000)
    hu[(radius < 28.5) & (x < 32) & (np.abs(y - 32) < 14)] = -850
    image = np.repeat(hu[None].astype(np.int16), 2, axis=0)
    spacing = np.array([2.0, 2.0, 3.0])
    for folder in SERIES:
        (tmp_path / folder).mkdir()
        z = np.array([3.0, 0.0])
        np.savez(tmp_path / folder / "0117.npz", image=image, z=z, spacing_mm=spacing)
    series = read_series(tmp_path, held_out=False)[0]
    assert series.body[0, 32, 6]
    assert series.labels[0, 32, 16] == SLICE_LABELS
    assert series.border_weight[0, 32, 16] == 255
    assert not series.body[0, 1, 1]


def test_heads_cut_by_their_publishers_are_left_out(tmp_path: Path) -> None:
    path = write_tree(tmp_path) / "more" / "openkbp_dense" / "train.npz"
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    arrays["image"][0][arrays["tissue"][0] > 0] = 40
    np.savez(path, **arrays)
    (dense,) = read_openkbp_dense(path.parent, held_out=False)
    assert len(dense.patient) == 1
