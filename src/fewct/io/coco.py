"""COCO JSON: one annotation a structure and slice, masks as run lengths."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from fewct.io.atomic import write_text
from fewct.masks import boxes_from_labels, rle_encode, xyxy_to_xywh
from fewct.types import LabelMap, Labels, Segmentation


def write_coco(result: Segmentation | LabelMap, path: Path) -> None:
    """Write labels as COCO JSON, whole or not at all.

    Each slice is one COCO image, each structure on it one annotation of the only category "structure": its
    uncompressed run lengths (column by column), `area` in pixels, `bbox` as x, y, width, height, the label
    as `structure_id`, and `score` where there is one.

    Args:
        result: Labels, (rows, columns) or (slices, rows, columns).
        path: The file, .json.

    Raises:
        OutputError: If the file cannot be written.
    """
    stack = result.labels if result.labels.ndim == 3 else result.labels[np.newaxis]
    structures = result.structures if isinstance(result, Segmentation) else ()
    scores = {row.id: row.score for row in structures if not math.isnan(row.score)}
    _, rows, columns = stack.shape
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, (labels, file_name) in enumerate(
        zip(stack, _file_names(result, len(stack)), strict=True), 1
    ):
        images.append({"id": image_id, "file_name": file_name, "width": columns, "height": rows})
        for annotation in _annotations(labels, scores):
            annotations.append({"id": len(annotations) + 1, "image_id": image_id, **annotation})
    content = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "structure", "supercategory": "anatomy"}],
    }
    write_text(json.dumps(content, allow_nan=False), path)


def _annotations(labels: Labels, scores: dict[int, float]) -> list[dict[str, Any]]:
    """Return what COCO says about each structure of a slice, without its place in the file."""
    ids, boxes = boxes_from_labels(labels)
    annotations = []
    for label, box in zip(ids.tolist(), xyxy_to_xywh(boxes).tolist(), strict=True):
        mask = labels == label
        annotations.append(
            {
                "category_id": 1,
                "structure_id": label,
                "segmentation": rle_encode(mask),
                "area": int(np.count_nonzero(mask)),
                "bbox": box,
                "iscrowd": 0,
            }
            | ({"score": scores[label]} if label in scores else {})
        )
    return annotations


def _file_names(result: Segmentation | LabelMap, count: int) -> list[str]:
    """Return a file name for each slice: the source's own where it has one a slice."""
    source = result.source
    if source is not None and len(source.files) == count:
        return [file.name for file in source.files]
    name = "image" if source is None else source.name
    return [name] if count == 1 else [f"{name}_{index:04d}" for index in range(count)]
