"""The editions of the challenge: image size, numbers of images and classes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from fewct.errors import UsageError

EditionName: TypeAlias = Literal["2023", "2024", "2025"]


@dataclass(frozen=True)
class Edition:
    """One edition of the challenge.

    Args:
        name: The year it opened.
        side: Rows, and columns, of each image.
        n_train: Number of training images.
        n_labelled: How many of them, counted from 0.png, have labels.
        n_test: Number of test images.
        n_classes: Number of semantic classes, numbered from 1; None where labels are mere instances.
    """

    name: EditionName
    side: int
    n_train: int
    n_labelled: int
    n_test: int
    n_classes: int | None = None

    @property
    def n_pixels(self) -> int:
        """Pixels of an image, which is the number of pixel rows of a label table."""
        return self.side * self.side

    @property
    def max_label(self) -> int:
        """The largest label that a table may hold."""
        return 255 if self.n_classes is None else self.n_classes


EDITIONS: Mapping[str, Edition] = {
    "2023": Edition("2023", side=512, n_train=1000, n_labelled=200, n_test=500),
    "2024": Edition("2024", side=512, n_train=2000, n_labelled=400, n_test=500),
    "2025": Edition("2025", side=256, n_train=2000, n_labelled=800, n_test=500, n_classes=54),
}


def get_edition(name: str) -> Edition:
    """Return the edition of a year: "2023", "2024" or "2025".

    Raises:
        UsageError: For another name.

    Example:
        >>> get_edition("2025").n_pixels
        65536
    """
    if name not in EDITIONS:
        raise UsageError(
            "edition",
            expected=f"one of {', '.join(EDITIONS)}",
            found=f'"{name}"',
            fix="Name the year in which the edition opened.",
        )
    return EDITIONS[name]
