"""ONNX Runtime sessions: loaded with a check of what is loaded, run with as many threads as fewct may use."""

import hashlib
from functools import lru_cache
from pathlib import Path

import numpy as np
import onnxruntime
from jaxtyping import Float32
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from fewct.errors import InputError
from fewct.threads import thread_count

HASH_SUFFIX = ".sha256"
_REFUSALS = (ort_errors.InvalidProtobuf, ort_errors.InvalidGraph, ort_errors.Fail, ort_errors.NoSuchFile)


def load_session(path: Path) -> onnxruntime.InferenceSession:
    """Load a network, once a process for each file and number of threads.

    Args:
        path: An ONNX file. A file beside it with `.sha256` added to the name holds its hash.

    Returns:
        The session; the same one for the same file.

    Raises:
        InputError: If a file is absent, the hash is another one, or the file is no network.
    """
    return _load(path.resolve(), thread_count())


def checked_sha256(path: Path) -> str:
    """Return the SHA-256 of a network's file.

    Raises:
        InputError: If a file is absent, or the hash recorded beside it is another one.
    """
    return hashlib.sha256(_checked_bytes(path)).hexdigest()


@lru_cache(maxsize=4)
def _load(path: Path, threads: int) -> onnxruntime.InferenceSession:
    content = _checked_bytes(path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except _REFUSALS as error:
        raise InputError(
            path,
            expected="a network in ONNX format",
            found=str(error).splitlines()[0],
            fix="Export it again with this version of fewct.",
        ) from error


def _checked_bytes(path: Path) -> bytes:
    """Read a file and compare its SHA-256 with the one recorded beside it."""
    record = path.with_name(path.name + HASH_SUFFIX)
    for file in (path, record):
        if not file.is_file():
            raise InputError(
                file,
                expected="the weights of a network and their hash",
                found="no such file",
                fix="Install fewct again, or name the folder of an exported network.",
            )
    content = path.read_bytes()
    expected = record.read_text(encoding="utf-8").split()[:1]
    found = hashlib.sha256(content).hexdigest()
    if expected != [found]:
        raise InputError(
            path,
            expected=f"the SHA-256 {' '.join(expected) or '(none recorded)'}",
            found=found,
            fix="The file was cut short or changed: install fewct again, or export the network again.",
        )
    return content


def run_image_network(
    session: onnxruntime.InferenceSession, channels: Float32[NDArray[np.float32], "channels rows columns"]
) -> tuple[Float32[NDArray[np.float32], "..."], ...]:
    """Run a network that maps the channels of one image to maps of the same size.

    Args:
        session: The network: one input (1, channels, rows, columns), each output has one image, too.
        channels: float32 (channels, rows, columns).

    Returns:
        The outputs in the network's order, each float32 without the axis of images.
    """
    name = session.get_inputs()[0].name
    return tuple(output[0] for output in session.run(None, {name: channels[None]}))
