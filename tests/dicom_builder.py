"""Small synthetic DICOM files for tests, written with pydicom alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    generate_uid,
)

AXIAL = [1, 0, 0, 0, 1, 0]


def ramp(rows: int = 6, columns: int = 5, start: int = 0) -> np.ndarray:
    """Return a slice whose stored values all differ."""
    return np.arange(start, start + rows * columns, dtype=np.int16).reshape(rows, columns)


def ct_dataset(stored: np.ndarray, sop_class: str = CTImageStorage) -> FileDataset:
    """Return a CT image without a place in the patient, from (rows, columns) or (frames, rows, columns)."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = sop_class
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID = "1.2.3.4"
    dataset.SeriesInstanceUID = "1.2.3.4.5"
    dataset.FrameOfReferenceUID = "1.2.3.4.6"
    dataset.Modality = "CT"
    dataset.SeriesDescription = "Chest 5.0"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.PatientID = "P1"
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = stored.shape[-2:]
    dataset.BitsAllocated = dataset.BitsStored = 8 * stored.dtype.itemsize
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(stored.dtype.kind == "i")
    dataset.PixelData = stored.tobytes()
    return dataset


def write_ct(
    path: Path, stored: np.ndarray, position: Sequence[float] | None = (0, 0, 0), **changes: Any
) -> Path:
    """Write a classic CT image of 0.8 x 0.7 mm pixels; a change of None leaves the attribute out."""
    dataset = ct_dataset(stored)
    dataset.PixelSpacing = [0.8, 0.7]
    dataset.SliceThickness = 5
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
    dataset.ImageOrientationPatient = AXIAL
    if position is not None:
        dataset.ImagePositionPatient = [float(value) for value in position]
    for keyword, value in changes.items():
        if value is not None:
            setattr(dataset, keyword, value)
        elif keyword in dataset:
            delattr(dataset, keyword)
    dataset.save_as(path, enforce_file_format=True)
    return path


def write_series(folder: Path, heights: Sequence[float], **changes: Any) -> list[Path]:
    """Write axial slices at some heights; slice `k` holds `ramp(start=100 * k)`, file names run backwards."""
    folder.mkdir(parents=True, exist_ok=True)
    return [
        write_ct(
            folder / f"{len(heights) - k:03d}.dcm",
            ramp(start=100 * k),
            (-10, -20, height),
            **{"InstanceNumber": k + 1, **changes},
        )
        for k, height in enumerate(heights)
    ]


def item(**attributes: Any) -> Dataset:
    """Return a data set of some attributes."""
    dataset = Dataset()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def write_enhanced(
    path: Path, stored: np.ndarray, heights: Sequence[float], intercepts: Sequence[float], **changes: Any
) -> Path:
    """Write an enhanced CT whose frames have a height and a rescale intercept each."""
    dataset = ct_dataset(stored, EnhancedCTImageStorage)
    dataset.NumberOfFrames = len(stored)
    measures = item(PixelSpacing=[0.8, 0.7], SliceThickness=2.5)
    dataset.SharedFunctionalGroupsSequence = Items(
        [
            item(
                PixelMeasuresSequence=Items([measures]),
                PlaneOrientationSequence=Items([item(ImageOrientationPatient=AXIAL)]),
            )
        ]
    )
    dataset.PerFrameFunctionalGroupsSequence = Items(
        [
            item(
                PlanePositionSequence=Items([item(ImagePositionPatient=[-10.0, -20.0, float(height)])]),
                PixelValueTransformationSequence=Items(
                    [item(RescaleSlope=2, RescaleIntercept=intercept, RescaleType="HU")]
                ),
            )
            for height, intercept in zip(heights, intercepts, strict=True)
        ]
    )
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    dataset.save_as(path, enforce_file_format=True)
    return path
