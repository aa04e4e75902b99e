import json
import math

import numpy as np
import pytest

from fewct import metrics
from fewct.errors import InputError, UsageError
from fewct.evaluation import evaluate
from fewct.result import Segmentation
from fewct.types import Geometry, LabelMap, Manifest

SPACING = (5.0, 0.8, 0.7)
GEOMETRY = Geometry.from_spacing(SPACING)


def same(first, second):
    return json.dumps(first.as_dict()) == json.dumps(second.as_dict())


@pytest.fixture
def scan():
    """Truth and a prediction, int32 (4, 40, 50): three boxes, one of them missed, one shifted."""
    truth = np.zeros((4, 40, 50), dtype=np.int32)
    truth[0:3, 4:16, 4:20] = 1
    truth[1:4, 20:34, 8:24] = 5
    truth[2:4, 6:14, 30:44] = 9
    prediction = np.zeros_like(truth)
    prediction[0:3, 4:16, 4:20] = 30
    prediction[1:4, 20:34, 11:27] = 10
    prediction[0:2, 24:34, 34:44] = 20
    return truth, prediction


def test_slice_has_all_metrics_of_its_functions(scan):
    truth, prediction = scan[0][2], scan[1][2]
    evaluation = evaluate(
        truth=LabelMap(truth, GEOMETRY), prediction=LabelMap(prediction, GEOMETRY), tolerance_mm=1.0
    )
    assert evaluation.overall == metrics.score(truth, prediction)
    assert evaluation.slices == (evaluation.overall,)
    assert evaluation.mean_over_slices["ari"] == evaluation.overall.ari
    first, second, third = evaluation.structures
    assert (first.true_id, first.pred_id, first.size_px) == (1, 30, 12 * 16)
    assert (first.best_iou, first.iou, first.dice, first.surface_dice, first.hausdorff_95_mm) == (
        1,
        1,
        1,
        1,
        0,
    )
    assert (second.true_id, second.pred_id) == (5, 10)
    distances = metrics.surface_distances(truth == 5, prediction == 10, SPACING[1:])
    assert second.hausdorff_95_mm == distances.hausdorff_95_mm() == pytest.approx(2.1)
    assert second.surface_dice == distances.surface_dice(1.0)
    assert second.iou == pytest.approx(13 / 19)
    assert second.precision == second.recall == pytest.approx(13 / 16)
    assert (third.true_id, third.pred_id, third.iou, third.best_iou, third.surface_dice) == (9, 0, 0, 0, 0)
    assert math.isnan(third.hausdorff_95_mm)
    assert evaluation.surface_dice == pytest.approx((1 + second.surface_dice + 0) / 3)
    assert evaluation.hausdorff_95_mm == pytest.approx((0 + second.hausdorff_95_mm) / 2)


def test_scan_is_scored_in_three_dimensions_and_slice_by_slice(scan):
    truth, prediction = scan
    evaluation = evaluate(
        truth=LabelMap(truth, GEOMETRY), prediction=LabelMap(prediction, GEOMETRY), tolerance_mm=1.0
    )
    assert evaluation.overall == metrics.score(truth, prediction)
    slices = [metrics.score(*pair) for pair in zip(truth, prediction, strict=True)]
    assert evaluation.slices == tuple(slices)
    for name in ("ari", "mean_best_iou"):
        expected = np.mean([getattr(scores, name) for scores in slices])
        assert evaluation.mean_over_slices[name] == pytest.approx(expected)
        assert evaluation.n_slices_defined[name] == 4
    shifted = evaluation.structures[1]
    distances = metrics.surface_distances(truth == 5, prediction == 10, SPACING)
    assert shifted.surface_dice == distances.surface_dice(1.0)
    assert shifted.hausdorff_95_mm == distances.hausdorff_95_mm()


def test_the_foreground_index_is_of_slices_with_two_structures(scan):
    evaluation = evaluate(truth=scan[0], prediction=scan[1])
    values = [scores.ari_foreground for scores in evaluation.slices]
    assert np.isnan(values).tolist() == [True, False, False, False]  # one structure on the first
    assert evaluation.mean_over_slices["ari_foreground"] == pytest.approx(np.mean(values[1:]))
    assert evaluation.as_dict()["n_slices_defined"]["ari_foreground"] == 3


def test_slices_without_a_defined_metric_are_left_out_of_its_mean(scan):
    truth, prediction = scan
    truth[3] = 0
    evaluation = evaluate(truth=truth, prediction=prediction)
    assert math.isnan(evaluation.slices[3].mean_best_iou)
    expected = np.mean([scores.mean_best_iou for scores in evaluation.slices[:3]])
    assert evaluation.mean_over_slices["mean_best_iou"] == pytest.approx(expected)


def test_partial_truth_has_two_bounds(scan):
    evaluation = evaluate(truth=scan[0], prediction=scan[1], partial=True)
    for scores in (evaluation.overall, *evaluation.slices):
        assert scores.panoptic_upper.fp <= scores.panoptic.fp
    assert evaluation.overall.panoptic.fp == 1  # structure 20 lies where nothing was annotated
    assert evaluation.overall.panoptic_upper.fp == 0
    assert evaluation.mean_over_slices["pq_upper"] > evaluation.mean_over_slices["pq"]
    assert evaluate(truth=scan[0], prediction=scan[1]).overall.panoptic_upper is None


