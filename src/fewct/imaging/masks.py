"""Binary masks: area limits, boxes, run lengths, proposals."""

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fewct.errors import InputError, UsageError, as_slice_labels
from fewct.types import Boxes, Labels, Mask, MaskProposals

_UNITS: dict[str, Literal["px", "mm2", "%"]] = {"px": "px", "mm2": "mm2", "%": "%"}


class RunLengths(TypedDict):
    """A mask in COCO's uncompressed form: `size` is [rows, columns], `counts` run down the columns."""

    size: list[int]
    counts: list[int]


@dataclass(frozen=True)
class Area:
    """An area limit in pixels, in square millimetres, or as a share of the body.

    Args:
        value: Number of units, 0 or more.
        unit: "px", "mm2", or "%" of the body.
    """

    value: float
    unit: Literal["px", "mm2", "%"]

    def in_pixels(self, pixel_area_mm2: float, body_px: float) -> float:
        """Return the limit in pixels of one slice.

        Args:
            pixel_area_mm2: Area of one pixel, NaN where unknown.
            body_px: Number of pixels of the body.

        Raises:
            UsageError: If the limit is in square millimetres and the area of a pixel is unknown.

        Example:
            >>> parse_area("50mm2").in_pixels(pixel_area_mm2=0.5, body_px=10_000)
            100.0
        """
        if self.unit == "px":
            return self.value
        if self.unit == "%":
            return self.value / 100 * body_px
        if not pixel_area_mm2 > 0:
            raise UsageError(
                f"area {self.value:g}mm2",
                expected="a slice with known pixel spacing",
                found="a slice without spacing",
                fix="Give the limit in px or in % of the body.",
            )
        return self.value / pixel_area_mm2


