"""What `import fewct` offers."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.data import get_testdata_file

import fewct


def test_public_names_are_there() -> None:
    for name in dir(fewct):
        assert getattr(fewct, name) is not None
    assert fewct.segment.__module__ == "fewct.segmentation"
    assert fewct.metrics.__name__ == "fewct.metrics"


def test_the_list_of_public_names_is_the_stub() -> None:
    stub = Path(fewct.__file__).with_suffix(".pyi").read_text()
    names = set(re.findall(r" as (\w+)$", stub, flags=re.MULTILINE))
    assert set(dir(fewct)) == names
    assert {"BAM", "CTSlice", "LabelMap", "Predictor", "segment_files", "METHODS", "InputError"} <= names


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="No fewct attribute segmnt"):
        _ = fewct.segmnt


@pytest.mark.parametrize("module", ["fewct", "fewct.cli"])
def test_importing_stays_light(module: str) -> None:
    heavy = ["scipy", "skimage", "pydicom", "matplotlib", "nibabel", "torch"]
    script = f"import sys, {module}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_reading_and_writing_import_only_the_libraries_of_the_format(tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (16, 16)).astype(np.uint8)
    Image.fromarray(grey).save(tmp_path / "a.png")
    ct, png, out = get_testdata_file("CT_small.dcm"), str(tmp_path / "a.png"), str(tmp_path / "b.png")
    libraries = ["highdicom", "matplotlib", "nibabel", "scipy", "skimage", "tifffile", "SimpleITK"]
    for statement, more in (
        (f"fewct.read({png!r})", ["pydicom"]),
        (f"fewct.write(fewct.types.LabelMap(numpy.eye(9, dtype='i4')), {out!r})", ["pydicom"]),
        (f"fewct.read({ct!r})", []),
    ):
        script = f"import sys, numpy, fewct, fewct.types; {statement}; print(*sys.modules)"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        assert not {*libraries, *more} & set(done.stdout.split())
