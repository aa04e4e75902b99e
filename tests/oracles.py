"""Slow, obvious reference code: what the metrics mean, pixel by pixel; and label maps to try it on."""

from itertools import combinations, permutations

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray


@st.composite
def pairs_of_label_maps(draw: st.DrawFn, max_label: int = 5) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Draw two label maps of one shape, 2D or 3D, up to 5 pixels along an axis."""
    shape = draw(npst.array_shapes(min_dims=2, max_dims=3, max_side=5))
    labels = npst.arrays(np.int32, shape, elements=st.integers(0, max_label))
    return draw(labels), draw(labels)


def rand_index_by_pairs(truth: NDArray[np.int32], prediction: NDArray[np.int32]) -> float:
    """Return the share of pixel pairs on which two label maps agree, looking at every pair."""
    pixels = list(zip(truth.ravel().tolist(), prediction.ravel().tolist(), strict=True))
    pairs = list(combinations(pixels, 2))
    return sum((a[0] == b[0]) == (a[1] == b[1]) for a, b in pairs) / len(pairs)


def iou_of_masks(truth: NDArray[np.bool_], prediction: NDArray[np.bool_]) -> float:
    """Return intersection over union of two masks."""
    return float((truth & prediction).sum() / (truth | prediction).sum())


def ious_of_structures(truth: NDArray[np.int32], prediction: NDArray[np.int32]) -> NDArray[np.float64]:
    """Return the IoU of each true structure with each predicted one, mask by mask."""
    true_ids, pred_ids = (sorted(set(labels.ravel().tolist()) - {0}) for labels in (truth, prediction))
    ious = [[iou_of_masks(truth == t, prediction == p) for p in pred_ids] for t in true_ids]
    return np.array(ious).reshape(len(true_ids), len(pred_ids))


def largest_total_iou(ious: NDArray[np.float64]) -> float:
    """Return the largest sum of IoU that a one-to-one matching can have, trying all of them."""
    if ious.shape[0] > ious.shape[1]:
        ious = ious.T
    rows, columns = ious.shape
    return max(
        sum(ious[row, column] for row, column in enumerate(order))
        for order in permutations(range(columns), rows)
    )


def panoptic_quality_by_pairs(ious: NDArray[np.float64]) -> tuple[float, int, int, int]:
    """Return PQ, TP, FP and FN from the IoU of each pair of structures; at least one structure."""
    matches = [float(iou) for iou in ious.ravel() if iou > 0.5]
    tp, fp, fn = len(matches), ious.shape[1] - len(matches), ious.shape[0] - len(matches)
    return sum(matches) / (tp + fp / 2 + fn / 2), tp, fp, fn


def surface_elements(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the corners (n, axes) of the pixel grid that have pixels inside and pixels outside around."""
    padded = np.pad(mask, 1)
    corners = []
    for corner in np.ndindex(*(n + 1 for n in mask.shape)):
        around = padded[tuple(slice(index, index + 2) for index in corner)]
        if around.any() and not around.all():
            corners.append(corner)
    return np.array(corners, dtype=np.int64).reshape(-1, mask.ndim)


def nearest_mm(
    start: NDArray[np.int64], goal: NDArray[np.int64], spacing_mm: tuple[float, ...]
) -> NDArray[np.float64]:
    """Return for each point the distance in mm to the nearest of the others, looking at every pair."""
    offsets = (start[:, None] - goal[None]) * np.array(spacing_mm)
    return np.sqrt((offsets**2).sum(axis=2)).min(axis=1)
