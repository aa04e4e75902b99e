"""The founding paper's scores: as meant, as its code had them, and why neither helps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import (
    adjusted_rand_score,
    f1_score,
    jaccard_score,
    precision_score,
    rand_score,
    recall_score,
)

from fewct.benchmark.paper_scores import paper_scores, score_mask, union_as_coded, union_as_meant
from fewct.errors import InputError
from fewct.imaging.masks import proposals_from_labels, proposals_from_masks, rle_decode, rle_encode
from fewct.metrics import mean_best_iou
from fewct.phantom import phantom_slice

TOUCHING = np.array(
    [
        [0, 0, 0, 0, 0],
        [0, 1, 1, 3, 0],
        [0, 1, 1, 3, 0],
        [0, 2, 2, 0, 0],
        [0, 2, 0, 0, 0],
    ]
)


def sam_rle(labels: np.ndarray) -> dict[str, list[int]]:
    """segment-anything's `mask_to_rle_pytorch`, in NumPy: it never asks for a binary mask."""
    rows, columns = labels.shape
    flat = labels.T.reshape(-1)
    change_indices = np.flatnonzero(flat[1:] ^ flat[:-1])
    stops = np.concatenate([[0], change_indices + 1, [rows * columns]])
    counts = [] if flat[0] == 0 else [0]
    return {"size": [rows, columns], "counts": counts + np.diff(stops).tolist()}


def test_union_as_coded_by_hand() -> None:
    # Down the second column: background, 1 (on), 2 (off). The background on top of the third column is
    # "on" then, its 1 "off", its 2 "on", its background "off", and the fourth column is right again.
    coded = [
        [0, 0, 1, 0, 0],
        [0, 1, 0, 1, 0],
        [0, 1, 0, 1, 0],
        [0, 0, 1, 0, 0],
        [0, 0, 0, 0, 0],
    ]
    np.testing.assert_array_equal(union_as_coded(TOUCHING), np.array(coded, dtype=bool))


@settings(max_examples=60)
@given(labels=hnp.arrays(np.int64, (5, 6), elements=st.integers(0, 3)))
def test_union_as_coded_is_what_sams_encoder_gives(labels: np.ndarray) -> None:
    np.testing.assert_array_equal(union_as_coded(labels), rle_decode(sam_rle(labels)))


@settings(max_examples=30)
@given(mask=hnp.arrays(np.bool_, (5, 6)))
def test_on_binary_masks_both_unions_agree(mask: np.ndarray) -> None:
    np.testing.assert_array_equal(union_as_coded(7 * mask.astype(np.int32)), mask)
    np.testing.assert_array_equal(union_as_meant(7 * mask.astype(np.int32)), mask)


def test_the_inversion_turns_much_of_the_background_into_structure() -> None:
    truth = phantom_slice(0, size=128)[1].labels
    meant, coded = union_as_meant(truth), union_as_coded(truth)
    assert np.mean(meant != coded) > 0.1
    assert (coded & ~meant).any()
    assert (meant & ~coded).any()
    with pytest.raises(InputError, match=r"expected a binary mask: one value besides 0, found a label map"):
        rle_encode(truth)


def test_metrics_agree_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    union, mask = rng.random((2, 12, 9)) > 0.6
    scores, flat = score_mask(union, mask), (union.ravel(), mask.ravel())
    assert scores.iou == pytest.approx(jaccard_score(*flat))
    assert scores.dice == pytest.approx(f1_score(*flat))
    assert scores.precision == pytest.approx(precision_score(*flat))
    assert scores.recall == pytest.approx(recall_score(*flat))
    assert scores.ari == pytest.approx(adjusted_rand_score(*flat))
    assert scores.rand_index == pytest.approx(rand_score(*flat))


def test_a_mask_against_the_union_punishes_a_perfect_answer_and_rewards_one_blob() -> None:
    """The defect: every structure found exactly scores 1 / n; not telling them apart at all scores 1."""
    truth = phantom_slice(1, size=96)[1].labels
    n = np.unique(truth[truth > 0]).size
    perfect = paper_scores([truth], [proposals_from_labels(truth)])
    blob = paper_scores([truth], [proposals_from_labels((truth > 0).astype(int))])
    assert perfect.meant.iou == pytest.approx(1 / n)
    assert perfect.meant.recall == pytest.approx(1 / n)
    assert perfect.meant.precision == 1
    assert blob.meant.iou == 1
    # Sound metrics order the two the other way round.
    assert mean_best_iou(truth, truth) == 1
    assert mean_best_iou(truth, (truth > 0).astype(int)) < 0.5


def test_scores_as_coded_differ_from_those_as_meant() -> None:
    truth = phantom_slice(1, size=96)[1].labels
    scores = paper_scores([truth], [proposals_from_labels(truth)])
    assert scores.coded.precision < 0.9 < scores.meant.precision
    assert scores.coded.iou != pytest.approx(scores.meant.iou, rel=0.05)


def test_means_are_over_pairs_not_over_images() -> None:
    truth = np.array([[1, 1, 0, 0]])
    whole = proposals_from_labels(truth)
    halves = proposals_from_masks(np.array([[[1, 0, 0, 0]], [[0, 1, 0, 0]], [[0, 0, 1, 0]]], bool), [1, 1, 1])
    scores = paper_scores([truth, truth], [whole, halves])
    assert (scores.n_pairs, scores.n_images) == (4, 2)
    assert scores.meant.iou == pytest.approx((1 + 0.5 + 0.5 + 0) / 4)


def test_no_masks_have_no_score() -> None:
    scores = paper_scores([TOUCHING], [proposals_from_labels(np.zeros_like(TOUCHING))])
    assert scores.n_pairs == 0
    assert np.isnan(scores.meant.iou)


def test_bad_input() -> None:
    with pytest.raises(InputError, match=r"proposals: expected masks for each of 2 images, found masks"):
        paper_scores([TOUCHING, TOUCHING], [proposals_from_labels(TOUCHING)])
    with pytest.raises(InputError, match=r"labels: expected a label map \(rows, columns\), found shape"):
        union_as_coded(TOUCHING[None])
    with pytest.raises(InputError, match="expected arrays of the same shape"):
        paper_scores([TOUCHING], [proposals_from_labels(TOUCHING[:3])])
