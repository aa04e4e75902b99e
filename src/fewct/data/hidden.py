"""Leaves organs out of training data, so that they can be measured as structures that were never seen."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from scipy import ndimage

from fewct.data.anatomy import AnatomyMap
from fewct.data.examples import UNKNOWN
from fewct.data.pack import TrainingData
from fewct.data.packed import ORGANS
from fewct.data.stacks import SliceStack

LABELS_OF = {
    "btcv": ORGANS,
    "btcv_dense": ORGANS,
    "btcv_dense_low": ORGANS,
    "openkbp": {"oesophagus": 5},
    "openkbp_dense": {"oesophagus": 23},
    "chd68": {"aorta": 6},
    "aorta_kaggle": {"aorta": 1},
}
"""Labels of organs in the stacks of each source that has any."""
NAMES_OF = {
    "spleen": ("spleen",),
    "right kidney": ("kidney_right", "right kidney", "right renal pelvis"),
    "left kidney": ("kidney_left", "left kidney", "left renal pelvis"),
    "gallbladder": ("gallbladder",),
    "oesophagus": ("esophagus",),
    "liver": ("liver",),
    "stomach": ("stomach", "stomach and duodenum"),
    "aorta": ("aorta", "arch of aorta", "aorta (with arch branches)"),
    "inferior vena cava": ("inferior_vena_cava", "inferior vena cava"),
    "portal and splenic vein": (
        "portal_vein_and_splenic_vein",
        "portal vein and superior mesenteric vein",
        "splenic vein",
    ),
    "pancreas": ("pancreas",),
    "right adrenal": ("adrenal_gland_right", "right adrenal gland"),
    "left adrenal": ("adrenal_gland_left", "left adrenal gland"),
}
"""Names of `ORGANS` in the label maps of anatomy."""
MARGIN_PX = 3  # around a hidden organ that nothing is known in


def anatomy_names(organs: Iterable[str]) -> list[str]:
    """Return the names that label maps of anatomy have for some of `ORGANS`."""
    return [name for organ in organs for name in NAMES_OF[organ]]


def without_organs(data: TrainingData, organs: Sequence[str]) -> TrainingData:
    """Return training data in which some organs are unlabelled on patients and left out of anatomies.

    On and around them neither structures nor borders are known.

    Args:
        data: Training data.
        organs: Names of `ORGANS`.
    """
    if not organs:
        return data
    names = anatomy_names(organs)
    return TrainingData(
        [_hidden(stack, organs) for stack in data.training],
        [_hidden(stack, organs) for stack in data.held_out],
        [_left_out(anatomy, names) for anatomy in data.anatomies],
    )


def _hidden(stack: SliceStack, organs: Sequence[str]) -> SliceStack:
    """Return a stack without the labels of some organs."""
    labels_of = LABELS_OF.get(stack.source, {})
    hidden = np.isin(stack.labels, [labels_of[organ] for organ in organs if organ in labels_of])
    if not hidden.any():
        return stack
    around = ndimage.binary_dilation(hidden, np.ones((1, 3, 3)), iterations=MARGIN_PX)
    return replace(
        stack,
        labels=np.where(hidden, np.uint8(0), stack.labels),
        structure=np.where(around, np.uint8(UNKNOWN), stack.structure),
        border_weight=np.where(around, np.uint8(0), stack.border_weight),
    )


def _left_out(anatomy: AnatomyMap, names: Sequence[str]) -> AnatomyMap:
    """Return a label map without some structures."""
    hidden = [key for key, name in anatomy.names.items() if name in names]
    if not hidden:
        return anatomy
    labels = np.where(np.isin(anatomy.labels, hidden), np.uint8(0), anatomy.labels)
    return replace(
        anatomy,
        labels=labels,
        names={key: name for key, name in anatomy.names.items() if key not in hidden},
    )
