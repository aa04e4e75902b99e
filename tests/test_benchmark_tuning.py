"""The baseline of thresholds, and the search that tunes methods for benchmarks/methods_table.py."""

import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from fewct.data.cases import LabelledCase
from fewct.errors import UsageError
from fewct.imaging.cleanup import Cleanup
from fewct.methods import Mosaic
from fewct.types import CTSlice

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def tuning() -> ModuleType:
    sys.path.insert(0, str(BENCHMARKS))
    try:
        import tuning
    finally:
        sys.path.remove(str(BENCHMARKS))
    return tuning


def cases(patients: list[str]) -> list[LabelledCase]:
    """Return equal slices, a dark and a bright square on background, of some patients."""
    pixels = np.full((40, 40), -200, np.float32)
    pixels[4:16, 4:16] = 0
    pixels[20:36, 20:36] = 200
    truth = (pixels >= 0).astype(np.int32) + (pixels > 0)
    image = CTSlice(pixels, "hu")
    return [LabelledCase(f"{k}", patient, image, truth) for k, patient in enumerate(patients)]


def test_thresholds_part_grey_values_and_components_are_numbered(tuning: ModuleType) -> None:
    pixels = np.array([[-200, 40, -200, 40, 300]], np.float32).repeat(4, 0).repeat(4, 1)  # 0, 127 and 255
    method = tuning.Threshold(thresholds=(50, 150), sigma=0, opening_radius_px=0)
    labels = method.load().segment(CTSlice(pixels, "hu")).labels
    assert labels[0, ::4].tolist() == [0, 1, 0, 2, 3]


def test_opening_cuts_a_bridge(tuning: ModuleType) -> None:
    pixels = np.full((20, 40), -200, np.float32)
    pixels[4:16, 4:16] = pixels[4:16, 24:36] = 200
    pixels[9:11, 16:24] = 200  # 2 pixels wide
    for radius, count in ((0, 1), (2, 2)):
        method = tuning.Threshold(thresholds=(100,), sigma=0, opening_radius_px=radius)
        assert method.segment(CTSlice(pixels, "hu")).labels.max() == count


def test_otsu_finds_the_squares_and_nothing_where_all_is_equal(tuning: ModuleType) -> None:
    case = cases(["a"])[0]
    found = tuning.Threshold(otsu_classes=3, sigma=0, opening_radius_px=0).segment(case.image).labels
    assert np.array_equal(found, case.truth)
    assert not tuning.Threshold().segment(CTSlice(np.full((9, 9), 7, np.float32), "grey")).labels.any()


@pytest.mark.parametrize("setting", [{"sigma": -1.0}, {"opening_radius_px": -1}, {"otsu_classes": 1}])
def test_threshold_out_of_range(tuning: ModuleType, setting: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(setting))):
        tuning.Threshold(**setting)


def test_settings_are_drawn_alike_and_the_first_are_the_defaults(tuning: ModuleType) -> None:
    drawn = tuning.draw_settings("mosaic", 50, seed=0)
    assert len(drawn) == 50
    assert tuning.changed("mosaic", drawn[0]) == Mosaic()
    assert drawn == tuning.draw_settings("mosaic", 50, seed=0)
    assert drawn[1] != tuning.draw_settings("mosaic", 2, seed=1)[1]
    assert tuning.draw_settings("watershed", 3, seed=0)[3:] == [{"flat_radius_px": 2}]
    for name in tuning.SEARCHED:
        for settings in tuning.draw_settings(name, 50, seed=0):
            tuning.changed(name, settings)  # all are in range


def test_settings_of_areas_go_to_the_cleanup(tuning: ModuleType) -> None:
    method = tuning.changed("felzenszwalb", {"scale": 40.0, "max_area": "20%", "body_only": True})
    assert method.scale == 40.0
    assert method.cleanup == Cleanup(max_area="20%", body_only=True)


def test_folds_hold_whole_patients(tuning: ModuleType) -> None:
    folds = tuning.folds_of(cases(["a", "a", "b", "c", "b"]))
    assert folds == [("patients a c", [0, 1, 3]), ("patients b", [2, 4])]


def test_the_slices_of_one_patient_are_cut_in_the_middle(tuning: ModuleType) -> None:
    assert tuning.folds_of(cases(["a"] * 5)) == [("first half", [0, 1]), ("second half", [2, 3, 4])]


def test_best_try_of_some_slices(tuning: ModuleType) -> None:
    # foreground ARI, mean best IoU, foreground IoU of 3 tries on 2 slices
    values = np.array([[[0.5, 0.5, 0.0]] * 2, [[0.9, 0.4, 0.0], [0.1, 0.1, 0.9]], [[0.5, 0.5, 0.9]] * 2])
    assert tuning.best_try(values, [0]) == 1
    assert tuning.best_try(values, [1]) == 0  # the third is no better but for the foreground
    assert tuning.best_try(values, [0, 1]) == 0
    values[:, 1] = np.nan  # undefined
    assert tuning.best_try(values, [0, 1]) == 1


def test_search_goes_on_where_it_stopped(tuning: ModuleType, tmp_path: Path) -> None:
    log = tmp_path / "tries.jsonl"
    data = {"made": cases(["a", "b"])}
    tuning.Tuning(data, log, tries=2).run(["threshold"])
    first = log.read_text()
    search = tuning.Tuning(data, log, tries=3)
    search.run(["threshold"])
    assert log.read_text().startswith(first)
    assert len(log.read_text().splitlines()) == 3
    assert search.values("made", "threshold").shape == (3, 2, 3)


def test_maps_of_mosaic_are_found_once_and_change_nothing(tuning: ModuleType, tmp_path: Path) -> None:
    (case,) = cases(["a"])
    search = tuning.Tuning({"made": [case]}, tmp_path / "tries.jsonl", tries=2)
    search.run([tuning.GRADIENTS])
    assert list(search.maps[tuning.GRADIENTS]) == [case.image]
    from fewct.metrics import score

    for values, settings in zip(
        search.values("made", tuning.GRADIENTS), search.settings(tuning.GRADIENTS), strict=True
    ):
        labels = tuning.changed(tuning.GRADIENTS, settings).load().segment(case.image).labels
        assert values[0, 1] == score(case.truth, labels).mean_best_iou
