"""`fewct models` as a user meets it."""

import hashlib
import json
import logging
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from fewct.cli import main
from fewct.methods.mosaic.network_maps import WEIGHTS
from fewct.phantom import phantom_slice
from fewct.runtime import download, official_weights
from fewct.runtime.official_weights import OfficialFile
from methods.sam.reference import write_checkpoint
from runtime.weights import flip_a_bit, graphs_folder, torch_file


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FEWCT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("FEWCT_NUM_THREADS", "1")
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path / "cache" / "models"


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    return torch_file(tmp_path / "sam.pth")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    ct, _ = phantom_slice(1, size=96)
    path = tmp_path / "slice.png"
    Image.fromarray(np.clip((ct.pixels + 160) / 400 * 255, 0, 255).astype(np.uint8)).save(path)
    return path


def run(*words: object) -> int:
    return main([str(word) for word in words])


def test_an_empty_store_tells_what_to_do(capsys: pytest.CaptureFixture[str], store: Path) -> None:
    assert run("models", "list") == 0
    assert f"No models in {store}. Get one: fewct models import FILE --as NAME" in capsys.readouterr().out
    assert run("models", "list", "--json") == 0
    assert json.loads(capsys.readouterr().out) == []
    assert run("models", "verify") == 0
    assert capsys.readouterr().out == ""
    assert not store.exists()


