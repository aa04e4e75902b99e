"""Defects of the founding paper's code in masks and areas: each is run here, and shown to differ from ours.

Those in label tables stand in tests/challenge/test_defects.py, those in scores in tests/test_paper.py.
"""

import numpy as np
from scipy import ndimage

from fewct.imaging.cleanup import Cleanup, clean_proposals
from fewct.imaging.mask_merging import merge_masks
from fewct.imaging.masks import proposals_from_labels, proposals_from_masks
from fewct.types import CTSlice

SLICE = CTSlice(np.zeros((12, 12)), "hu")


def test_background_is_no_structure() -> None:
    labels = np.zeros((12, 12), dtype=np.int32)
    labels[1:4, 1:4], labels[6:9, 6:9] = 1, 2
    defective = [labels == value for value in np.unique(labels)]
    ours = proposals_from_labels(labels)
    assert len(defective) == 3
    assert (defective[0] & (labels == 0)).any(), "the paper's first mask is the background"
    assert len(ours) == 2
    assert not any((ours.mask(index) & (labels == 0)).any() for index in range(len(ours)))


def without_small_regions(mask: np.ndarray, area: int) -> np.ndarray:
    """What the paper called with its maximum: islands below an area go, all but the largest if all are."""
    parts, count = ndimage.label(mask)
    areas = np.bincount(parts.ravel(), minlength=count + 1)
    kept = [part for part in range(1, count + 1) if areas[part] >= area]
    return np.isin(parts, kept or [1 + int(areas[1:].argmax())])


def test_a_maximum_area_drops_the_masks_above_it_before_they_hide_others() -> None:
    masks = np.zeros((2, 12, 12), dtype=np.bool_)
    masks[0, 1:11, 1:11] = True
    masks[1, 4:7, 4:7] = True
    scores = np.array([0.9, 0.5], dtype=np.float32)
    small_routine = np.stack([without_small_regions(mask, 20) for mask in masks])
    np.testing.assert_array_equal(small_routine, masks)  # the large mask stays, so the maximum did nothing
    hidden, _ = merge_masks(proposals_from_masks(masks, scores), "score")
    assert np.unique(hidden).tolist() == [0, 1]
    assert np.count_nonzero(hidden) == 100, "a limit after merging would leave nothing"
    limited = clean_proposals(proposals_from_masks(masks, scores), SLICE, Cleanup(max_area="20px"))
    ours, _ = merge_masks(limited, "score")
    np.testing.assert_array_equal(ours > 0, masks[1])
