"""ONNX Runtime sessions: loaded with a check of what is loaded, run with as many threads as fewct may use."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from fewct.errors import InputError
from fewct.runtime.threads import thread_count
from fewct.runtime.weight_files import check_file, read_checked, recorded_sha256

DATA_SUFFIX = ".data"
"""After the name of a graph: the file of its weights, where they are too large to be inside of it."""
_REFUSALS = (ort_errors.InvalidProtobuf, ort_errors.InvalidGraph, ort_errors.Fail, ort_errors.NoSuchFile)


class Network(NamedTuple):
    """A network that is open.

    Args:
        session: It, on the CPU; several threads may run it at a time.
        sha256: Hash of its file.
        path: The file.
    """

    session: onnxruntime.InferenceSession
    sha256: str
    path: Path

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of its outputs."""
        return tuple(output.name for output in self.session.get_outputs())

    @property
    def metadata(self) -> Mapping[str, str]:
        """What the file tells beside the graph."""
        metadata: Mapping[str, str] = self.session.get_modelmeta().custom_metadata_map
        return metadata


def load_network(path: Path) -> Network:
    """Open a network with as many threads as fewct may use.

    Args:
        path: An ONNX file; its hash is known as `recorded_sha256` tells.

    Raises:
        InputError: If a file is absent, the hash is another one, or the file is no network.
    """
    sha256 = recorded_sha256(path)
    return Network(_session(read_checked(path, sha256), path, thread_count()), sha256, path)


def checked_sha256(path: Path) -> str:
    """Return the SHA-256 of a network's file.

    Raises:
        InputError: If a file is absent, or the recorded hash is another one.
    """
    sha256 = recorded_sha256(path)
    check_file(path, sha256)
    return sha256


def open_session(
    path: Path, sha256: Mapping[str, str], threads: int | None = None
) -> onnxruntime.InferenceSession:
    """Load one of several networks whose hashes are recorded together; the caller keeps it.

    Args:
        path: An ONNX file.
        sha256: Hashes by name of file: of this one, and of that of its weights where they are apart.
        threads: That it may use; None for as many as fewct may.

    Raises:
        InputError: If a file is absent, its hash is another one, or it is no network.
    """
    threads = thread_count() if threads is None else threads
    content = read_checked(path, sha256[path.name])
    data = path.with_name(path.name + DATA_SUFFIX)
    if data.name not in sha256:
        return _session(content, path, threads)
    check_file(data, sha256[data.name])
    return _session(str(path), path, threads)


def _session(content: bytes | str, path: Path, threads: int) -> onnxruntime.InferenceSession:
    """Return a session of a graph's bytes, or of the path of one whose weights are apart."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # scans take 10 % less time so
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


def n_channels(session: onnxruntime.InferenceSession) -> int:
    """Return the number of channels of the image that a network takes."""
    return int(session.get_inputs()[0].shape[1])


def run_image_network(
    session: onnxruntime.InferenceSession, channels: Annotated[NDArray[np.float32], "channels rows columns"]
) -> tuple[Annotated[NDArray[np.float32], "..."], ...]:
    """Run a network that maps the channels of one image to maps of the same size.

    Args:
        session: The network: one input (1, channels, rows, columns), each output has one image, too.
        channels: float32 (channels, rows, columns).

    Returns:
        The outputs in the network's order, each float32 without the axis of images.
    """
    name = session.get_inputs()[0].name
    return tuple(output[0] for output in session.run(None, {name: channels[None]}))
