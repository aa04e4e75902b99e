"""What `import fewct` offers."""

import subprocess
import sys

import pytest

import fewct


def test_public_names_are_there() -> None:
    for name in dir(fewct):
        assert getattr(fewct, name) is not None
    assert fewct.segment.__module__ == "fewct.segmentation"
    assert fewct.metrics.__name__ == "fewct.metrics"


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'fewct' has no attribute 'segmnt'"):
        _ = fewct.segmnt


@pytest.mark.parametrize("module", ["fewct", "fewct.cli"])
def test_importing_stays_light(module: str) -> None:
    heavy = ["scipy", "skimage", "pydicom", "matplotlib", "nibabel", "torch"]
    script = f"import sys, {module}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
