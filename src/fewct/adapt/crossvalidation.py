"""Cross-validation: settings chosen on some slices are scored on others, and gains are tested."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from fewct.adapt.settings_search import SLICE_METRICS, objective
from fewct.metrics.bootstrap import compare_with_first
from fewct.metrics.catalog import TruthKind

MEASURES = ("score", "low", "high", "gain", "gain_low", "gain_high")
UNCHANGED, TUNED, FINE_TUNED = "unchanged", "tuned settings", "fine-tuned network"
STEP_PRICE = 0.02
"""What one step away from the settings begun with must gain on one slice; on n slices it is n times less. Few
slices fit some odd setting by chance: the best of all, taken from 5 slices of one BTCV patient, loses 0.03
of foreground ARI on the others, and with this price nothing; see benchmarks/adapt.py."""
FEWEST = 5
"""Patients, or slices of a single patient, below which no gain is believed. Resampling n of them gives an
interval above 0 whenever all gains are above 0, which chance does once in 2^n times: 5 is the first n for
which that is less than once in 20."""


@dataclass(frozen=True)
class Candidate:
    """Scores of settings and network on slices that had no part in choosing or training them.

    Args:
        name: "unchanged", "tuned settings" or "fine-tuned network".
        score: Mean of the objective over the slices.
        low: Lower end of its 95 % interval; NaN where there is only one group to draw from.
        high: Its upper end.
        gain: Mean difference to "unchanged" on the same slices.
        gain_low: Lower end of its 95 % interval.
        gain_high: Its upper end.
        metrics: Mean of each metric in `SLICE_METRICS`, by name.
    """

    name: str
    score: float
    low: float
    high: float
    gain: float
    gain_low: float
    gain_high: float
    metrics: Mapping[str, float]


def choose(
    scores: Annotated[NDArray[np.float64], "slices settings"], steps: Annotated[NDArray[np.int64], "settings"]
) -> int:
    """Return the index of the setting with the best mean score, less a price for each step from the first.

    Args:
        scores: Objective of each setting on each slice.
        steps: See `SettingsGrid`.

    Example:
        >>> steps = np.array([0, 1, 5])
        >>> choose(np.array([[0.50, 0.51, 0.52]]), steps)
        0
        >>> choose(np.array([[0.50, 0.51, 0.52]] * 5), steps)
        1
    """
    return int(np.argmax(scores.mean(axis=0) - STEP_PRICE / len(scores) * steps))


def choose_leave_group_out(
    scores: Annotated[NDArray[np.float64], "slices settings"],
    steps: Annotated[NDArray[np.int64], "settings"],
    groups: Annotated[NDArray[np.int64], "slices"],
) -> Annotated[NDArray[np.int64], "slices"]:
    """Return for each slice the setting that is chosen on the slices of the other groups.

    With a single group nothing is left to choose on: each slice gets setting 0, the one begun with. See
    `choose` for scores and steps; `groups` numbers each slice's group.
    """
    choices = np.zeros(len(groups), dtype=np.int64)
    for group in np.unique(groups):
        others = groups != group
        if others.any():
            choices[~others] = choose(scores[others], steps)
    return choices


def compare(
    held_out: Mapping[str, Annotated[NDArray[np.float64], "slices metrics"]],
    groups: Annotated[NDArray[np.int64], "slices"],
    truth: TruthKind,
    seed: int,
) -> list[Candidate]:
    """Return means and gains over "unchanged", with intervals over resampled groups.

    Args:
        held_out: `SLICE_METRICS` of each slice by name of the candidate, "unchanged" first; nothing of a
            candidate was chosen or trained with the slice or its group.
        groups: Number of each slice's group.
        truth: Kind of truth.
        seed: Of the resampling.
    """
    metrics = np.stack(list(held_out.values()))
    values = np.concatenate([objective(metrics, truth)[..., None], metrics], axis=-1)
    compared, _ = compare_with_first(values, groups, seed)
    return [
        Candidate(
            name,
            **dict(zip(MEASURES, compared[:, k, 0].tolist(), strict=True)),
            metrics=dict(zip(SLICE_METRICS, compared[0, k, 1:].tolist(), strict=True)),
        )
        for k, name in enumerate(held_out)
    ]


def winner(candidates: Sequence[Candidate], n_groups: int) -> Candidate:
    """Return the candidate with the best score among those whose gain is proven, else the first.

    A gain is proven if its whole interval lies above 0, with `FEWEST` groups at least.
    """
    proven = [one for one in candidates[1:] if n_groups >= FEWEST and one.gain_low > 0]
    return max(proven, key=lambda one: one.score, default=candidates[0])
