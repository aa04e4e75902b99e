"""Prompts for one slice, checked: points, boxes and a mask."""

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fewct.errors import InputError, UsageError
from fewct.methods.sam.conventions import BOTTOM_RIGHT, NO_POINT, TOP_LEFT
from fewct.methods.sam.preprocessing import InputFrame, linear_resampling

SURE = 6.9  # logit of a probability of 0.999


@dataclass(frozen=True, eq=False)
class PointPrompts:
    """Prompts as the prompt encoder takes them: boxes are two points, their corners.

    Args:
        points_xy: float64 (prompts, points, 2): x, y in pixels of the slice.
        labels: int64 (prompts, points), as in `conventions`.
    """

    points_xy: Annotated[NDArray[np.float64], "prompts points 2"]
    labels: Annotated[NDArray[np.int64], "prompts points"]


def point_prompts(
    point_coords: ArrayLike | None,
    point_labels: ArrayLike | None,
    box: ArrayLike | None,
    shape: tuple[int, int],
) -> PointPrompts:
    """Return checked prompts: all points belong to one prompt, each box is one.

    Args:
        point_coords: (n, 2): x, y in pixels; None for none.
        point_labels: (n,): 1 inside the structure, 0 outside.
        box: (m, 4) or (4,): x0, y0, x1, y1 in pixels, x1 and y1 one past the last pixel; None for none.
            Points go with one box at most.
        shape: (rows, columns) of the slice.

    Raises:
        InputError: If they are empty, not finite, out of the slice, or a box has no area.
        UsageError: If points come without labels or with several boxes.
    """
    if point_coords is None and point_labels is not None:
        raise UsageError(
            "point_labels", expected="points that they belong to", found="none", fix="Add point_coords."
        )
    parts = []
    if point_coords is not None:
        xy, kinds = _checked_points(point_coords, shape), _checked_labels(point_labels, point_coords)
        parts.append((xy[None], kinds[None]))
    if box is not None:
        corners = checked_boxes(box, shape).reshape(-1, 2, 2)
        kinds = np.tile(np.array([TOP_LEFT, BOTTOM_RIGHT], dtype=np.int64), (len(corners), 1))
        if point_coords is not None and len(corners) > 1:
            raise UsageError(
                "point_coords and box",
                expected="one box with points",
                found=f"{len(corners)} boxes",
                fix="Ask for each structure by itself, or pass boxes alone.",
            )
        parts.append((corners, kinds))
    elif point_coords is not None:  # as in training: points without a box end with one of no place
        parts.append((np.zeros((1, 1, 2)), np.full((1, 1), NO_POINT)))
    if not parts:
        return PointPrompts(np.zeros((1, 0, 2)), np.zeros((1, 0), dtype=np.int64))
    return PointPrompts(*(np.concatenate(arrays, axis=1) for arrays in zip(*parts, strict=True)))


def mask_input_logits(mask_input: NDArray[Any], frame: InputFrame) -> NDArray[np.float32]:
    """Return a checked mask prompt as logits of the network's size.

    Args:
        mask_input: bool (rows, columns) of the slice, or logits (mask_px, mask_px) of an earlier prediction.

    Returns:
        float32 (mask_px, mask_px).

    Raises:
        InputError: If it has another shape or type, or values that are not finite.
    """
    side = (frame.mask_px, frame.mask_px)
    if mask_input.dtype == np.bool_ and mask_input.shape == frame.shape:
        inside = frame.image_size // frame.mask_px
        first, second = (
            linear_resampling(inner, size) for inner, size in zip(frame.inner, frame.shape, strict=True)
        )
        share = np.zeros((frame.image_size, frame.image_size))
        share[: frame.inner[0], : frame.inner[1]] = first @ mask_input.astype(np.float64) @ second.T
        blocks = share.reshape(frame.mask_px, inside, frame.mask_px, inside).mean(axis=(1, 3))
        logits: NDArray[np.float32] = (SURE * (2 * blocks - 1)).astype(np.float32)
        return logits
    if mask_input.dtype.kind != "f" or mask_input.shape != side:
        raise InputError(
            "mask_input",
            expected=f"bool of the slice's shape {frame.shape}, or logits {side} of an earlier prediction",
            found=f"shape {mask_input.shape} of {mask_input.dtype}",
            fix="Resize the mask to the slice.",
        )
    _check_finite("mask_input", mask_input)
    return mask_input.astype(np.float32)


