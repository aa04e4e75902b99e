from pathlib import Path

import numpy as np
import pytest

from fewct.data.anatomy import AnatomyMap
from fewct.data.examples import STRUCTURE, UNKNOWN
from fewct.data.hidden import LABELS_OF, MARGIN_PX, NAMES_OF, without_organs
from fewct.data.pack import TrainingData
from fewct.data.packed import ORGANS
from fewct.data.stacks import SLICE_LABELS, SliceStack
from fewct.data.training_data import read_training_data


def stack(source: str) -> SliceStack:
    """Return a slice with an organ 8, an organ 2, and a segment of one slice around both."""
    labels = np.full((1, 30, 30), SLICE_LABELS, dtype=np.uint8)
    labels[0, 4:8, 4:8], labels[0, 20:25, 20:25] = 8, 2
    return SliceStack(
        source=source,
        unit="hu",
        label_offset_px=0.0,
        patient=np.array(["a"]),
        pixels=np.zeros(labels.shape, dtype=np.int16),
        labels=labels,
        structure=np.full(labels.shape, STRUCTURE, dtype=np.uint8),
        border_weight=np.full(labels.shape, 255, dtype=np.uint8),
        body=np.ones(labels.shape, dtype=np.bool_),
        pixel_mm=np.ones(1, dtype=np.float32),
        above=np.array([-1], dtype=np.int32),
        gap_mm=np.array([np.nan], dtype=np.float32),
    )


@pytest.mark.parametrize("source", ["btcv", "btcv_dense", "btcv_dense_low"])
def test_nothing_is_known_on_and_around_hidden_organs(source: str) -> None:
    before = stack(source)
    data = without_organs(TrainingData([before], [before], []), ["right kidney", "spleen"])
    for (after,) in (data.training, data.held_out):
        assert (after.labels[before.labels == 2] == 0).all()
        around = np.zeros((1, 30, 30), dtype=np.bool_)
        around[0, 20 - MARGIN_PX : 25 + MARGIN_PX, 20 - MARGIN_PX : 25 + MARGIN_PX] = True
        assert np.array_equal(after.structure == UNKNOWN, around)
        assert np.array_equal(after.border_weight == 0, around)
        assert np.array_equal(after.labels[before.labels != 2], before.labels[before.labels != 2])
    assert (before.labels == 2).any()


def test_numbers_are_those_of_the_source() -> None:
    """Where 2 is no kidney, nothing is hidden."""
    (after,) = without_organs(TrainingData([stack("openkbp")], [], []), ["right kidney"]).training
    assert np.array_equal(after.labels, stack("openkbp").labels)


def test_structures_of_anatomies_are_left_out_under_each_of_their_names() -> None:
    names = {1: "liver", 2: "stomach and duodenum", 3: "stomach", 4: "arch of aorta"}
    labels = np.array([[[0, 1, 2, 3, 4]]], dtype=np.uint8)
    maps = [AnatomyMap("abdomen_spl", labels, names, (1.5, 1.0, 1.0), True)]
    (after,) = without_organs(TrainingData([], [], maps), ["stomach"]).anatomies
    assert after.labels.tolist() == [[[0, 1, 0, 0, 4]]]
    assert after.names == {1: "liver", 4: "arch of aorta"}


def test_the_tables_name_organs() -> None:
    assert set(NAMES_OF) == set(ORGANS)
    assert all(set(labels) <= set(ORGANS) for labels in LABELS_OF.values())


@pytest.mark.shared
def test_the_atlas_has_these_names(shared_data: Path) -> None:
    import json

    names = set(NAMES_OF["aorta"])
    for path, expected in (
        ("more/anatomy_spl/headneck_spl.npz", {"arch of aorta"}),
        ("more/anatomy_spl/abdomen_spl.npz", {"aorta"}),
        ("more/chd68/1001.npz", {"aorta (with arch branches)"}),
        ("more/aorta_kaggle/10002.npz", {"aorta (with arch branches)"}),
    ):
        with np.load(shared_data / path) as file:
            found = {name.lower() for name in json.loads(str(file["names"])).values()}
        assert names & found == expected


def test_reading_hides_organs(tmp_path: Path) -> None:
    from training_tree import LABEL, write_tree

    tree = write_tree(tmp_path)
    data = read_training_data(tree, ["left kidney"])  # label 3, as is the structure of the tree
    of_btcv = [one for one in [*data.training, *data.held_out] if one.source == "btcv"]
    assert len(of_btcv) == 2
    assert all((one.labels != LABEL).all() for one in of_btcv)
    assert any((one.labels == LABEL).any() for one in data.training if one.source == "chd68")