def parse_area(text: str) -> Area:
    """Read an area limit: a number followed by `px`, `mm2` or `%` (of the body).

    Raises:
        UsageError: If the text is something else, or above 100 %.

    Example:
        >>> parse_area("1.5%")
        Area(value=1.5, unit='%')
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(px|mm2|%)\s*", text)
    if found is not None and (found[2] != "%" or float(found[1]) <= 100):
        return Area(float(found[1]), _UNITS[found[2]])
    raise UsageError(
        "area",
        expected="a number followed by px, mm2 or % (at most 100 %)",
        found=repr(text),
        fix='Write it like "200px", "50mm2" or "10%".',
    )


def boxes_from_masks(masks: Annotated[NDArray[np.bool_], "n rows columns"]) -> Boxes:
    """Return the smallest box around each mask.

    Args:
        masks: bool (n, rows, columns).

    Returns:
        int64 (n, 4): x0, y0, x1, y1 in pixels, x1 and y1 one past the last pixel; zeros for an empty mask.

    Raises:
        InputError: If `masks` is not a stack of bool masks.

    Example:
        >>> masks = np.zeros((1, 4, 6), dtype=bool)
        >>> masks[0, 1:3, 2:5] = True
        >>> boxes_from_masks(masks)
        array([[2, 1, 5, 3]])
    """
    _check_masks(masks)
    if masks.size == 0:
        return np.zeros((len(masks), 4), dtype=np.int64)
    starts, stops = [], []
    for occupied in (np.asarray(masks.any(axis=1)), np.asarray(masks.any(axis=2))):
        length = occupied.shape[1]
        full = np.asarray(occupied.any(axis=1))
        starts.append(np.where(full, occupied.argmax(axis=1), 0))
        stops.append(np.where(full, length - occupied[:, ::-1].argmax(axis=1), 0))
    return np.stack([*starts, *stops], axis=1).astype(np.int64)


def xyxy_to_xywh(boxes_xyxy: Boxes) -> Boxes:
    """Return boxes as x, y, width, height (COCO's order) from x0, y0, x1, y1 with x1 and y1 one past the end.

    Example:
        >>> xyxy_to_xywh(np.array([[2, 1, 5, 3]]))
        array([[2, 1, 3, 2]])
    """
    return np.concatenate([boxes_xyxy[:, :2], boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]], axis=1)


def proposals_from_masks(
    masks: Annotated[NDArray[np.bool_], "n rows columns"], scores: ArrayLike
) -> MaskProposals:
    """Return a stack of full-size masks as proposals, each cropped to its box.

    Args:
        masks: bool (n, rows, columns).
        scores: (n,), higher is better.

    Raises:
        InputError: If `masks` is not a stack of bool masks, or the scores are not one a mask.
    """
    boxes = boxes_from_masks(masks)
    crops = tuple(
        mask[y0:y1, x0:x1].copy() for mask, (x0, y0, x1, y1) in zip(masks, boxes.tolist(), strict=True)
    )
    return MaskProposals(masks.shape[1:], boxes, crops, _one_score_each(scores, len(crops)))


def proposals_from_labels(labels: NDArray[Any], scores: ArrayLike | None = None) -> MaskProposals:
    """Return the structures of a label map as proposals, in the order of their ids.

    Args:
        labels: Label map (rows, columns).
        scores: One for each structure that occurs, by ascending id; NaN by default.

    Raises:
        InputError: If `labels` is no label map of a slice, or the scores are not one a structure.
    """
    labels = as_slice_labels(labels)
    ids, boxes = boxes_from_labels(labels)
    crops = tuple(
        labels[y0:y1, x0:x1] == i for i, (x0, y0, x1, y1) in zip(ids.tolist(), boxes.tolist(), strict=True)
    )
    rows, columns = labels.shape
    return MaskProposals(
        (rows, columns),
        boxes,
        crops,
        _one_score_each(np.full(len(ids), np.nan) if scores is None else scores, len(ids)),
    )


def boxes_from_labels(labels: Labels) -> tuple[Annotated[NDArray[np.int64], "n"], Boxes]:
    """Return the ids that occur in a label map, ascending, and the box around each.

    Args:
        labels: int32 (rows, columns), 0 for background.

    Returns:
        int64 (n,) ids without 0, and int64 (n, 4) boxes x0, y0, x1, y1, x1 and y1 one past the
        last pixel.
    """
    y, x = np.nonzero(labels)
    ids, rank = np.unique(labels[y, x], return_inverse=True)
    boxes = np.zeros((len(ids), 4), dtype=np.int64)
    boxes[:, :2] = max(labels.shape)
    for column, values in ((0, x), (1, y)):
        np.minimum.at(boxes[:, column], rank, values)
        np.maximum.at(boxes[:, column + 2], rank, values + 1)
    return ids.astype(np.int64), boxes


def rle_encode(mask: NDArray[Any]) -> RunLengths:
    """Encode a binary mask as COCO run lengths, column by column, starting with the zeros.

    Args:
        mask: bool (rows, columns), or numbers that are all 0 or all 0 and one other value.

    Returns:
        `{"size": [rows, columns], "counts": [...]}`; `counts` alternate zeros and ones.

    Raises:
        InputError: If `mask` is not two-dimensional or has several values besides 0. (Runs of a label map
            would flip meaning at each change of value.)

    Example:
        >>> rle_encode(np.array([[0, 1], [1, 1]], dtype=bool))
        {'size': [2, 2], 'counts': [1, 3]}
    """
    if mask.ndim != 2:
        raise InputError(
            "mask",
            expected="a mask (rows, columns)",
            found=f"shape {mask.shape}",
            fix="Encode one mask at a time.",
        )
    if mask.dtype != np.bool_:
        values = np.unique(mask)
        if np.count_nonzero(values) > 1:
            raise InputError(
                "mask",
                expected="a binary mask: one value besides 0",
                found=f"a label map of {np.count_nonzero(values)} values",
                fix="Encode each structure by itself: labels == id.",
            )
    flat = np.concatenate([[False], mask.astype(np.bool_).ravel(order="F")])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    counts = np.diff(np.concatenate([[0], changes, [mask.size]]))
    return RunLengths(size=list(mask.shape), counts=counts.tolist())


def rle_decode(rle: RunLengths) -> Mask:
    """Decode COCO run lengths.

    Args:
        rle: As `rle_encode` returns it.

    Returns:
        bool (rows, columns).

    Raises:
        InputError: If the runs are negative or do not add up to the size.
    """
    (rows, columns), counts = rle["size"], np.asarray(rle["counts"], dtype=np.int64)
    if (counts < 0).any() or counts.sum() != rows * columns:
        raise InputError(
            "run lengths",
            expected=f"runs of 0 or more that add up to {rows} x {columns} = {rows * columns}",
            found=f"a smallest run of {counts.min(initial=0)} and a sum of {counts.sum()}",
            fix="Check `size` and that `counts` are whole.",
        )
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape((rows, columns), order="F")


def _check_masks(masks: NDArray[Any]) -> None:
    if masks.ndim != 3 or masks.dtype != np.bool_:
        raise InputError(
            "masks",
            expected="a bool array (n, rows, columns)",
            found=f"shape {masks.shape} of {masks.dtype}",
            fix="Stack the masks and compare them with a threshold first.",
        )


def _one_score_each(scores: ArrayLike, n: int) -> NDArray[np.float32]:
    array = np.asarray(scores, dtype=np.float32)
    if array.shape != (n,):
        raise InputError(
            "scores",
            expected=f"one score a mask, shape ({n},)",
            found=f"shape {array.shape}",
            fix="Pass one each.",
        )
    return array
