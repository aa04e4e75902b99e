"""Errors that tell their reader what to do, and checks for arrays that come from outside.

Every error names four things: the input, what was expected, what was found, and the way out.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from functools import partial
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import numpy as np
from numpy.typing import NDArray


class FewctError(Exception):
    """Something a user can mend; the base of all errors that fewct raises on purpose.

    Args:
        subject: The input at fault: a file, an argument, an option.
        expected: What was expected of it.
        found: What was found instead.
        fix: What the user can do, as a sentence.

    Example:
        >>> print(FewctError("slice.png", expected="a grey image", found="3 colours", fix="Convert it."))
        slice.png: expected a grey image, found 3 colours. Convert it.
    """

    def __init__(self, subject: object, *, expected: str, found: str, fix: str) -> None:
        self.subject = str(subject)
        self.expected = expected
        self.found = found
        self.fix = fix
        super().__init__(f"{subject}: expected {expected}, found {found}. {fix}")

    def __reduce__(self) -> tuple[Any, ...]:
        """Tell pickle how to make the error again, so that it can come from a worker process."""
        parts = {"expected": self.expected, "found": self.found, "fix": self.fix}
        return partial(type(self), **parts), (self.subject,)


class InputError(FewctError):
    """A file or an array that cannot be used as it is."""


class OutputError(FewctError):
    """A result that could not be written; nothing partial is left behind."""


class UsageError(FewctError):
    """An option or argument out of its range, or two that contradict each other."""


class MissingExtraError(FewctError):
    """A feature whose optional dependency is not installed."""


class FewctWarning(UserWarning):
    """Something a user should know about an input that was used all the same."""


@contextmanager
def output_errors(
    subject: object,
    *,
    expected: str = "a folder that can be written",
    fix: str = "Choose another one with --out.",
) -> Iterator[None]:
    """Turn errors of the system inside the block, such as a full disk, into `OutputError`.

    Raises:
        OutputError: If the block raises OSError.
    """
    try:
        yield
    except OSError as error:
        found = (error.strerror or str(error)).lower()
        raise OutputError(subject, expected=expected, found=found, fix=fix) from error


@contextmanager
def needs_extra(subject: object, extra: str) -> Iterator[None]:
    """Say how to install what an import inside the block lacks.

    Args:
        subject: What needs it: a file, a command, an option.
        extra: The extra of fewct that brings it.

    Raises:
        MissingExtraError: If a package is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            subject,
            expected=f"the package {(error.name or extra).partition('.')[0]}",
            found=str(error),
            fix=f"Install it: pip install 'fewct[{extra}]'",
        ) from error


def check_range(
    name: str,
    value: float,
    low: float = 0,
    high: float = math.inf,
    *,
    fix: str = "Leave it out for the default.",
) -> None:
    """Raise unless a number is finite and lies in [low, high].

    Raises:
        UsageError: If it does not, or is NaN.

    Example:
        >>> check_range("level", 1.5, 0, 1)
        Traceback (most recent call last):
        fewct.errors.UsageError: level: expected a number in [0, 1], found 1.5. Leave it out for the default.
    """
    if not (low <= value <= high and math.isfinite(value)):
        expected = f"{low} or more" if high == math.inf else f"a number in [{low}, {high}]"
        raise UsageError(name, expected=expected, found=f"{value}", fix=fix)


def check_choice(
    name: str, value: object, choices: Iterable[object], *, fix: str = "Choose one of these."
) -> None:
    """Raise unless a value is one of some choices.

    Raises:
        UsageError: If it is not.

    Example:
        >>> check_choice("mode", "quick", ("fast", "exact"))
        Traceback (most recent call last):
        fewct.errors.UsageError: mode: expected one of fast, exact, found 'quick'. Choose one of these.
    """
    if value not in choices:
        expected = f"one of {', '.join(map(str, choices))}"
        raise UsageError(name, expected=expected, found=repr(value), fix=fix)


def check_literals(settings: Any) -> None:
    """Raise unless each field of a dataclass that a `Literal` types, or None, has one of its values.

    Raises:
        UsageError: If one has not.
    """
    for column in fields(settings):
        kinds = get_args(column.type) if get_origin(column.type) in (Union, UnionType) else (column.type,)
        if all(kind is NoneType or get_origin(kind) is Literal for kind in kinds):
            choices = [value for kind in kinds for value in (get_args(kind) or (None,))]
            check_choice(column.name, getattr(settings, column.name), choices)


def check_image(pixels: NDArray[Any], name: str = "pixels") -> None:
    """Raise unless `pixels` is a non-empty array (rows, columns) of real numbers; messages call it `name`.

    Raises:
        InputError: For another dimension, an empty array, or values that are not real numbers.
    """
    if pixels.ndim != 2 or pixels.size == 0:
        raise InputError(
            name,
            expected="a non-empty array (rows, columns)",
            found=f"shape {pixels.shape}",
            fix="Pass one slice at a time.",
        )
    if pixels.dtype.kind not in "uif":
        raise InputError(
            name, expected="real numbers", found=f"dtype {pixels.dtype}", fix="Convert it to float32 first."
        )


def as_labels(labels: NDArray[Any], name: str = "labels") -> NDArray[np.int32]:
    """Return a label map, (rows, columns) or (slices, rows, columns), as int32; messages call it `name`.

    Returns:
        The same labels as int32, the type label maps have in memory; the array itself if it has that type.

    Raises:
        InputError: For another dimension, an empty array, values that are not integers, negative ones, or one
            that exceeds int32.
    """
    if labels.ndim not in (2, 3) or labels.size == 0:
        raise InputError(
            name,
            expected="a non-empty label map (rows, columns) or (slices, rows, columns)",
            found=f"shape {labels.shape}",
            fix="Pass the label map of one slice or one scan.",
        )
    if labels.dtype.kind not in "uib":
        raise InputError(
            name,
            expected="integer labels, 0 for background",
            found=f"dtype {labels.dtype}",
            fix="Round the values and convert them to int32.",
        )
    if labels.dtype.kind == "i" and int(labels.min()) < 0:
        raise InputError(
            name,
            expected="labels of 0 (background) or more",
            found=f"a smallest label of {int(labels.min())}",
            fix="Set unknown pixels to 0.",
        )
    if labels.dtype == np.int32:
        return labels
    largest = int(labels.max())
    if largest > np.iinfo(np.int32).max:
        raise InputError(
            name,
            expected="labels up to 2147483647",
            found=f"a largest label of {largest}",
            fix="Number the structures from 1 upwards.",
        )
    return labels.astype(np.int32)


def check_same_shape(first: NDArray[Any], second: NDArray[Any], names: Sequence[str]) -> None:
    """Raise unless two arrays have the same shape; the message calls them by their names.

    Raises:
        InputError: If the shapes differ.
    """
    if first.shape != second.shape:
        raise InputError(
            f"{names[0]} and {names[1]}",
            expected="arrays of the same shape",
            found=f"{first.shape} and {second.shape}",
            fix="Compare two results on the same pixel grid.",
        )


def as_slice_labels(labels: NDArray[Any], name: str = "labels") -> NDArray[np.int32]:
    """Return the label map of one slice, (rows, columns), as `as_labels` does.

    Raises:
        InputError: If it is no label map, or has slices.
    """
    checked = as_labels(labels, name)
    if checked.ndim != 2:
        raise InputError(
            name,
            expected="a label map (rows, columns)",
            found=f"shape {checked.shape}",
            fix="Pass one slice at a time.",
        )
    return checked