def _checked_points(points: ArrayLike, shape: tuple[int, int]) -> NDArray[np.float64]:
    xy = _numbers("point_coords", points)
    if xy.ndim != 2 or xy.shape[1] != 2 or len(xy) == 0:
        raise InputError(
            "point_coords",
            expected="one or more points, shape (n, 2): x, y in pixels",
            found=f"shape {xy.shape}",
            fix="Pass None for no points.",
        )
    _check_finite("point_coords", xy)
    rows, columns = shape
    outside = ((xy < 0) | (xy >= [columns, rows])).any(axis=1)
    if outside.any():
        raise _outside("point_coords", shape, f"x, y = {xy[outside][0].tolist()}")
    return xy


def _checked_labels(labels: ArrayLike | None, points: ArrayLike) -> NDArray[np.int64]:
    n = len(np.asarray(points))
    kinds = np.zeros(0) if labels is None else np.asarray(labels)
    if kinds.shape != (n,) or not np.isin(kinds, (0, 1)).all():
        raise UsageError(
            "point_labels",
            expected=f"{n} labels, one for each point: 1 inside the structure, 0 outside",
            found="none" if labels is None else f"{np.array2string(kinds, threshold=8)}",
            fix="Pass 1 for each point on the structure.",
        )
    return kinds.astype(np.int64)


def checked_boxes(boxes: ArrayLike, shape: tuple[int, int]) -> Annotated[NDArray[np.float64], "n 4"]:
    """Return checked boxes.

    Args:
        boxes: (n, 4) or (4,): x0, y0, x1, y1 in pixels, x1 and y1 one past the last pixel.
        shape: (rows, columns) of the slice.

    Raises:
        InputError: If there are none, or one is not finite, has no area or leaves the slice.
    """
    xyxy = _numbers("box", boxes)
    xyxy = xyxy[None] if xyxy.ndim == 1 else xyxy
    if xyxy.ndim != 2 or xyxy.shape[1] != 4 or len(xyxy) == 0:
        raise InputError(
            "box",
            expected="one or more boxes, shape (n, 4): x0, y0, x1, y1 in pixels",
            found=f"shape {np.shape(boxes)}",
            fix="Pass None for no boxes.",
        )
    _check_finite("box", xyxy)
    empty = (xyxy[:, 2:] <= xyxy[:, :2]).any(axis=1)
    if empty.any():
        raise InputError(
            "box",
            expected="x0 < x1 and y0 < y1",
            found=f"{xyxy[empty][0].tolist()}",
            fix="Pass x0, y0, x1, y1, not x, y, width, height.",
        )
    rows, columns = shape
    outside = ((xyxy < 0) | (xyxy > [columns, rows, columns, rows])).any(axis=1)
    if outside.any():
        raise _outside("box", shape, f"{xyxy[outside][0].tolist()}")
    return xyxy


def _numbers(name: str, values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values)
    if array.dtype.kind not in "uif":
        raise InputError(
            name, expected="numbers, in pixels", found=f"dtype {array.dtype}", fix="Pass coordinates x, y."
        )
    return array.astype(np.float64)


def _check_finite(name: str, values: NDArray[Any]) -> None:
    if not np.isfinite(values).all():
        raise InputError(
            name,
            expected="finite numbers",
            found=f"{np.count_nonzero(~np.isfinite(values))} that are NaN or infinite",
            fix="Leave out what is not known.",
        )


def _outside(name: str, shape: tuple[int, int], found: str) -> InputError:
    rows, columns = shape
    return InputError(
        name,
        expected=f"x within 0 .. {columns} and y within 0 .. {rows}, the columns and rows of the slice",
        found=found,
        fix="Clip them to the slice, and check that x runs along the columns.",
    )