def test_import_list_verify_remove(
    checkpoint: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("models", "import", checkpoint, "--as", "mine") == 0
    assert "Use it: --weights mine" in capsys.readouterr().out
    assert run("models", "list", "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["name"], row["kind"], row["official"], row["source"]) == (
        "mine",
        "torch",
        None,
        str(checkpoint),
    )
    assert Path(row["path"]).read_bytes() == checkpoint.read_bytes()
    monkeypatch.setattr(official_weights, "OFFICIAL_SHA256", {"sam_vit_b_01ec64.pth": row["sha256"]})
    assert run("models", "list") == 0
    printed = capsys.readouterr().out
    for text in ("mine", "torch", row["sha256"][:12], "official sam_vit_b_01ec64.pth", str(checkpoint)):
        assert text in printed
    assert run("models", "verify", "mine", "--json") == 0
    assert json.loads(capsys.readouterr().out) == [{"name": "mine", "ok": True, "files": {"sam.pth": "ok"}}]
    assert run("models", "remove", "mine") == 0
    assert run("models", "remove", "mine") == 2
    assert "expected a model of the store (which is empty), found 'mine'" in capsys.readouterr().err


def test_verify_tells_which_are_bad(
    checkpoint: Path, tmp_path: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("altered", "damaged", "whole"):
        assert run("models", "import", checkpoint, "--as", name) == 0
    assert run("models", "import", graphs_folder(tmp_path / "graphs"), "--as", "gone") == 0
    flip_a_bit(store / "altered" / "files" / "sam.pth")
    (store / "damaged" / "record.json").write_text("{")
    (store / "gone" / "files" / "draw.onnx").unlink()
    capsys.readouterr()
    assert run("models", "verify", "--json") == 1
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert {name for name, row in rows.items() if row["ok"]} == {"whole"}
    assert rows["altered"]["files"] == {"sam.pth": "altered"}
    assert rows["gone"]["files"]["draw.onnx"] == "absent"
    assert "the record of a model" in rows["damaged"]["error"]
    assert run("models", "verify") == 1
    printed = capsys.readouterr()
    assert "absent" in printed.out
    assert "damaged/record.json: expected the record of a model" in printed.err
    assert run("models", "verify", "whole") == 0
    assert run("models", "verify", "whole", "damaged") == 1
    assert run("models", "verify", "none") == 2
    assert run("models", "list") == 1
    printed = capsys.readouterr()
    assert "whole" in printed.out
    assert "damaged/record.json" in printed.err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("import", "none.pth", "--as", "mine"), 1, "none.pth: expected weights: a file of torch"),
        (("import", "notes.txt", "--as", "mine"), 1, "found a file of 5 bytes that begins with b'words'"),
        (("import", "sam.pth", "--as", "two words"), 2, "NAME: expected a word"),
        (("import", "other.pth", "--as", "taken"), 2, "found taken, other weights, from"),
        (("download", "sam"), 2, "expected one of sam_vit_b, sam_vit_l, sam_vit_h, mobile_sam"),
        (("export", "run", "-o", "x"), 2, "--onnx: expected with the other options"),
        (("export", "none", "--onnx"), 1, "none: expected a file or folder of weights, or a name that"),
    ],
)
def test_bad_input(
    words: tuple[str, ...],
    code: int,
    message: str,
    checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(checkpoint.parent)
    Path("notes.txt").write_text("words")
    torch_file(Path("other.pth"), "others")
    assert run("models", "import", "sam.pth", "--as", "taken") == 0
    assert run("models", *words) == code
    assert message in capsys.readouterr().err


def test_download_of_what_does_not_come(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(download, "DOWNLOADS", {"tiny": OfficialFile("http://127.0.0.1:9/tiny.pth", "00")})
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert run("models", "download", "tiny") == 1
    assert "found connection refused" in capsys.readouterr().err


def test_download(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    offer = OfficialFile(checkpoint.as_uri(), hashlib.sha256(checkpoint.read_bytes()).hexdigest())
    monkeypatch.setattr(download, "DOWNLOADS", {"tiny": offer})
    assert run("models", "download", "tiny") == 0
    assert "tiny: torch" in capsys.readouterr().out
    assert run("models", "verify", "tiny") == 0


@pytest.mark.parametrize(
    ("words", "source", "expected"),
    [
        ((), "sam.pth", (Path("sam-onnx"), None, None, False)),
        ((), "mine-1.5", (Path("mine-1.5-onnx"), None, None, False)),
        (
            ("-o", "out", "--image-size", "512", "--normalization", "medsam", "--half"),
            "sam.pth",
            (Path("out"), 512, "medsam", True),
        ),
    ],
)
def test_export_of_a_checkpoint(
    words: tuple[str, ...],
    source: str,
    expected: tuple[object, ...],
    checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """That the graphs are right is tested where they are written."""

    def export_sam(path: Path, folder: Path, *settings: object, half: bool) -> Path:
        assert path.read_bytes() == checkpoint.read_bytes()
        assert (folder, *settings, half) == expected
        logging.getLogger("torch.onnx").warning("chatter")
        return folder

    stand_in = SimpleNamespace(export_sam=export_sam)
    monkeypatch.setitem(sys.modules, "fewct.methods.sam.checkpoints.onnx_export", stand_in)
    monkeypatch.chdir(checkpoint.parent)
    assert run("models", "import", checkpoint, "--as", "mine-1.5") == 0
    capsys.readouterr()
    assert run("models", "export", source, "--onnx", *words) == 0
    assert capsys.readouterr() == (f"{expected[0]}\n", "")
    assert logging.getLogger("torch.onnx").isEnabledFor(logging.WARNING)


@pytest.mark.parametrize("name", ["graphs", "net"])
def test_export_of_what_is_onnx_already(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(WEIGHTS, tmp_path / "net.onnx")
    assert run("models", "import", tmp_path / "net.onnx", "--as", "net") == 0
    assert run("models", "import", graphs_folder(tmp_path / "folder"), "--as", "graphs") == 0
    assert run("models", "export", name, "--onnx") == 2
    assert "found a network in ONNX already. Pass it to --weights" in capsys.readouterr().err


def test_names_stand_for_weights(picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sam = write_checkpoint(tmp_path / "tiny.pth")
    shutil.copy(WEIGHTS, tmp_path / "net.onnx")
    assert run("models", "import", sam, "--as", "tiny") == 0
    assert run("models", "import", tmp_path / "net.onnx", "--as", "site-a") == 0
    everything = ("--method", "everything", "--weights", "tiny", "--points-per-side", 2)
    assert run("segment", picture, *everything, "-o", tmp_path / "sam") == 0
    assert run("segment", picture, "--weights", "site-a", "-o", tmp_path / "mosaic") == 0
    assert run("segment", picture, "--weights", "site-b", "-o", tmp_path / "none") == 1
    assert "`fewct models list` shows (site-a, tiny), found no such file" in capsys.readouterr().err
    manifest = json.loads((tmp_path / "sam" / "slice_manifest.json").read_text())
    assert manifest["configuration"]["weights"] == "tiny"
    assert run("models", "list", "--json") == 0
    hashes = {row["name"]: row["sha256"] for row in json.loads(capsys.readouterr().out)}
    assert manifest["weights_sha256"] == hashes["tiny"]
