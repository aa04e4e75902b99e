"""The parameters of the mask generator."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, NamedTuple, TypeAlias, get_args

from fewct.errors import check_choice, check_range
from fewct.imaging.cleanup import Cleanup
from fewct.methods.sam.conventions import Normalization


class Thresholds(NamedTuple):
    """What a mask must be to stay.

    Args:
        predicted_iou: In [0, 1], which it must exceed.
        stability: In [0, 1], which it must reach.
    """

    predicted_iou: float
    stability: float


USUAL: Mapping[Normalization, Thresholds] = MappingProxyType(
    {"sam": Thresholds(0.88, 0.95), "medsam": Thresholds(0.88, 0.95), "ranks": Thresholds(0.25, 0.75)}
)
"""By normalization: the official defaults, and for prompt-small those chosen on patients of val."""

Mode: TypeAlias = Literal["fast", "exact"]
Suppression: TypeAlias = Literal["box", "mask"]


@dataclass(frozen=True)
class MaskGeneratorSettings:
    """How masks are generated; names and defaults are those of `SamAutomaticMaskGenerator`.

    `fast` prompts inside the body alone, first a coarse grid and then finer ones where no small mask was
    found yet, and judges masks at the size that the network gives them. `exact` gives the masks of the
    official code.

    Raises:
        UsageError: If a parameter is out of its range.
    """

    mode: Mode = "fast"
    """fast: prompts inside the body, coarse to fine; exact: the masks of the official code."""
    points_per_side: int = 32
    """Points along one side of the grid."""
    points_per_batch: int = 64
    """Points that are decoded before their masks are filtered; bounds the memory."""
    pred_iou_thresh: float | None = None
    """Predicted IoU, in [0, 1], that a mask must exceed; None: 0.88, and for prompt-small what suits it."""
    stability_score_thresh: float | None = None
    """Stability, in [0, 1], that a mask must reach: the IoU of its lower and upper threshold; None: 0.95, and
    for prompt-small what suits it."""
    stability_score_offset: float = 1.0
    """How far the threshold of the logits is moved down and up for that."""
    box_nms_thresh: float = 0.7
    """IoU, in [0, 1], above which the worse of two masks of one crop goes."""
    crop_n_layers: int = 0
    """Layers of crops to search besides the whole slice; layer i has 2^i x 2^i crops."""
    crop_nms_thresh: float = 0.7
    """IoU, in [0, 1], above which the mask of the larger of two crops goes."""
    crop_overlap_ratio: float = 512 / 1500
    """Overlap of the first layer's crops, as a share of the slice's shorter side."""
    crop_n_points_downscale_factor: int = 1
    """The points along one side of a crop are divided by this from layer to layer."""
    min_mask_region_area: int = 0
    """Holes and islands of a mask smaller than this, in px, are filled and dropped, after suppression."""
    max_mask_region_area: int = 0
    """Connected regions of a mask larger than this, in px, are dropped, before suppression; 0: no limit."""
    suppression: Suppression = "box"
    """Overlap is that of boxes, or that of masks, which finds near-duplicates of other shape."""
    containment_thresh: float = 1.0
    """With suppression by mask: share of a mask inside a better one above which it goes; 1: none goes."""
    cleanup: Cleanup = field(default_factory=Cleanup)
    """Limits to the area of whole masks, and the body; applied before suppression."""

    def __post_init__(self) -> None:
        shares = ("pred_iou_thresh", "stability_score_thresh", "box_nms_thresh", "crop_nms_thresh")
        for name in (*shares, "crop_overlap_ratio", "containment_thresh"):
            if getattr(self, name) is not None:
                check_range(name, getattr(self, name), 0, 1)
        check_choice("mode", self.mode, get_args(Mode))
        check_choice("suppression", self.suppression, get_args(Suppression))
        for name in ("points_per_batch", "crop_n_points_downscale_factor"):
            check_range(name, getattr(self, name), 1)
        limits = ("crop_n_layers", "min_mask_region_area", "max_mask_region_area")
        for name in (*limits, "stability_score_offset"):
            check_range(name, getattr(self, name))
        least = self.crop_n_points_downscale_factor**self.crop_n_layers
        check_range("points_per_side", self.points_per_side, least)

    def thresholds(self, normalization: Normalization) -> Thresholds:
        """Return the thresholds that are set, or those that suit the networks of a normalization."""
        usual = USUAL[normalization]
        return Thresholds(
            usual.predicted_iou if self.pred_iou_thresh is None else self.pred_iou_thresh,
            usual.stability if self.stability_score_thresh is None else self.stability_score_thresh,
        )
