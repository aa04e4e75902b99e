"""The masks of segment-everything as the official code hands them out, for programs made for it."""

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, get_args

from fewct.errors import check_choice
from fewct.imaging.masks import rle_encode, xyxy_to_xywh
from fewct.methods.sam.mask_generator.candidates import GeneratedMasks
from fewct.types import Mask

OutputMode: TypeAlias = Literal["binary_mask", "uncompressed_rle", "coco_rle"]


def records(found: GeneratedMasks, output_mode: OutputMode = "binary_mask") -> list[dict[str, Any]]:
    """Return one record a mask, with the names and forms of `SamAutomaticMaskGenerator`.

    Args:
        found: What `generate_masks` gave.
        output_mode: "binary_mask": bool (rows, columns); "uncompressed_rle": COCO run lengths as numbers;
            "coco_rle": the same as text.

    Returns:
        For each mask `segmentation`, `area` (px), `bbox` and `crop_box` (x, y, width, height),
        `predicted_iou`, `stability_score` and `point_coords` ([[x, y]]). Boxes hold whole pixels: a mask of
        one pixel has width 1, where the official code says 0.

    Raises:
        UsageError: If there is no such mode.
    """
    check_choice("output_mode", output_mode, get_args(OutputMode))
    proposals = found.proposals
    boxes, crops = xyxy_to_xywh(found.boxes_xyxy).tolist(), xyxy_to_xywh(found.crop_boxes_xyxy).tolist()
    areas = proposals.areas.tolist()
    return [
        {
            "segmentation": _encoded(proposals.mask(i), output_mode),
            "area": areas[i],
            "bbox": boxes[i],
            "predicted_iou": float(found.predicted_iou[i]),
            "point_coords": [found.points_xy[i].tolist()],
            "stability_score": float(found.stability[i]),
            "crop_box": crops[i],
        }
        for i in range(len(found))
    ]


def counts_as_text(counts: Sequence[int]) -> str:
    """Write COCO run lengths as COCO's text: differences to the last but one, 5 bits a letter.

    Example:
        >>> counts_as_text([3, 1, 40, 2])
        '31X11'
    """
    letters = []
    for i, count in enumerate(counts):
        left = count - counts[i - 2] if i > 2 else count
        more = True
        while more:
            bits = left & 31
            left >>= 5
            more = left != (-1 if bits & 16 else 0)
            letters.append(chr(48 + (bits | 32 if more else bits)))
    return "".join(letters)


def _encoded(mask: Mask, output_mode: OutputMode) -> Any:
    if output_mode == "binary_mask":
        return mask
    rle = rle_encode(mask)
    if output_mode == "uncompressed_rle":
        return dict(rle)
    return {"size": rle["size"], "counts": counts_as_text(rle["counts"])}
