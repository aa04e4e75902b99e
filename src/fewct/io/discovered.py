"""The record of an image that discovery returns, and its name."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fewct.types import CTSlice, CTVolume


@dataclass(frozen=True, eq=False)
class DiscoveredImage:
    """An image that can be opened.

    Args:
        name: Name of the image, safe for file names.
        path: The file or folder that the user named, or the file found in a folder.
        description: One line for people.
        open: Reads the image.
    """

    name: str
    path: Path
    description: str
    open: Callable[[], CTSlice | CTVolume]


def safe_name(text: str) -> str:
    """Return a text made safe for file names: letters, digits and `. _ -`, at most 100 of them.

    Example:
        >>> safe_name("Abdomen 2.0 / B30f")
        'Abdomen_2.0_B30f'
    """
    return re.sub(r"[^\w.-]+", "_", text).strip("._-")[:100] or "image"


def image_name(file: Path) -> str:
    """Return the name of an image from its file's: without suffix, safe for file names.

    Example:
        >>> image_name(Path("data/scan 2.v1.nii.gz"))
        'scan_2.v1'
    """
    return safe_name(Path(file.stem if file.suffix.lower() == ".gz" else file.name).stem)
