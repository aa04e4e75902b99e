"""What weights are is told from their content, and what is cut short or something else is told."""

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from fewct.errors import InputError
from fewct.runtime.model_kinds import detect_weights
from runtime.weights import (
    graphs_folder,
    safetensors_file,
    torch_file,
    training_folder,
    transformers_folder,
)


@pytest.mark.parametrize("new", [True, False])
def test_what_torch_writes(tmp_path: Path, new: bool) -> None:
    path = tmp_path / "weights.anything"
    torch.save({"w": torch.zeros(2)}, path, _use_new_zipfile_serialization=new)
    assert detect_weights(path) == ("torch", (path,), {})


@pytest.mark.parametrize("tensors", [{}, {"a": np.ones((2, 3), np.float32), "b": np.zeros(0, np.int8)}])
def test_what_safetensors_writes(tmp_path: Path, tensors: dict[str, np.ndarray]) -> None:
    path = tmp_path / "weights"
    save_file(tensors, path, metadata={"made by": "a test"})
    assert detect_weights(path) == ("safetensors", (path,), {})


def test_folders(tmp_path: Path) -> None:
    hub = detect_weights(transformers_folder(tmp_path / "hub"))
    assert (hub.kind, [file.name for file in hub.files]) == (
        "transformers",
        ["model.safetensors", "config.json"],
    )
    graphs = detect_weights(graphs_folder(tmp_path / "graphs"))
    assert (graphs.kind, graphs.files[0].name, len(graphs.files)) == ("sam-onnx", "model.json", 5)
    training = detect_weights(training_folder(tmp_path / "training"))
    assert (training.kind, [file.name for file in training.files]) == (
        "onnx",
        ["model.onnx", "model.onnx.sha256"],
    )


def test_a_folder_of_transformers_with_weights_of_torch(tmp_path: Path) -> None:
    folder = transformers_folder(tmp_path / "hub")
    (folder / "model.safetensors").unlink()
    torch_file(folder / "pytorch_model.bin")
    assert detect_weights(folder).files == (folder / "pytorch_model.bin", folder / "config.json")


def absent(path: Path) -> None:
    """Make nothing."""


def empty(path: Path) -> None:
    path.touch()


def text(path: Path) -> None:
    path.write_text("no weights at all, but words\n" * 20)


def cut_torch(path: Path) -> None:
    torch_file(path)
    path.write_bytes(path.read_bytes()[:-10])


def zip_of_something_else(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", "text")


def cut_safetensors(path: Path) -> None:
    safetensors_file(path)
    path.write_bytes(path.read_bytes()[:-1])


def cut_header_of_safetensors(path: Path) -> None:
    safetensors_file(path)
    path.write_bytes(path.read_bytes()[:20])


def json_of_something_else(path: Path) -> None:
    path.write_bytes((2).to_bytes(8, "little") + b'{"a": 1}')


def empty_folder(path: Path) -> None:
    path.mkdir()


def folder_of_scans(path: Path) -> None:
    path.mkdir()
    (path / "more").mkdir()
    for i in range(9):
        (path / f"{i}.dcm").touch()


def configuration_alone(path: Path) -> None:
    transformers_folder(path)
    (path / "model.safetensors").unlink()


def cut_configuration(path: Path) -> None:
    transformers_folder(path)
    (path / "config.json").write_text('{"model_type":')


def configuration_of_a_list(path: Path) -> None:
    transformers_folder(path)
    (path / "config.json").write_text("[]")


def graph_missing(path: Path) -> None:
    graphs_folder(path)
    (path / "draw.onnx").unlink()


def record_without_hashes(path: Path) -> None:
    graphs_folder(path)
    (path / "model.json").write_text("{}")


def record_of_files_elsewhere(path: Path) -> None:
    graphs_folder(path)
    (path / "model.json").write_text('{"sha256": {"../secret": "00"}}')


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            absent,
            "expected weights: a file of torch, safetensors or ONNX, or a folder .*, found no such file",
        ),
        (empty, "found a file of 0 bytes"),
        (text, "found a file of 580 bytes that begins with b'no weights"),
        (cut_torch, "expected a whole file, found a ZIP archive without its end. It was cut short"),
        (zip_of_something_else, "found a ZIP archive of word/document.xml"),
        (cut_safetensors, r"found \d+ bytes, where its header tells of \d+. It was cut short"),
        (cut_header_of_safetensors, "found a file without a whole header of safetensors"),
        (json_of_something_else, "found a file without a whole header of safetensors"),
        (empty_folder, "found a folder of nothing"),
        (folder_of_scans, "found a folder of 0.dcm, .*, 7.dcm, ..."),
        (configuration_alone, "found a folder of README.md, config.json"),
        (cut_configuration, "config.json: expected JSON, found Expecting value"),
        (configuration_of_a_list, "config.json: .* found JSON of a list"),
        (graph_missing, "expected all files that its model.json names, found no draw.onnx"),
        (record_without_hashes, "model.json: .* found no hashes of graphs"),
        (record_of_files_elsewhere, "model.json: .* found no hashes of graphs"),
    ],
)
def test_something_else(tmp_path: Path, make: Callable[[Path], None], message: str) -> None:
    make(tmp_path / "it")
    with pytest.raises(InputError, match=message):
        detect_weights(tmp_path / "it")


def test_a_file_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = torch_file(tmp_path / "sam.pth")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match=r"sam\.pth: .* found permission denied"):
        detect_weights(path)
