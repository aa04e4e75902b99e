"""Pictures for people: the overlay of a slice, the contact sheet of a scan.

Colours belong to ids and are the same in every picture.
"""

import colorsys
from collections.abc import Iterable
from io import BytesIO
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont
from scipy import ndimage

from fewct.imaging.intensity import to_display
from fewct.imaging.labelmap import relabel_sequential
from fewct.types import AnyLabels, CTSlice, CTVolume, Labels

RGB = Annotated[NDArray[np.uint8], "rows columns 3"]

GOLDEN_RATIO = 0.618033988749895
FILL = 0.35  # share of a structure's colour inside its contour


def colours(ids: NDArray[np.integer]) -> Annotated[NDArray[np.uint8], "n 3"]:
    """Return a bright colour for each id: hues step by the golden ratio, so that neighbours differ.

    Example:
        >>> colours(np.array([1, 2])).shape
        (2, 3)
    """
    table = [
        colorsys.hsv_to_rgb((int(i) * GOLDEN_RATIO) % 1.0, (0.85, 0.55, 0.7)[int(i) % 3], 1.0) for i in ids
    ]
    return (np.array(table).reshape(-1, 3) * 255).astype(np.uint8)


def overlay(
    image: CTSlice, labels: Labels, *, window: str | None = None, numbers: bool = True, side: int = 1024
) -> RGB:
    """Draw the structures of a slice over it: filled lightly, with contours and numbers.

    Args:
        image: The slice.
        labels: Its label map, (rows, columns).
        window: Window preset for Hounsfield data, None for soft tissue; grey data ignore it.
        numbers: Whether to write each structure's id at its innermost point.
        side: Smallest length of the picture's longer side; small slices are enlarged by a whole factor.

    Returns:
        uint8 (rows * factor, columns * factor, 3).
    """
    factor = max(1, side // max(image.shape))
    grey = to_display(image, window).repeat(factor, axis=0).repeat(factor, axis=1)
    small, ids = relabel_sequential(labels)
    picture = _paint(grey, small.repeat(factor, axis=0).repeat(factor, axis=1), ids)
    return _write_numbers(picture, small, ids, factor) if numbers else picture


def contact_sheet(
    volume: CTVolume, labels: AnyLabels, *, window: str | None = None, tiles: int = 20, tile_side: int = 384
) -> RGB:
    """Draw up to `tiles` slices of a scan, evenly spread, with their structures and slice numbers.

    Args:
        volume: The scan.
        labels: Its label map, (slices, rows, columns).
        window: As in `overlay`.
        tiles: Largest number of slices shown.
        tile_side: Length of each tile's longer side in pixels.

    Returns:
        uint8 (rows, columns, 3), tiles from left to right and top to bottom in slice order, all cut to the
        place of the structures.
    """
    shown = np.unique(np.linspace(0, len(volume) - 1, min(tiles, len(volume))).round().astype(int))
    rows, columns = _surroundings(labels[shown])
    pictures = []
    for index in shown:
        picture = overlay(volume[int(index)], labels[index], window=window, numbers=False, side=1)
        pictures.append(_tile(picture[rows, columns], tile_side, f"{index}"))
    return _grid(pictures)


def png_of(record: object) -> bytes:
    """Return the picture by which a record shows itself: a slice, scan, label map or result, as PNG."""
    image: Any = getattr(record, "image", record)
    labels: Any = getattr(record, "labels", None)
    if not isinstance(image, (CTSlice, CTVolume)):  # labels alone: on black
        black = np.zeros(labels.shape[-2:], np.float32)
        image = (
            CTSlice(black, "grey") if labels.ndim == 2 else CTVolume(labels.shape, lambda _: black, "grey")
        )
    if labels is None:
        labels = np.zeros(image.shape, np.int32)
    picture = overlay(image, labels) if isinstance(image, CTSlice) else contact_sheet(image, labels)
    buffer = BytesIO()
    PillowImage.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def side_by_side(pictures: Iterable[tuple[str, RGB]], tile_side: int = 512) -> RGB:
    """Set pictures next to each other in one row, each under its title."""
    return np.concatenate([_tile(picture, tile_side, title) for title, picture in pictures], axis=1)


def _paint(grey: NDArray[np.uint8], numbers: Labels, ids: NDArray[np.integer]) -> RGB:
    """Blend the colour of each structure 1 .. n into the grey picture, in full along its contour."""
    inside = numbers > 0
    weight = np.where(_borders(numbers)[inside], 1.0, FILL)[:, None]
    painted = grey[..., None].repeat(3, axis=2)
    painted[inside] = (
        grey[inside][:, None] * (1 - weight) + colours(ids)[numbers[inside] - 1] * weight
    ).round()
    return painted


def _borders(labels: Labels) -> NDArray[np.bool_]:
    """Mark the pixels whose right, left, upper or lower neighbour has another label."""
    padded = np.pad(labels, 1, mode="edge")
    centre = padded[1:-1, 1:-1]
    neighbours = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    borders = np.zeros(labels.shape, dtype=np.bool_)
    for neighbour in neighbours:
        borders |= centre != neighbour
    return borders


def _write_numbers(picture: RGB, numbers: Labels, ids: NDArray[np.integer], factor: int) -> RGB:
    """Write the ids of structures 1 .. n where they are farthest from their border, if there is room."""
    canvas = PillowImage.fromarray(picture)
    pen = ImageDraw.Draw(canvas)
    size = max(11, max(picture.shape[:2]) // 64)
    font = ImageFont.load_default(size)
    for position, box in enumerate(ndimage.find_objects(numbers)):
        inside = np.pad(numbers[box] == position + 1, 1)
        depth = ndimage.distance_transform_edt(inside)
        if depth.max() * factor < size * 0.45:
            continue
        row, column = np.unravel_index(int(depth.argmax()), depth.shape)
        x = (box[1].start + column - 1 + 0.5) * factor
        y = (box[0].start + row - 1 + 0.5) * factor
        pen.text(
            (x, y),
            f"{ids[position]}",
            "white",
            font,
            anchor="mm",
            stroke_width=size // 9,
            stroke_fill="black",
        )
    return np.asarray(canvas)


def _surroundings(labels: AnyLabels, margin: float = 0.04) -> tuple[slice, slice]:
    """Return the rows and columns that hold all structures, with a margin; everything if there are none."""
    spans = []
    for axis, side in ((1, labels.shape[1]), (2, labels.shape[2])):
        taken = np.flatnonzero(labels.any(axis=tuple({0, 1, 2} - {axis})))
        first, last = (taken[0], taken[-1]) if taken.size else (0, side - 1)
        room = round(margin * side)
        spans.append(slice(max(0, int(first) - room), min(side, int(last) + 1 + room)))
    return spans[0], spans[1]


def _tile(picture: RGB, side: int, title: str) -> RGB:
    """Fit a picture into a square tile with its title in the upper left corner."""
    image = PillowImage.fromarray(picture)
    scale = side / max(image.size)
    fitted = image.resize((round(image.width * scale), round(image.height * scale)))
    tile = PillowImage.new("RGB", (side, side))
    tile.paste(fitted, ((side - fitted.width) // 2, (side - fitted.height) // 2))
    size = max(11, side // 20)
    ImageDraw.Draw(tile).text(
        (size // 2, size // 3),
        title,
        "white",
        ImageFont.load_default(size),
        stroke_width=2,
        stroke_fill="black",
    )
    return np.asarray(tile)


def _grid(tiles: list[RGB]) -> RGB:
    columns = int(np.ceil(np.sqrt(len(tiles))))
    blank = [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    rows = [np.concatenate((tiles + blank)[i : i + columns], axis=1) for i in range(0, len(tiles), columns)]
    return np.concatenate(rows)
