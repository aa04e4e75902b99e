"""The challenge's images: 8-bit grey PNG files."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fewct.errors import InputError


def read_size(path: Path) -> tuple[int, int]:
    """Return (rows, columns) of an image file without reading its pixels.

    Raises:
        InputError: If it is no image.
    """
    with _opened(path) as picture:
        return picture.height, picture.width


def read_grey(path: Path) -> Annotated[NDArray[np.uint8], "rows columns"]:
    """Return the grey values of an image file as uint8.

    Raises:
        InputError: If it is no image, or damaged.
    """
    with _opened(path) as picture:
        return np.asarray(picture.convert("L"))


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open an image; whatever is wrong with it becomes an `InputError`."""
    try:
        with Image.open(path) as picture:
            yield picture
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(
            path, expected="a whole PNG image", found=str(error), fix="Check the file, or get it again."
        ) from error
