"""Files damaged at random: each is either read or refused with an error that names it."""

import logging
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK
from PIL import Image

from fewct.errors import FewctError
from fewct.io import read, read_labels
from fewct.types import CTVolume

NAMES = [
    *("a.png", "a16.png", "a.jpg", "a.bmp", "a.tif", "lzw.tif", "deflate.tif"),
    *("v.nii", "v.nii.gz", "v2.nii", "v.nrrd", "v.mha", "v.npy", "v.npz"),
]


def save(file: Path) -> None:
    """Write a small file of the kind that its name says."""
    rng = np.random.default_rng(1)
    grey = rng.integers(0, 255, (20, 24)).astype(np.uint8)
    scan = rng.integers(-1000, 1000, (5, 6, 7)).astype(np.int16)
    if file.name == "a16.png":
        Image.fromarray(grey * np.uint16(200)).save(file)
    elif file.suffix == ".tif":
        compression = {"a": None, "lzw": "tiff_lzw", "deflate": "tiff_deflate"}[file.stem]
        Image.fromarray(grey).save(file, compression=compression)
    elif file.stem == "a":
        Image.fromarray(grey).save(file)
    elif ".nii" in file.suffixes:
        kind = nib.Nifti2Image if file.name == "v2.nii" else nib.Nifti1Image
        kind(scan, np.eye(4)).to_filename(file)
    elif file.suffix == ".npy":
        np.save(file, scan)
    elif file.suffix == ".npz":
        np.savez_compressed(file, image=scan)
    else:
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(scan), str(file), useCompression=True)


@pytest.mark.parametrize("name", NAMES)
def test_damaged_files(tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    file = tmp_path / name
    save(file)
    content = file.read_bytes()
    rng = np.random.default_rng(2)
    messages = []
    for _ in range(60):
        damaged = bytearray(content)
        for place in rng.integers(0, min(len(content), 500), 3):
            damaged[place] = rng.integers(256)
        file.write_bytes(damaged)
        for opened in (read, read_labels):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    image = opened(file)
                    if isinstance(image, CTVolume):
                        list(image)
            except FewctError as error:
                messages.append(str(error))
    assert messages
    assert all(message.startswith(f"{file}: expected") for message in messages)
