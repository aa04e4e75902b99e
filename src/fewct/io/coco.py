"""COCO JSON: one annotation a structure and slice, masks as run lengths."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from fewct.errors import InputError
from fewct.imaging.masks import (
    RunLengths,
    boxes_from_labels,
    proposals_from_masks,
    rle_decode,
    rle_encode,
    xyxy_to_xywh,
)
from fewct.io.atomic import write_text
from fewct.result import Segmentation
from fewct.types import LabelMap, Labels, Mask, MaskProposals, Structure


def write_coco(result: LabelMap, path: Path) -> None:
    """Write labels as COCO JSON, whole or not at all.

    Each slice is one COCO image, each structure on it one annotation of the only category "structure": its
    uncompressed run lengths (column by column), `area` in pixels, `bbox` as x, y, width, height, the label
    as `structure_id`, and `score` where there is one.

    Raises:
        OutputError: If the file cannot be written.
    """
    stack = result.labels if result.labels.ndim == 3 else result.labels[np.newaxis]
    structures: tuple[Structure, ...] = result.structures if isinstance(result, Segmentation) else ()
    scores = {row.id: row.score for row in structures if not math.isnan(row.score)}
    _, rows, columns = stack.shape
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    names = _file_names(result, len(stack))
    for image_id, (labels, file_name) in enumerate(zip(stack, names, strict=True), 1):
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
    """Return the annotation of each structure of a slice, without its ids."""
    ids, boxes = boxes_from_labels(labels)
    annotations = []
    for label, box in zip(ids.tolist(), xyxy_to_xywh(boxes).tolist(), strict=True):
        mask = labels == label
        area = int(np.count_nonzero(mask))
        annotation = {"category_id": 1, "structure_id": label, "segmentation": rle_encode(mask), "area": area}
        score = {"score": scores[label]} if label in scores else {}
        annotations.append({**annotation, "bbox": box, "iscrowd": 0, **score})
    return annotations


def _file_names(result: LabelMap, count: int) -> list[str]:
    """Return a file name for each slice: the source's own where it has one a slice."""
    source = result.source
    if source is not None and len(source.files) == count:
        return [file.name for file in source.files]
    name = "image" if source is None else source.name
    return [name] if count == 1 else [f"{name}_{index:04d}" for index in range(count)]


_FIX = "Write it as COCO JSON with run lengths, or with segment-anything's amg.py --convert-to-rle."


def read_proposals(path: str | Path) -> tuple[MaskProposals, ...]:
    """Read the masks proposed on one or more images.

    Args:
        path: COCO JSON (`images`, and `annotations` with run lengths, plain or compressed), or the list of
            annotations of one image that segment-anything's `amg.py --convert-to-rle` writes.

    Returns:
        One record an image, in the file's order. Scores are `score`, or else `predicted_iou`, or else NaN.

    Raises:
        InputError: If the file cannot be read, is neither of the two, or run lengths do not fit their size.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(path, expected="a JSON file of masks", found=str(error), fix=_FIX) from error
    try:
        if isinstance(content, list):
            return (_proposals(content, _size(content)),)
        of_image: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in content["images"]}
        for annotation in content["annotations"]:
            of_image[annotation["image_id"]].append(annotation)
        return tuple(
            _proposals(of_image[image["id"]], (image["height"], image["width"]))
            for image in content["images"]
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(
            path,
            expected="COCO's images and annotations, or a list of annotations, with run lengths",
            found=f"{type(error).__name__}: {error}",
            fix=_FIX,
        ) from error
    except InputError as error:
        raise InputError(path, expected=error.expected, found=error.found, fix=error.fix) from error


def _size(annotations: list[dict[str, Any]]) -> tuple[int, int]:
    """Return (rows, columns) of the image that a bare list of annotations belongs to."""
    rows, columns = annotations[0]["segmentation"]["size"]
    return rows, columns


def _proposals(annotations: list[dict[str, Any]], shape: tuple[int, int]) -> MaskProposals:
    """Return the masks of one image."""
    masks = np.zeros((len(annotations), *shape), dtype=np.bool_)
    for index, annotation in enumerate(annotations):
        mask = _mask(annotation["segmentation"])
        if mask.shape != shape:
            raise InputError(
                "masks",
                expected=f"masks of the image's {shape[0]} x {shape[1]} pixels",
                found=f"a mask of {mask.shape[0]} x {mask.shape[1]}",
                fix=_FIX,
            )
        masks[index] = mask
    scores = [annotation.get("score", annotation.get("predicted_iou", np.nan)) for annotation in annotations]
    return proposals_from_masks(masks, scores)


def _mask(segmentation: dict[str, Any]) -> Mask:
    """Return the mask of one annotation."""
    counts = segmentation["counts"]
    plain = decompress(counts) if isinstance(counts, str) else counts
    return rle_decode(RunLengths(size=segmentation["size"], counts=plain))


def decompress(text: str) -> list[int]:
    """Return the run lengths in COCO's compressed text.

    Each number is cut into 5 bits a character, lowest first, as `chr(48 + bits)` with 32 added where more
    follow; the last one's bit 16 is the sign. From the fourth number on, only the difference to the number
    before the previous one is stored.

    Example:
        >>> decompress("52203")
        [5, 2, 2, 2, 5]
    """
    counts: list[int] = []
    number = shift = 0
    for character in text:
        bits = ord(character) - 48
        number |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            number -= 1 << shift
        counts.append(number + (counts[-2] if len(counts) > 2 else 0))
        number = shift = 0
    return counts