def test_prediction_in_other_axes_is_placed_on_truths_grid(scan):
    truth, prediction = scan
    expected = evaluate(truth=LabelMap(truth, GEOMETRY), prediction=LabelMap(prediction, GEOMETRY))
    flipped_affine = GEOMETRY.affine.copy()
    flipped_affine[:3, 3] += 49 * flipped_affine[:3, 2]
    flipped_affine[:3, 2] *= -1
    flipped = LabelMap(prediction[:, :, ::-1], Geometry(flipped_affine))
    turned = LabelMap(prediction.transpose(2, 1, 0), Geometry(GEOMETRY.affine[:, [2, 1, 0, 3]]))
    for other in (flipped, turned):
        assert same(evaluate(truth=LabelMap(truth, GEOMETRY), prediction=other), expected)


def test_prediction_on_a_finer_grid_is_placed_on_truths_grid(scan):
    truth, prediction = scan
    fine_affine = GEOMETRY.affine.copy()
    fine_affine[:3, 1:3] /= 3
    fine_affine[:3, 3] -= fine_affine[:3, 1] + fine_affine[:3, 2]
    fine = prediction.repeat(3, axis=1).repeat(3, axis=2)
    placed = evaluate(truth=LabelMap(truth, GEOMETRY), prediction=LabelMap(fine, Geometry(fine_affine)))
    assert same(placed, evaluate(truth=LabelMap(truth, GEOMETRY), prediction=LabelMap(prediction, GEOMETRY)))


def test_a_rounded_affine_is_the_same_grid(scan):
    truth, prediction = scan
    rounded = Geometry(GEOMETRY.affine.astype(np.float32).astype(np.float64))
    assert same(
        evaluate(truth=LabelMap(truth, GEOMETRY), prediction=LabelMap(prediction, rounded)),
        evaluate(truth=LabelMap(truth, GEOMETRY), prediction=LabelMap(prediction, GEOMETRY)),
    )


def test_without_geometry_equal_shapes_are_compared_as_they_are(scan):
    truth, prediction = scan
    bare = evaluate(truth=truth, prediction=prediction)
    assert bare.overall == metrics.score(truth, prediction)
    assert math.isnan(bare.surface_dice)
    assert math.isnan(bare.hausdorff_95_mm)
    assert all(math.isnan(row.surface_dice) for row in bare.structures)
    known = evaluate(truth=LabelMap(truth, GEOMETRY), prediction=LabelMap(prediction, GEOMETRY))
    assert same(evaluate(truth=LabelMap(truth, GEOMETRY), prediction=prediction), known)
    assert same(evaluate(truth=truth, prediction=LabelMap(prediction, GEOMETRY)), known)


def test_a_segmentation_is_a_prediction(scan):
    truth, prediction = scan
    manifest = Manifest("1.0", "watershed", {}, None, "0" * 64, "hu")
    segmentation = Segmentation(prediction, GEOMETRY, structures=(), manifest=manifest)
    assert same(
        evaluate(truth=truth, prediction=segmentation),
        evaluate(truth=truth, prediction=LabelMap(prediction, GEOMETRY)),
    )


def test_a_segmentation_as_truth_is_swapped(scan):
    truth, prediction = scan
    manifest = Manifest("1.0", "watershed", {}, None, "0" * 64, "hu")
    segmentation = Segmentation(prediction, GEOMETRY, structures=(), manifest=manifest)
    with pytest.raises(UsageError, match=r"truth and prediction: .*swapped\. Call evaluate\(truth="):
        evaluate(truth=segmentation, prediction=LabelMap(truth, GEOMETRY))
    assert evaluate(truth=segmentation, prediction=segmentation).overall.ari == 1


def test_as_dict_is_ready_for_json(scan):
    metrics = json.loads(
        json.dumps(evaluate(truth=scan[0], prediction=LabelMap(scan[1], GEOMETRY)).as_dict())
    )
    assert set(metrics) == {"overall", "mean_over_slices", "n_slices_defined", "structures"}
    assert metrics["overall"]["tolerance_mm"] == 2.0
    assert metrics["overall"]["surface_dice"] > 0
    assert [row["pred_id"] for row in metrics["structures"]] == [30, 10, 0]


def test_a_truth_without_structures_has_no_rows():
    evaluation = evaluate(
        truth=LabelMap(np.zeros((4, 4), np.int32), GEOMETRY), prediction=np.ones((4, 4), int)
    )
    assert evaluation.structures == ()
    assert math.isnan(evaluation.surface_dice)


def test_what_cannot_be_compared_is_refused(scan):
    truth, prediction = scan
    with pytest.raises(InputError, match="truth and prediction: expected arrays of the same shape"):
        evaluate(truth=truth, prediction=LabelMap(prediction[:2], GEOMETRY))
    with pytest.raises(InputError, match="prediction: expected integer labels"):
        evaluate(truth=truth, prediction=prediction.astype(float))
    with pytest.raises(InputError, match="truth: expected labels of 0"):
        evaluate(truth=truth - 1, prediction=prediction)
    far = Geometry(GEOMETRY.affine + np.array([[0, 0, 0, 1e4]] * 3 + [[0, 0, 0, 0]]))
    with pytest.raises(InputError, match="label map"):
        evaluate(truth=LabelMap(truth, GEOMETRY), prediction=LabelMap(prediction, far))
    with pytest.raises(UsageError, match="tolerance_mm"):
        evaluate(truth=truth, prediction=prediction, tolerance_mm=-1.0)
