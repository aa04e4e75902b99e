"""Which slices look alike: near-duplicates, neighbours in a scan, the same slice turned or windowed anew."""

from collections.abc import Iterable
from typing import Annotated, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from fewct.errors import check_image

Thumbnail: TypeAlias = Annotated[NDArray[np.float32], "side side"]

SIDE = 64
DETAIL_PX = 2.0  # in pixels of the thumbnail
FAINTEST = 0.05  # of the slice's standard deviation
BLOCK = 512

ALIKE = 0.65
"""Correlation of thumbnails from which two slices look alike. On 1280 abdominal slices of 18 patients, 3 to
5 mm apart, neighbours reach 0.76 or more, slices of different people at most 0.33 (0.59 where each is
windowed to its own weak contrast), and the groups are exactly the patients."""


def thumbnail(pixels: NDArray[Any]) -> Thumbnail:
    """Return what is compared of a slice: its fine detail, freed of brightness and contrast.

    The slice is reduced to 64 x 64; from each pixel the mean around it is taken, and the rest divided by the
    local contrast. So neither the outline of the body, which all people share, nor the window decides.

    Args:
        pixels: (rows, columns) of real numbers; NaN counts as the darkest value.

    Returns:
        float32 (64, 64) with mean 0 and norm 1; all 0 for a constant slice.

    Raises:
        InputError: If `pixels` is no image.
    """
    from scipy.ndimage import gaussian_filter

    check_image(pixels)
    image = np.asarray(pixels, dtype=np.float32)
    image = np.where(np.isnan(image), np.nanmin(image), image)
    small = np.asarray(PillowImage.fromarray(image).resize((SIDE, SIDE), PillowImage.Resampling.BOX))
    spread = float(small.std())
    if spread == 0:
        return np.zeros((SIDE, SIDE), dtype=np.float32)
    detail = (small - gaussian_filter(small, DETAIL_PX)) / spread
    detail = detail / (np.sqrt(gaussian_filter(detail * detail, DETAIL_PX)) + FAINTEST)
    detail = detail - detail.mean()
    return np.asarray(detail / np.linalg.norm(detail), dtype=np.float32)


def similarity_groups(images: Iterable[NDArray[Any]]) -> Annotated[NDArray[np.int64], "n"]:
    """Put slices that look alike into one group, in any of the 8 orientations.

    Likeness is passed on: if a is like b and b like c, all three are one group, so a scan whose slices are
    close enough becomes one group, as its patient should.

    Args:
        images: Pixels (rows, columns) of each slice, all in Hounsfield units or all windowed; sizes may
            differ.

    Returns:
        int64 (n,): number of each slice's group, 0, 1, 2, ... in the order of first appearance.

    Raises:
        InputError: If one is no image.

    Example:
        >>> from fewct.phantom import phantom_slice
        >>> (a, _), (b, _) = phantom_slice(0, size=96), phantom_slice(1, size=96)
        >>> similarity_groups([a.pixels, b.pixels, np.rot90(a.pixels), 0.5 * b.pixels + 40])
        array([0, 1, 0, 1])
    """
    return group_thumbnails([thumbnail(image) for image in images])


def group_thumbnails(thumbnails: Iterable[Thumbnail]) -> Annotated[NDArray[np.int64], "n"]:
    """Do what `similarity_groups` does, from thumbnails made before.

    Args:
        thumbnails: What `thumbnail` returned for each slice.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    stack = np.stack(list(thumbnails))
    rows, columns = _alike(stack)
    links = coo_array((np.ones(len(rows), dtype=np.bool_), (rows, columns)), shape=(len(stack), len(stack)))
    _, group = connected_components(links, directed=False)
    _, first, rank = np.unique(group, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[rank].astype(np.int64)


def _alike(
    stack: Annotated[NDArray[np.float32], "n side side"],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the pairs (row, column) of thumbnails that are alike in some orientation."""
    flat = stack.reshape(len(stack), -1)
    turned = [np.rot90(one, k, (1, 2)) for one in (stack, stack[:, :, ::-1]) for k in range(4)]
    found = []
    for start in range(0, len(stack), BLOCK):
        likeness = np.full((min(BLOCK, len(stack) - start), len(stack) - start), -1, dtype=np.float32)
        for one in turned:
            block = one[start : start + BLOCK].reshape(len(likeness), -1)
            np.maximum(likeness, block @ flat[start:].T, out=likeness)
        found.append(np.argwhere(likeness > ALIKE) + start)
    pairs = np.concatenate(found)
    return pairs[:, 0], pairs[:, 1]
