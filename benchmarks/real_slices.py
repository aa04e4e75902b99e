"""Labelled slices of real CT, one after the other, for benchmarks that run methods themselves."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fewct.imaging.labelmap import place_on_grid
from fewct.io import read, read_labels
from fewct.types import CTSlice, CTVolume

Pairs = Iterator[tuple[CTSlice, NDArray[np.integer]]]


def abdomen_series(data: Path, step: int) -> Pairs:
    """Give every n-th slice of the abdominal series with its truth, the output of TotalSegmentator."""
    scan = read(data / "abdomen_series" / "dicom")
    if not isinstance(scan, CTVolume):
        raise TypeError("abdomen_series is a single slice")
    labels = read_labels(data / "abdomen_series" / "labels.nii.gz")
    truth = place_on_grid(labels, scan.geometry, scan.shape)
    return ((scan[k], truth[k]) for k in range(0, len(scan), step))


def btcv_val(data: Path, image: str, label: str, step: int) -> Pairs:
    """Give every n-th slice of each patient of val, of one of the packed images with one of the labels."""
    for path in sorted((data / "btcv" / "val").glob("*.npz")):
        with np.load(path) as patient:
            if image in patient:
                for grey, truth in zip(patient[image][::step], patient[label][::step], strict=True):
                    yield CTSlice(grey, "grey"), truth
