"""Errors name the input, what was expected, what was found and the way out."""

import errno
import importlib
import math
import re

import numpy as np
import pytest

from fewct.errors import (
    InputError,
    MissingExtraError,
    OutputError,
    UsageError,
    as_labels,
    as_slice_labels,
    check_image,
    check_range,
    check_same_shape,
    needs_extra,
    output_errors,
)


def test_message_has_four_parts() -> None:
    error = InputError("scan.nii", expected="3 dimensions", found="4", fix="Pick one phase.")
    assert str(error) == "scan.nii: expected 3 dimensions, found 4. Pick one phase."
    assert (error.subject, error.expected, error.found, error.fix) == (
        "scan.nii",
        "3 dimensions",
        "4",
        "Pick one phase.",
    )


@pytest.mark.parametrize(
    ("value", "limits", "message"),
    [
        (1.5, (0, 1), "size: expected a number in [0, 1], found 1.5. Leave it out for the default."),
        (-1, (), "size: expected 0 or more, found -1."),
        (0, (1,), "size: expected 1 or more, found 0."),
        (math.nan, (0, 1), "found nan."),
        (math.inf, (), "expected 0 or more, found inf."),
    ],
)
def test_ranges_are_checked(value: float, limits: tuple[float, ...], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        check_range("size", value, *limits)


def test_both_ends_of_a_range_belong_to_it() -> None:
    check_range("share", 0, 0, 1)
    check_range("share", 1, 0, 1)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros(4, int), r"expected a non-empty label map .* found shape \(4,\)"),
        (np.zeros((0, 2), int), r"found shape \(0, 2\)"),
        (np.zeros((2, 2)), "expected integer labels, 0 for background, found dtype float64"),
        (np.array([[-3, 1]]), "expected labels of 0 .* found a smallest label of -3"),
    ],
)
def test_labels_are_checked(labels: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        as_labels(labels)


def test_labels_become_int32_without_wrapping() -> None:
    labels = as_labels(np.array([[255, 256]], dtype=np.uint16))
    assert labels.dtype == np.int32
    assert labels.tolist() == [[255, 256]]
    assert as_labels(labels) is labels
    with pytest.raises(
        InputError, match="expected labels up to 2147483647, found a largest label of 4294967295"
    ):
        as_labels(np.array([[2**32 - 1]], dtype=np.uint32))


def test_image_is_checked() -> None:
    with pytest.raises(InputError, match=r"volume: expected a non-empty array \(rows, columns\)"):
        check_image(np.zeros((2, 2, 2)), "volume")
    with pytest.raises(InputError, match="expected real numbers, found dtype bool"):
        check_image(np.zeros((2, 2), bool))


def test_shapes_are_compared() -> None:
    with pytest.raises(
        InputError, match=r"a and b: expected arrays of the same shape, found \(2, 2\) and \(2, 3\)"
    ):
        check_same_shape(np.zeros((2, 2)), np.zeros((2, 3)), ("a", "b"))


def test_label_map_of_a_slice_has_two_dimensions() -> None:
    assert as_slice_labels(np.eye(2, dtype=np.uint8)).dtype == np.int32
    with pytest.raises(InputError, match=r"truth: expected a label map \(rows, columns\), found shape"):
        as_slice_labels(np.zeros((1, 2, 2), int), "truth")


def test_what_is_not_installed_names_its_extra() -> None:
    message = "in.nrrd: expected the package absent, found No module named 'absent'. Install it: pip install"
    with pytest.raises(MissingExtraError, match=message), needs_extra("in.nrrd", "itk"):
        importlib.import_module("absent.part")


def test_what_the_system_refuses_is_an_output_error() -> None:
    message = "out: expected a folder that can be written, found no space left on device. Choose another one"
    with pytest.raises(OutputError, match=message), output_errors("out"):
        raise OSError(errno.ENOSPC, "No space left on device")
