"""Settings of the mask generator that are refused."""

from typing import Any

import pytest

from fewct.errors import UsageError
from fewct.methods.sam.mask_generator.settings import MaskGeneratorSettings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pred_iou_thresh": 1.5}, r"pred_iou_thresh: expected a number in \[0, 1\], found 1\.5"),
        ({"box_nms_thresh": -0.1}, "box_nms_thresh"),
        ({"crop_overlap_ratio": 2.0}, "crop_overlap_ratio"),
        ({"mode": "quick"}, "mode: expected one of fast, exact, found .quick."),
        ({"suppression": "area"}, "suppression: expected one of box, mask, found .area."),
        ({"stability_score_offset": -1.0}, "stability_score_offset: expected 0 or more"),
        ({"points_per_batch": 0}, "points_per_batch: expected 1 or more"),
        ({"crop_n_layers": -1}, "crop_n_layers: expected 0 or more"),
        ({"max_mask_region_area": -5}, "max_mask_region_area: expected 0 or more"),
        ({"points_per_side": 0}, "points_per_side: expected 1 or more"),
        (
            {"points_per_side": 3, "crop_n_layers": 2, "crop_n_points_downscale_factor": 2},
            "points_per_side: expected 4 or more, found 3",
        ),
    ],
)
def test_settings_out_of_range(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        MaskGeneratorSettings(**changes)
