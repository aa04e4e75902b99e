"""Masks that may overlap, from COCO JSON or from the JSON of SAM's own automatic mask generator."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from fewct.errors import InputError
from fewct.masks import RunLengths, proposals_from_masks, rle_decode
from fewct.types import Mask, MaskProposals

_FIX = "Write it as COCO JSON with run lengths, or with segment-anything's amg.py --convert-to-rle."


def read_proposals(path: Path) -> tuple[MaskProposals, ...]:
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
        content = json.loads(path.read_text(encoding="utf-8"))
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

    Args:
        text: The `counts` of a compressed mask.

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
