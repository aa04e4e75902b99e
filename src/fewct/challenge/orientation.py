"""Orientation of label maps against their images, from the pixels alone."""

from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

TURNS: Mapping[str, Callable[[NDArray[Any]], NDArray[Any]]] = {
    "transposed": np.transpose,
    "rotated by 90 degrees": lambda labels: np.rot90(labels, 1),
    "rotated by 180 degrees": lambda labels: np.rot90(labels, 2),
    "rotated by 270 degrees": lambda labels: np.rot90(labels, 3),
}
SHARE_OF_IMAGES = 0.9
FEWEST_IMAGES = 4


def neighbour_agreement(maps: Annotated[NDArray[np.uint8], "images rows columns"]) -> float:
    """Return how often neighbouring pixels share their label, among pairs with at least one label.

    It is low, in one direction at least, where label maps were flattened in the wrong order.

    Args:
        maps: uint8 (images, rows, columns), 0 for background.

    Returns:
        The lower of the shares along rows and along columns, in [0, 1]; 1 without any label.

    Example:
        >>> neighbour_agreement(np.full((1, 4, 4), 7, np.uint8))
        1.0
    """
    same, labelled = np.zeros(2), np.zeros(2)
    for labels in maps:
        for axis, (one, other) in enumerate(((labels[:-1], labels[1:]), (labels[:, :-1], labels[:, 1:]))):
            either = (one | other) > 0
            labelled[axis] += np.count_nonzero(either)
            same[axis] += np.count_nonzero(either & (one == other))
    return float(np.min(np.where(labelled > 0, same / np.maximum(labelled, 1), 1.0)))


def better_orientation(
    pairs: Iterable[tuple[Annotated[NDArray[np.uint8], "n n"], Annotated[NDArray[np.uint8], "n n"]]],
) -> str | None:
    """Return the turn after which nearly all label maps follow the edges of their images better.

    Args:
        pairs: Image and label map, square and of one size.

    Returns:
        "transposed", "rotated by 90 degrees", ..., or None if they fit best as they are, or if there are
        fewer than 4.
    """
    wins = dict.fromkeys(TURNS, 0)
    edges = dict.fromkeys(TURNS, 0.0)
    n_pairs = 0
    for image, labels in pairs:
        gradient = np.hypot(*np.gradient(image.astype(np.float32)))
        as_is = _edge_strength(gradient, labels)
        for name, turn in TURNS.items():
            turned = _edge_strength(gradient, turn(labels))
            wins[name] += turned > as_is
            edges[name] += turned
        n_pairs += 1
    best = max(TURNS, key=edges.__getitem__)
    return best if n_pairs >= FEWEST_IMAGES and wins[best] >= SHARE_OF_IMAGES * n_pairs else None


def _edge_strength(gradient: NDArray[np.float32], labels: NDArray[Any]) -> float:
    """Return the mean gradient of the image where labels change."""
    border = np.zeros(labels.shape, dtype=np.bool_)
    border[:-1] |= labels[:-1] != labels[1:]
    border[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    return float(gradient[border].mean()) if border.any() else 0.0
