"""Files and folders of weights of each kind, as small as they can be; most hold no network."""

import hashlib
import json
import shutil
import zipfile
from pathlib import Path

from fewct.methods.mosaic.network_maps import WEIGHTS


def torch_file(path: Path, text: str = "weights") -> Path:
    """A ZIP archive like those of torch."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(zipfile.ZipInfo("archive/data.pkl"), text)
    return path


def safetensors_file(path: Path, values: bytes = bytes(8)) -> Path:
    """A file of one tensor, written after the format's description."""
    header = json.dumps(
        {"w": {"dtype": "U8", "shape": [len(values)], "data_offsets": [0, len(values)]}}
    ).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + values)
    return path


def transformers_folder(path: Path) -> Path:
    path.mkdir()
    (path / "config.json").write_text('{"model_type": "sam"}')
    (path / "README.md").write_text("not needed")
    safetensors_file(path / "model.safetensors")
    return path


def graphs_folder(path: Path) -> Path:
    """A folder like that of an exported SAM."""
    path.mkdir()
    graphs = {"embed.onnx": b"one", "prepare.onnx": b"two", "answers.onnx": b"three", "draw.onnx": b"four"}
    for name, content in graphs.items():
        (path / name).write_bytes(content)
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in graphs.items()}
    (path / "model.json").write_text(json.dumps({"format": "fewct-sam-onnx", "sha256": hashes}))
    return path


def training_folder(path: Path) -> Path:
    """A folder of a training with its exported network; that of mosaic stands in."""
    path.mkdir()
    for suffix in ("", ".sha256"):
        shutil.copy(f"{WEIGHTS}{suffix}", path / f"model.onnx{suffix}")
    (path / "split.json").write_text('{"patients": ["names that must not be copied"]}')
    return path


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
