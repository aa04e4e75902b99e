"""Random search over the settings of methods, cross-fitted: the tuned rows of methods_table.py.

All methods get the same search: the same slices, the same number of tries, the same `aim`. The first try is
the settings begun with; `NAMED` ones come on top. A data set is parted in two folds, by patient, or where
there is a single one into the halves of the scan; the slices of a fold are judged with the settings that were
best on the other.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from fewct.adapt.settings_search import SLICE_METRICS, objective
from fewct.data.cases import LabelledCase, group_cases
from fewct.methods import Felzenszwalb, Method, Mosaic, Watershed
from fewct.methods.mosaic.inference import MosaicSegmenter
from fewct.methods.mosaic.maps import Maps
from fewct.methods.mosaic.preprocessing import Neighbour
from fewct.metrics import score
from fewct.types import CTSlice, Labels, Mask
from threshold import Threshold

GRADIENTS = "mosaic:boundary_source=gradients,level=0.15"
Settings = Mapping[str, Any]
Draw = Callable[[np.random.Generator], Any]
Tried = Annotated[NDArray[np.float64], "tries slices metrics"]


def choice(*values: Any) -> Draw:
    """Draw one of some values."""
    return lambda rng: values[int(rng.integers(len(values)))]


def uniform(low: float, high: float) -> Draw:
    """Draw a number between two, of three digits."""
    return lambda rng: float(f"{rng.uniform(low, high):.3g}")


def log_uniform(low: float, high: float) -> Draw:
    """Draw a number between two, each order of magnitude alike, of three digits."""
    return lambda rng: float(f"{np.exp(rng.uniform(np.log(low), np.log(high))):.3g}")


def whole(draw: Draw) -> Draw:
    """Draw a whole number."""
    return lambda rng: round(draw(rng))


def greys(rng: np.random.Generator) -> tuple[int, ...]:
    """Draw one to four thresholds in rising order, or half of the time none."""
    count = int(rng.integers(2)) * int(rng.integers(1, 5))
    return tuple(sorted(rng.choice(np.arange(20, 250, 5), count, replace=False).tolist()))


AREAS: Mapping[str, Draw] = {
    "min_area": choice("0px", "0.01%", "0.03%", "0.1%", "0.3%"),
    "max_area": choice(None, "40%", "20%"),
    "body_only": choice(False, True),
}
OF_MOSAIC: Mapping[str, Draw] = {
    "minima_depth": log_uniform(0.02, 0.3),
    "min_region_mm2": log_uniform(5, 80),
    "min_foreground": uniform(0, 0.95),
}
SEARCHED: Mapping[str, tuple[Any, Mapping[str, Draw]]] = {
    "mosaic": (
        Mosaic(),
        {
            "level": uniform(0.1, 0.85),
            "affinity_weight": uniform(0, 1),
            "foreground_threshold": uniform(0.3, 0.85),
            **OF_MOSAIC,
        },
    ),
    GRADIENTS: (
        Mosaic(boundary_source="gradients", level=0.15),
        {"level": uniform(0.05, 0.5), **OF_MOSAIC},
    ),
    "watershed": (
        Watershed(),
        {
            "median_radius_px": choice(0, 1, 2, 3, 4),
            "flat_radius_px": choice(1, 2, 3, 4, 5, 6),
            "flat_range": whole(log_uniform(5, 60)),
            "compactness": choice(0.0, 1e-5, 1e-4, 1e-3),
        },
    ),
    "felzenszwalb": (
        Felzenszwalb(),
        {
            "scale": log_uniform(10, 400),
            "sigma": uniform(0.4, 2),
            "min_size_px": whole(log_uniform(20, 300)),
        },
    ),
    "threshold": (
        Threshold(),
        {
            "thresholds": greys,
            "otsu_classes": choice(2, 3, 4),
            "sigma": uniform(0, 2.5),
            "opening_radius_px": choice(0, 1, 2, 3, 4),
        },
    ),
}
"""By name: the settings begun with, and how each setting is drawn; areas and body are drawn for all."""


NAMED: Mapping[str, tuple[Settings, ...]] = {
    "watershed": ({"flat_radius_px": 2},),
    "felzenszwalb": tuple({"scale": scale, "sigma": 0.8, "min_size_px": 50} for scale in (25.0, 50.0)),
}
"""Settings that others found good on these slices: yardsticks get them as further tries."""


def draw_settings(name: str, tries: int, seed: int) -> list[Settings]:
    """Return what the tries of a method change; the first changes nothing, the last are `NAMED`."""
    rng = np.random.default_rng(seed)
    drawn = SEARCHED[name][1] | AREAS
    random = [{key: draw(rng) for key, draw in drawn.items()} for _ in range(tries - 1)]
    return [{}, *random, *NAMED.get(name, ())]


def changed(name: str, settings: Settings) -> Method:
    """Return a method with some settings changed."""
    base = SEARCHED[name][0]
    areas = {key: value for key, value in settings.items() if key in AREAS}
    others = {key: value for key, value in settings.items() if key not in AREAS}
    method: Method = replace(base, cleanup=replace(base.cleanup, **areas), **others)
    return method


def in_words(settings: Settings) -> str:
    """Return settings as text; "defaults" for none.

    Example:
        >>> in_words({"scale": 40.0, "max_area": "20%"})
        'scale=40.0, max_area=20%'
    """
    return ", ".join(f"{key}={value}" for key, value in settings.items()) or "defaults"


@dataclass(frozen=True, eq=False)
class MosaicOfKnownMaps(MosaicSegmenter):
    """`mosaic` that keeps the maps of each slice, which no searched setting changes."""

    known: dict[CTSlice, Maps] = field(default_factory=dict)

    def maps_of(
        self, image: CTSlice, body: Mask, above: Neighbour | None = None, below: Neighbour | None = None
    ) -> Maps:
        """Return the maps of a slice, computed at the first call."""
        if image not in self.known:
            self.known[image] = super().maps_of(image, body, above, below)
        return self.known[image]


class Tuning:
    """The tries on some data sets, each kept in a file as soon as it is measured.

    Args:
        cases: The slices by data set.
        log: JSON lines that hold earlier tries; new ones are added.
        tries: Number of tries a method.
        seed: Of the drawing.
    """

    def __init__(
        self, cases: Mapping[str, Sequence[LabelledCase]], log: Path, tries: int, seed: int = 0
    ) -> None:
        self.cases, self.log, self.tries, self.seed = cases, log, tries, seed
        self.known: dict[tuple[str, str, str], list[list[float]]] = {}
        self.maps: dict[str, dict[CTSlice, Maps]] = {name: {} for name in SEARCHED}
        for line in log.read_text(encoding="utf-8").splitlines() if log.exists() else ():
            entry = json.loads(line)
            self.known[entry["data"], entry["method"], entry["settings"]] = entry["metrics"]

    def settings(self, name: str) -> list[Settings]:
        """Return the settings of all tries of a method."""
        return draw_settings(name, self.tries, self.seed)

    def run(self, names: Sequence[str]) -> None:
        """Measure the tries that are missing."""
        for name in names:
            for settings in self.settings(name):
                for data, cases in self.cases.items():
                    key = (data, name, in_words(settings))
                    if key not in self.known:
                        self._add(key, list(self._measured(name, settings, cases)))

    def values(self, data: str, name: str) -> Tried:
        """Return `SLICE_METRICS` of each try on each slice."""
        return np.array([self.known[data, name, in_words(one)] for one in self.settings(name)])

    def _measured(
        self, name: str, settings: Settings, cases: Sequence[LabelledCase]
    ) -> Iterator[list[float]]:
        find = self._finder(name, changed(name, settings))
        for case in cases:
            scores = score(case.truth, find(case.image)).as_dict()
            yield [scores[metric] for metric in SLICE_METRICS]

    def _finder(self, name: str, method: Method) -> Callable[[CTSlice], Labels]:
        segmenter = method.load()
        if isinstance(segmenter, MosaicSegmenter):
            segmenter = MosaicOfKnownMaps(segmenter.method, segmenter.network, self.maps[name])
        return lambda image: segmenter.segment(image).labels

    def _add(self, key: tuple[str, str, str], metrics: list[list[float]]) -> None:
        entry = dict(zip(("data", "method", "settings"), key, strict=True)) | {"metrics": metrics}
        with self.log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        self.known[key] = metrics


def folds_of(cases: Sequence[LabelledCase]) -> list[tuple[str, list[int]]]:
    """Return name and slices of the two folds of a data set.

    Every second patient, in the order of their names, is in the first fold; the slices of a single patient
    are cut in the middle.
    """
    groups, _ = group_cases(cases)
    names = sorted(set(groups))
    if len(names) == 1:
        middle = len(cases) // 2
        return [("first half", list(range(middle))), ("second half", list(range(middle, len(cases))))]
    return [
        ("patients " + " ".join(part), [k for k, group in enumerate(groups) if group in part])
        for part in (names[0::2], names[1::2])
    ]


def best_try(values: Tried, slices: Sequence[int]) -> int:
    """Return the number of the try with the highest mean `aim` over some slices; the first of equals."""
    return int(np.argmax(np.nanmean(aim(values[:, slices]), axis=1)))


def aim(values: Tried) -> Annotated[NDArray[np.float64], "tries slices"]:
    """Return what settings are chosen by: the mean of foreground ARI and mean best IoU.

    It is what `fewct adapt` chooses by where truth is partial. Where truth is complete, too, yardsticks that
    give every pixel a structure need not pay for the background with the metrics that they are compared by.
    """
    return objective(values, "partial")
