"""What all methods share: registry, configuration, odd slices, one result for one input."""

import json
import subprocess
import sys
from dataclasses import asdict, fields
from types import NoneType, UnionType
from typing import Literal, Union, get_args, get_origin

import numpy as np
import pytest

import fewct
from fewct.errors import UsageError
from fewct.methods import METHODS, get_method
from fewct.types import CTSlice, Geometry

READY = [name for name in METHODS if name not in ("unet", "bam")]  # which need weights
QUICK = {"everything": {"points_per_side": 4}}
NOISE = np.random.default_rng(0).normal(0, 100, (48, 48))
ODD_SLICES = {
    "one pixel": np.zeros((1, 1)),
    "one row": NOISE[:1],
    "8 x 8": NOISE[:8, :8],
    "constant": np.full((40, 40), 50.0),
    "air": np.full((64, 64), -1000.0),
    "nothing but padding": np.full((20, 20), np.nan),
    "half padding": np.where(np.arange(48) < 20, np.nan, NOISE),
    "noise": NOISE,
}


def is_union(kind):
    return get_origin(kind) in (Union, UnionType)


@pytest.fixture(params=READY)
def method(request):
    return METHODS[request.param](**QUICK.get(request.param, {}))


def test_names():
    assert list(METHODS) == [
        "mosaic",
        "watershed",
        "felzenszwalb",
        "unet",
        "bam",
        "everything",
        "boxes",
    ]
    assert all(get_method(name) is method and method.name == name for name, method in METHODS.items())


def test_unknown_method():
    with pytest.raises(
        UsageError,
        match=r"one of mosaic, watershed, felzenszwalb, unet, bam, everything, boxes, found 'net'",
    ):
        get_method("net")


def test_configuration_survives_json(method):
    settings = json.loads(json.dumps(asdict(method)))
    settings["cleanup"] = type(method.cleanup)(**settings["cleanup"])
    assert type(method)(**settings) == method


def test_settings_have_defaults_and_simple_types(method):
    kinds = {field.type for field in fields(method)}
    options = {option for kind in kinds for option in (get_args(kind) if is_union(kind) else (kind,))}
    others = {option for option in options if get_origin(option) is not Literal}
    assert others <= {float, int, bool, str, NoneType, type(method.cleanup)}


def test_configuration_loads_nothing_heavy():
    code = "import sys, fewct.methods; print(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "fewct" in loaded
    assert not {"scipy", "skimage", "matplotlib", "onnxruntime", "torch"} & set(loaded)


@pytest.mark.parametrize("unit", ["hu", "grey"])
@pytest.mark.parametrize("name", ODD_SLICES)
def test_odd_slices(method, name, unit):
    image = CTSlice(ODD_SLICES[name], unit)
    found = method.load().segment(image)
    n = found.labels.max()
    assert found.labels.shape == image.shape
    assert found.labels.dtype == np.int32
    assert set(np.unique(found.labels)) - {0} == set(range(1, n + 1))
    assert found.scores.shape == (n,)
    assert found.scores.dtype == np.float32


def test_same_slice_same_result(method):
    image = CTSlice(NOISE, "hu", Geometry.from_spacing((1.0, 2.0, 2.0)))
    first, second = method.load().segment(image), method.load().segment(image)
    np.testing.assert_array_equal(first.labels, second.labels)
    np.testing.assert_array_equal(first.scores, second.scores)


def test_slice_stays_as_it_was(method):
    image = CTSlice(NOISE, "hu")
    method.load().segment(image)
    np.testing.assert_array_equal(image.pixels, NOISE.astype(np.float32))


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("mosaic", "boundary_source"),
        ("unet", "instances"),
        ("bam", "fill_with"),
        ("everything", "precision"),
        ("everything", "merge"),
        ("boxes", "normalization"),
    ],
)
def test_choices_are_checked(name: str, setting: str) -> None:
    with pytest.raises(UsageError, match=f"{setting}: expected one of .*, found 'x'"):
        get_method(name)(**{setting: "x"})


@pytest.mark.parametrize("method", [METHODS["watershed"], None, 5])
def test_what_is_no_method(method: object) -> None:
    with pytest.raises(UsageError, match="method: expected a name, settings such as"):
        fewct.segment(NOISE, method)
