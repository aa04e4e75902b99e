"""Metrics of a label map against truth.

Every metric takes two label maps, `metric(truth, prediction)`, truth first as in scikit-learn; or the
`contingency` table of the two, counted once for all metrics: `metric(table)`. `score` returns all of them.
Only `class_dice` takes a label to mean the same structure in both maps. Surface metrics need the pixels
themselves, and a spacing in mm. What is undefined is NaN; each docstring says when.

Example:
    >>> import numpy as np
    >>> from fewct import metrics
    >>> truth = np.array([[0, 0, 1, 1, 2, 2]])
    >>> prediction = np.array([[0, 0, 5, 5, 3, 0]])
    >>> table = metrics.contingency(truth, prediction)
    >>> metrics.mean_best_iou(table)
    0.75
    >>> metrics.adjusted_rand_index(table) == metrics.adjusted_rand_index(truth, prediction)
    True
"""

from fewct.metrics.contingency import Contingency, as_table, contingency, merge_tables
from fewct.metrics.matching import Matching, PanopticQuality, match_structures, panoptic_quality
from fewct.metrics.overlap import (
    Overlap,
    StructureOverlaps,
    best_iou,
    class_dice,
    foreground_overlap,
    mean_best_iou,
    mean_class_dice,
    mean_defined,
    structure_overlaps,
)
from fewct.metrics.rand import adjusted_rand_index, foreground_ari, rand_index
from fewct.metrics.scores import Scores, score
from fewct.metrics.surface import SurfaceDistances, surface_distances, surface_scores

__all__ = [
    "Contingency",
    "Matching",
    "Overlap",
    "PanopticQuality",
    "Scores",
    "StructureOverlaps",
    "SurfaceDistances",
    "adjusted_rand_index",
    "as_table",
    "best_iou",
    "class_dice",
    "contingency",
    "foreground_ari",
    "foreground_overlap",
    "match_structures",
    "mean_best_iou",
    "mean_class_dice",
    "mean_defined",
    "merge_tables",
    "panoptic_quality",
    "rand_index",
    "score",
    "structure_overlaps",
    "surface_distances",
    "surface_scores",
]
