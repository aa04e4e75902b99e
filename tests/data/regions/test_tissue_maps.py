import numpy as np
from numpy.typing import NDArray

from fewct.data.examples import STRUCTURE, UNKNOWN
from fewct.data.regions.tissue_maps import (
    BONE,
    BRAIN_LABEL,
    CANAL,
    CANAL_LABEL,
    FAT,
    GAS,
    LUNG,
    LUNG_LABEL,
    LUNG_TWO,
    LUNG_TWO_LABEL,
    SKULL,
    SOFT,
    TissueSlice,
    from_tissue,
)
from fewct.data.stacks import SLICE_LABELS

HU = {0: -1000, LUNG: -850, LUNG_TWO: -850, BONE: 700, FAT: -100, SOFT: 40, GAS: -980}
Y, X = np.mgrid[:64, :64]
RADIUS = np.hypot(Y - 32, X - 32)


def item(
    tissue: NDArray[np.uint8],
    truth: NDArray[np.uint8] | None = None,
    airways: bool = True,
    replaced: frozenset[int] = frozenset(),
) -> TissueSlice:
    """A slice (64, 64) of 2 mm pixels with the typical intensities of its tissues."""
    hu = np.vectorize(HU.get)(tissue).astype(np.float32)
    no_truth = np.zeros_like(tissue)
    return TissueSlice(hu, tissue, no_truth if truth is None else truth, 2.0, airways, replaced)


def body(radius: float = 28) -> NDArray[np.uint8]:
    """A round body of soft tissue."""
    return np.where(radius > RADIUS, SOFT, 0).astype(np.uint8)


def test_the_inside_of_a_closed_skull_is_brain_unless_truth_has_it() -> None:
    tissue = body()
    tissue[(RADIUS < 26) & (RADIUS >= 22)] = BONE
    known = from_tissue(item(tissue))
    assert (known.labels[RADIUS < 21] == BRAIN_LABEL).all()
    assert known.labels[32, 56] == SLICE_LABELS
    replaced = from_tissue(item(tissue, replaced=frozenset({SKULL})))
    assert (replaced.labels[RADIUS < 21] == 0).all()
    assert (replaced.structure[RADIUS < 21] == UNKNOWN).all()
    assert replaced.border_weight[32, 54] == 0  # inside of the skull, where the truth is elsewhere


def test_the_most_central_watery_hole_in_bone_is_the_spinal_canal() -> None:
    tissue = body()
    for column in (32, 46):
        tissue[np.hypot(Y - 40, X - column) < 6] = BONE
        tissue[np.hypot(Y - 40, X - column) < 4] = SOFT
    known = from_tissue(item(tissue))
    assert known.labels[40, 32] == CANAL_LABEL
    assert known.border_weight[40, 32] == 255
    assert known.labels[40, 46] == 0
    assert known.border_weight[40, 46] == 0
    assert (from_tissue(item(tissue, replaced=frozenset({CANAL}))).labels != CANAL_LABEL).all()


def test_bright_holes_in_bone_are_marrow() -> None:
    tissue = body()
    tissue[np.hypot(Y - 40, X - 32) < 6] = BONE
    tissue[np.hypot(Y - 40, X - 32) < 4] = SOFT
    slice_ = item(tissue)
    slice_.hu[np.hypot(Y - 40, X - 32) < 4] = 150
    assert from_tissue(slice_).labels[40, 32] == SLICE_LABELS


def test_the_line_where_lungs_touch_is_unsure() -> None:
    tissue = body()
    tissue[20:40, 12:30] = LUNG
    tissue[20:40, 30:50] = LUNG_TWO
    known = from_tissue(item(tissue))
    assert known.labels[30, 29] == LUNG_LABEL
    assert known.labels[30, 30] == LUNG_TWO_LABEL
    assert (known.border_weight[25:35, 28:32] == 0).all()
    assert known.border_weight[30, 20] == 255
    assert known.border_weight[30, 12] == 255


def test_gas_has_borders_in_airways_and_none_in_the_bowel() -> None:
    tissue = body()
    tissue[26:32, 28:34] = GAS
    airway, bowel = (from_tissue(item(tissue, airways=airways)) for airways in (True, False))
    assert airway.labels[29, 31] == SLICE_LABELS
    assert airway.border_weight[29, 31] == 255
    assert bowel.labels[29, 31] == 0
    assert bowel.border_weight[29, 31] == 0
    assert bowel.structure[29, 31] == airway.structure[29, 31] == STRUCTURE


def test_rims_of_bone_around_true_bone_get_no_label() -> None:
    tissue = body()
    tissue[20:30, 28:36] = BONE
    truth = np.zeros_like(tissue)
    truth[21:29, 29:35] = 7
    known = from_tissue(item(tissue, truth))
    assert set(np.unique(known.labels)) == {0, 7}
    assert known.structure[20, 30] == STRUCTURE
    assert known.border_weight[20, 30] == 0
    assert known.border_weight[25, 32] == 255


def test_cavities_near_the_bones_of_a_face_are_unknown() -> None:
    tissue = body()
    tissue[10:30, 20:22] = BONE
    tissue[10:30, 42:44] = BONE
    tissue[0:30, 24:40] = 0
    known = from_tissue(item(tissue))
    assert known.structure[20, 25] == UNKNOWN
    assert known.border_weight[20, 25] == 0
