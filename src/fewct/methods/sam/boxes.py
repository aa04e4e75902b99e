"""Boxes as prompts: moved a little, put to the network many at a time, one mask for each."""

from typing import Annotated

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fewct.intensity import to_display
from fewct.methods.sam.backend import Backend
from fewct.methods.sam.candidates import Easel
from fewct.methods.sam.predictor import embed
from fewct.methods.sam.prompts import checked_boxes, point_prompts
from fewct.types import CTSlice, MaskProposals


def masks_in_boxes(
    backend: Backend,
    image: CTSlice,
    boxes: ArrayLike,
    window: str | None = None,
    boxes_per_batch: int = 64,
) -> MaskProposals:
    """Return one mask for each box: the one that a network draws for prompts that leave no doubt.

    Args:
        backend: The networks.
        image: Slice; it is seen as `to_display` shows it to people, 8-bit grey.
        boxes: (n, 4): x0, y0, x1, y1 in pixels, x1 and y1 one past the last pixel. None: the network is not
            asked.
        window: Name of a preset in `fewct.intensity.WINDOWS`, for Hounsfield units; soft tissue by default.
        boxes_per_batch: Boxes that are put to the network at a time; bounds the memory.

    Returns:
        As many masks as boxes, in their order, with predicted IoU as scores. A mask may leave its box, and
        may be empty.

    Raises:
        InputError: If a box is not finite, has no area or leaves the slice.
        UsageError: If there is no such window.
    """
    xyxy = np.asarray(boxes)
    nowhere, nothing = np.zeros(4, dtype=np.int64), np.zeros((0, 0), dtype=np.bool_)
    places, crops = [], []
    scores = [np.zeros(0, dtype=np.float32)]
    if xyxy.size:
        prompts = point_prompts(None, None, xyxy, image.shape)
        embedded = embed(backend, to_display(image, window))
        easel, prepared = Easel(embedded.frame), backend.prepare(embedded.embedding, None)
        points = embedded.frame.to_input(prompts.points_xy)
        for start in range(0, len(points), boxes_per_batch):
            batch = slice(start, start + boxes_per_batch)
            drawn = backend.decode(prepared, points[batch], prompts.labels[batch], multimask=False)
            scores.append(drawn.predicted_iou[:, 0])
            for logits in drawn.logits:
                drawing = easel.draw(logits, 0)
                place, crop = (nowhere, nothing) if drawing is None else drawing.above(0)
                places.append(place)
                crops.append(crop)
    return MaskProposals(
        image.shape,
        np.array(places, dtype=np.int64).reshape(-1, 4),
        tuple(crops),
        np.concatenate(scores),
    )


def moved_boxes(
    boxes: ArrayLike, shape: tuple[int, int], pad_px: float, jitter_px: float, rng: np.random.Generator
) -> Annotated[NDArray[np.float64], "n 4"]:
    """Return boxes grown on all sides, then each side moved at random, as a hurried hand would draw them.

    Sides never cross the middle of their box, and stay on the slice.

    Args:
        boxes: (n, 4): x0, y0, x1, y1 in pixels.
        shape: (rows, columns) of the slice.
        pad_px: By how much each side moves outwards.
        jitter_px: By how much it moves then at most, outwards or inwards.
        rng: Draws the jitter.

    Raises:
        InputError: If a box is not finite, has no area or leaves the slice.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> moved_boxes([[1, 4, 5, 6]], (8, 8), pad_px=2, jitter_px=0, rng=rng).tolist()
        [[0.0, 2.0, 7.0, 8.0]]
    """
    if np.asarray(boxes).size == 0:
        return np.zeros((0, 4))
    xyxy = checked_boxes(boxes, shape)
    middles = (xyxy[:, :2] + xyxy[:, 2:]) / 2
    least = np.minimum(0.5, (xyxy[:, 2:] - xyxy[:, :2]) / 2)
    shifts = rng.uniform(-jitter_px, jitter_px, xyxy.shape) + pad_px * np.array([-1, -1, 1, 1])
    low = np.minimum(xyxy[:, :2] + shifts[:, :2], middles - least)
    high = np.maximum(xyxy[:, 2:] + shifts[:, 2:], middles + least)
    rows, columns = shape
    return np.concatenate([np.maximum(low, 0), np.minimum(high, [columns, rows])], axis=1)
