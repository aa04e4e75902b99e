"""The challenge's scores of one label table against another, image by image and on average."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fewct.challenge.editions import Edition
from fewct.errors import InputError
from fewct.io.label_table.table import LabelTable
from fewct.metrics.contingency import contingency
from fewct.metrics.overlap import ValueMatrix, Values, class_dice, mean_class_dice, mean_defined
from fewct.metrics.rand import adjusted_rand_index, rand_index


@dataclass(frozen=True)
class ImageScores:
    """The Rand indices of one image, by its number; all NaN if its truth has no label.

    Args:
        rand_index: Rand index on all pixels.
        ari: Adjusted Rand index on all pixels, as in the organisers' notebook.
        ari_foreground: Adjusted Rand index on the pixels that truth labels; as the challenge may count it, so
            an image with a single label scores 1 or 0, see `fewct.metrics.foreground_ari`.
    """

    number: int
    rand_index: float
    ari: float
    ari_foreground: float


@dataclass(frozen=True, eq=False)
class ClassScores:
    """Dice by image and class, between two bounds where truth is partially annotated.

    Args:
        classes: The classes scored.
        upper: float64 (images, classes): a class that was not annotated on an image is NaN there.
        lower: The same, but such a class counts as empty, and a prediction of it as wrong. An image on
            which nothing was annotated is NaN in both.
    """

    classes: tuple[int, ...]
    upper: ValueMatrix
    lower: ValueMatrix

    @property
    def upper_by_class(self) -> Values:
        """Mean of `upper` over the images, float64 (classes,); NaN for a class on none of them."""
        return np.array([mean_defined(column) for column in self.upper.T])

    @property
    def lower_by_class(self) -> Values:
        """Mean of `lower` over the images, likewise."""
        return np.array([mean_defined(column) for column in self.lower.T])

    @property
    def mean_upper(self) -> float:
        """The upper bound of the challenge's metric: mean over images, then over classes."""
        return mean_class_dice(self.upper)

    @property
    def mean_lower(self) -> float:
        """The lower bound of the challenge's metric."""
        return mean_class_dice(self.lower)


@dataclass(frozen=True, eq=False)
class ChallengeScores:
    """The scores of a prediction.

    Args:
        images: One record an image, by number.
        dice: Scores by class, for the editions that have classes.
    """

    images: tuple[ImageScores, ...]
    dice: ClassScores | None

    @property
    def n_scored(self) -> int:
        """Number of images whose truth has labels; the means are over these."""
        return sum(not np.isnan(image.rand_index) for image in self.images)

    @property
    def mean(self) -> dict[str, float]:
        """Means of the three indices over the images whose truth has labels, by name."""
        rows = [asdict(image) for image in self.images]
        names = ("rand_index", "ari", "ari_foreground")
        return {name: mean_defined(np.array([row[name] for row in rows])) for name in names}

    def as_dict(self) -> dict[str, Any]:
        """Return all scores as plain dictionaries and lists; NaN for what is undefined."""
        everything: dict[str, Any] = {
            "n_scored": self.n_scored,
            "mean": self.mean,
            "images": [asdict(image) for image in self.images],
        }
        if self.dice is not None:
            everything["dice"] = {
                "classes": self.dice.classes,
                "mean_lower": self.dice.mean_lower,
                "mean_upper": self.dice.mean_upper,
                "lower": self.dice.lower.tolist(),
                "upper": self.dice.upper.tolist(),
            }
        return everything


def score_tables(
    truth: LabelTable,
    prediction: LabelTable,
    edition: Edition,
    annotated: Sequence[Sequence[int]] | None = None,
) -> ChallengeScores:
    """Score a prediction as the challenge does.

    Which pixels the challenge's server counts for the adjusted Rand index is unresolved, so both metrics
    are given. An image without any label in truth is unlabelled, not empty: it is left out.

    Args:
        truth: The true labels.
        prediction: Labels of the same images.
        edition: Tells the size of the images; one with classes adds the Dice of each.
        annotated: For each image number the classes that were annotated, as `read_annotated` returns
            them; None where all were.

    Returns:
        Scores by image, by class, and their means.

    Raises:
        InputError: If the tables hold other images, or another size than the edition's, or if `annotated`
            does not reach to the last image.
    """
    _check_alike(truth, prediction, edition.side)
    if annotated is not None and len(annotated) <= truth.numbers[-1]:
        raise InputError(
            "annotated labels",
            expected=f"an entry for each image up to {truth.numbers[-1]}.png",
            found=f"{len(annotated)} entries",
            fix="Use the annotated_labels.json that belongs to this truth.",
        )
    classes = tuple(range(1, (edition.n_classes or 0) + 1))
    images, upper, lower = [], [], []
    for number, true, predicted in zip(truth.numbers, truth.labels, prediction.labels, strict=True):
        table = contingency(true, predicted)
        if true.any():
            both = rand_index(table), adjusted_rand_index(table)
            images.append(ImageScores(number, *both, adjusted_rand_index(table, foreground_only=True)))
        else:
            images.append(ImageScores(number, np.nan, np.nan, np.nan))
        known = None if annotated is None else annotated[number]
        upper.append(class_dice(table, classes=classes, annotated=known))
        seen = classes if known is None or known else ()
        lower.append(class_dice(table, classes=classes, annotated=seen))
    dice = ClassScores(classes, np.array(upper), np.array(lower)) if classes else None
    return ChallengeScores(tuple(images), dice)


def read_annotated(path: Path) -> tuple[tuple[int, ...], ...]:
    """Read `annotated_labels.json`: for each image, from 0.png on, the classes that were annotated.

    An image that nobody annotated has an empty entry.

    Raises:
        InputError: If the file is no list of lists of class numbers.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(path, expected="a JSON file", found=str(error), fix="Check the file.") from error
    if not isinstance(content, list) or not all(
        isinstance(entry, list) and all(type(label) is int for label in entry) for entry in content
    ):
        raise InputError(
            path,
            expected="a list with one list of class numbers an image",
            found="something else",
            fix="Use the annotated_labels.json of the challenge.",
        )
    return tuple(tuple(entry) for entry in content)


def _check_alike(truth: LabelTable, prediction: LabelTable, side: int) -> None:
    """Raise unless two tables label the same images, in the edition's size."""
    if truth.numbers != prediction.numbers:
        missing = sorted(set(truth.numbers) - set(prediction.numbers))
        extra = sorted(set(prediction.numbers) - set(truth.numbers))
        which = f"{missing[0]}.png is missing" if missing else f"{extra[0]}.png has no truth"
        raise InputError(
            "prediction",
            expected=f"the {len(truth.numbers)} images of the truth",
            found=f"{len(prediction.numbers)} images; {which}",
            fix="Predict the images that the truth labels, no more and no fewer.",
        )
    for name, table in (("truth", truth), ("prediction", prediction)):
        rows, columns = table.labels.shape[1:]
        if (rows, columns) != (side, side):
            raise InputError(
                name,
                expected=f"label maps of {side} x {side} pixels, as the edition's images",
                found=f"{rows} x {columns}",
                fix="Check the edition, and that label maps stand on the pixel grid of the images.",
            )
