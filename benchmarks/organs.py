"""Best IoU of each organ on the patients of val, for benchmarks that ask about single organs."""

import os
import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from fewct.data.cases import LabelledCase, parse_data, read_cases
from fewct.errors import FewctWarning
from fewct.methods import Method
from fewct.metrics.bootstrap import cluster_means
from fewct.metrics.contingency import contingency
from fewct.metrics.overlap import best_iou

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
ANNOTATED = (1, 2, 3, 4, 6, 7, 8, 11)  # on all slices of BTCV; the other five organs on some
STEP = 6  # every n-th labelled slice of val


@dataclass(frozen=True)
class OrganScore:
    """How well the best structure fits one organ on one slice."""

    patient: str
    organ: int
    iou: float


def val_cases(step: int = STEP) -> list[LabelledCase]:
    """Return labelled slices of val, and all its slices of weak contrast."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FewctWarning)  # two patients have no slices of weak contrast
        return [
            *read_cases(parse_data(f"{DATA}/btcv/val", "partial", step)),
            *read_cases(parse_data(f"{DATA}/btcv/val:dense", "partial", 1)),
        ]


def organ_scores(method: Method, cases: Sequence[LabelledCase]) -> list[OrganScore]:
    """Segment all cases on all cores, and return the best IoU of each organ on each."""
    with ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn")) as pool:
        found = pool.map(_scores_of_case, [method] * len(cases), cases, chunksize=4)
        return [score for scores in found for score in scores]


def _scores_of_case(method: Method, case: LabelledCase) -> list[OrganScore]:
    os.environ["FEWCT_NUM_THREADS"] = "1"
    table = contingency(case.truth, method.load().segment(case.image).labels)
    organs = table.true_ids[table.true_ids > 0].tolist()
    ious = best_iou(table).tolist()
    return [OrganScore(f"{case.patient}", organ, iou) for organ, iou in zip(organs, ious, strict=True)]


def mean_and_interval(scores: Sequence[OrganScore], organs: Iterable[int]) -> tuple[float, float, float]:
    """Return the mean best IoU of some organs, and the ends of its 95 % interval over patients."""
    wanted = set(organs)
    values = np.array([[[score.iou] for score in scores if score.organ in wanted]])
    patients = [score.patient for score in scores if score.organ in wanted]
    means, intervals, _ = cluster_means(values, patients)
    return means[0, 0], intervals[0, 0, 0], intervals[1, 0, 0]
