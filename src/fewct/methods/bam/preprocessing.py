"""What BAM's network sees of a slice: the body, at a fixed size; one function for training and for use."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from fewct.imaging.intensity import normalise, robust_uint8
from fewct.imaging.resample import resize
from fewct.types import CTSlice, Image, Labels, Mask

N_CHANNELS = 3
STRIDE = 48  # sides of the network's input are multiples of this: pyramid pooling has cells of equal size
MARGIN = 0.03  # around the body, of its longest side


@dataclass(frozen=True)
class Frame:
    """The part of a slice that the network sees, and at what size.

    Args:
        rows: Of the slice.
        columns: Of the slice.
        shape: Rows and columns that the part is brought to, within the network's square.
    """

    rows: slice
    columns: slice
    shape: tuple[int, int]


def frame_of(body: Mask, size_px: int) -> Frame:
    """Return the frame of the patient, the whole slice if there is none.

    Args:
        body: bool (rows, columns): the patient.
        size_px: The longest side of the frame is brought to this.
    """
    spans = []
    margin = 0 if not body.any() else round(MARGIN * longest_side(body))
    for axis, side in ((1, body.shape[0]), (0, body.shape[1])):
        taken = np.flatnonzero(body.any(axis=axis))
        low, high = (int(taken[0]), int(taken[-1]) + 1) if taken.size else (0, side)
        spans.append(slice(max(0, low - margin), min(side, high + margin)))
    sides = [span.stop - span.start for span in spans]
    rows, columns = (max(1, round(side * size_px / max(sides))) for side in sides)
    return Frame(spans[0], spans[1], (rows, columns))


def longest_side(body: Mask) -> int:
    """Return the longest side of the patient's box in pixels; that of the slice if there is none."""
    if not body.any():
        return int(max(body.shape))
    row, column = (np.flatnonzero(body.any(axis=axis)) for axis in (1, 0))
    return 1 + max(int(row[-1]) - int(row[0]), int(column[-1]) - int(column[0]))


def preprocess(image: CTSlice, body: Mask) -> Annotated[NDArray[np.float32], "3 rows columns"]:
    """Return the channels that the network sees: intensity, and where in the patient's box a pixel lies.

    Args:
        image: Slice; NaN marks padding.
        body: bool (rows, columns): the patient.

    Returns:
        float32 (3, rows, columns) in [-1, 1]: the soft tissue window for Hounsfield units or robust
        percentiles of the body for grey values; then x and y, from -1 to 1 across the patient's box.

    Raises:
        InputError: If a grey slice holds infinities.
    """
    if image.unit == "hu":
        contrast = normalise(image)
    else:
        contrast = robust_uint8(image.pixels, body if body.any() else None).astype(np.float32) / np.float32(
            255
        )
    places = []
    for axis, side in ((0, body.shape[1]), (1, body.shape[0])):
        taken = np.flatnonzero(body.any(axis=axis))
        low, high = (int(taken[0]), int(taken[-1])) if taken.size else (0, side - 1)
        line = (np.arange(side, dtype=np.float32) - low) / np.float32(max(high - low, 1)) * 2 - 1
        places.append(np.clip(line, -1, 1))
    x, y = np.broadcast_to(places[0], body.shape), np.broadcast_to(places[1][:, None], body.shape)
    return np.stack([contrast * np.float32(2) - np.float32(1), x, y]).astype(np.float32)


def network_square(image: CTSlice, body: Mask, size_px: int) -> Annotated[NDArray[np.float32], "3 size size"]:
    """Return the network's square for a slice: the patient's frame, filled up at the lower and right ends.

    Args:
        image: Slice; NaN marks padding.
        body: bool (rows, columns): the patient.
        size_px: Side of the square.
    """
    frame = frame_of(body, size_px)
    channels = preprocess(image, body)[:, frame.rows, frame.columns]
    return np.stack([pad_to_square(resize(channel, frame.shape), size_px) for channel in channels])


def square_mask(mask: Mask, frame: Frame, size_px: int) -> Image:
    """Return a mask of a slice on the network's square, float32 in [0, 1]."""
    part = mask[frame.rows, frame.columns].astype(np.float32)
    padding = [(0, size_px - side) for side in frame.shape]
    return np.pad(resize(part, frame.shape), padding)


def square_labels(labels: Labels, frame: Frame, size_px: int) -> Labels:
    """Return a label map of a slice on the network's square, each place from the nearest pixel."""
    part = labels[frame.rows, frame.columns]
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(np.int64)
        for new, old in zip(frame.shape, part.shape, strict=True)
    )
    return np.pad(part[np.ix_(rows, columns)], [(0, size_px - side) for side in frame.shape])


def pad_to_square(values: Image, size_px: int) -> Image:
    """Fill up a channel at the lower and right ends with what lies at the edge."""
    return np.pad(values, [(0, size_px - side) for side in values.shape], mode="edge")


def restore(values: Image, frame: Frame, shape: tuple[int, int]) -> Image:
    """Return a map on the network's square on the slice's own grid, 0 outside the frame.

    Args:
        values: float32 (size, size).
        frame: The slice's.
        shape: Rows and columns of the slice.
    """
    full = np.zeros(shape, dtype=np.float32)
    inner = (frame.rows.stop - frame.rows.start, frame.columns.stop - frame.columns.start)
    full[frame.rows, frame.columns] = resize(values[: frame.shape[0], : frame.shape[1]], inner)
    return full
